//! Membership in a node's configuration: this node, all nodes, and the cluster key.

use std::path::PathBuf;

use rollcall_core::{ClusterKey, MAX_NODES, MIN_KEY_CHARS, NodeAddr};

use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{EXPECTED_PATH, Layers, WithOrigin};
use crate::config::setting::Setting;

const EXPECTED_NODE: &str = "an IP:PORT that the other nodes can dial, such as \"10.40.6.26:8080\"";
const EXPECTED_PEERS: &str = "a list of IP:PORT that every node can dial, such as [\"10.40.6.26:8080\"]";

/// Reads the address of this node and the addresses of all nodes. The addresses are sorted and
/// distinct, and include this node's.
pub(super) fn read_membership(
    layers: &Layers,
    has_file: bool,
) -> Result<(WithOrigin<NodeAddr>, Vec<NodeAddr>), ConfigError> {
    let node = layers.parsed::<NodeAddr>(&settings::THIS_NODE, EXPECTED_NODE)?;
    let listed = layers.list(&settings::PEERS, EXPECTED_PEERS)?;
    let (node, listed) = match (node, listed) {
        (Some(node), Some(listed)) => (node, listed),
        (_, _) if !has_file => return Err(ConfigError::NoConfiguration),
        (None, _) => return Err(missing_error(&settings::THIS_NODE)),
        (_, None) => return Err(missing_error(&settings::PEERS)),
    };
    let mut peers = Vec::new();
    for text in &listed.value {
        let peer: WithOrigin<NodeAddr> = text.parse(&settings::PEERS, EXPECTED_PEERS)?;
        if peers.contains(&peer.value) {
            return Err(ConfigError::DuplicatePeer { origin: peer.origin, peer: peer.value });
        }
        peers.push(peer.value);
    }
    if peers.len() > MAX_NODES {
        return Err(ConfigError::TooManyPeers { origin: listed.origin, count: peers.len(), max: MAX_NODES });
    }
    peers.sort_unstable();
    if !peers.contains(&node.value) {
        return Err(ConfigError::NotAPeer { origin: node.origin, node: node.value, peers });
    }
    Ok((node, peers))
}

/// The error that a setting is missing, with the places in which it can be set.
fn missing_error(setting: &Setting) -> ConfigError {
    let flag = setting.flag.map_or_else(String::new, |flag| format!(", with {flag}"));
    let remedy = format!("set it in the configuration file{flag} or in {}", setting.env);
    ConfigError::Missing { key: setting.key, remedy }
}

/// Reads the cluster key, or the path of the file with the cluster key.
pub(super) fn read_cluster_key(layers: &Layers) -> Result<(Option<ClusterKey>, Option<PathBuf>), ConfigError> {
    let expected = format!("a text of at least {MIN_KEY_CHARS} characters, the same on all nodes");
    let key = layers.parsed(&settings::CLUSTER_KEY, &expected)?.map(|given| given.value);
    let Some(file) = layers.text(&settings::CLUSTER_KEY_FILE, EXPECTED_PATH)? else { return Ok((key, None)) };
    if key.is_some() {
        return Err(ConfigError::DuplicateClusterKey { origin: file.origin });
    }
    if file.value.is_empty() {
        return Err(file.invalid(&settings::CLUSTER_KEY_FILE, EXPECTED_PATH));
    }
    Ok((None, Some(PathBuf::from(file.value))))
}
