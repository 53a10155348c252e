//! Membership in a node's configuration: this node, all nodes, and the key that they share.

use std::path::PathBuf;

use rollcall_core::{ClusterKey, MAX_NODES, MIN_KEY_CHARS, NodeAddr};

use super::keys;
use crate::config::error::ConfigError;
use crate::config::keys::Key;
use crate::config::layers::{Given, Layers, RIGHT_PATH};

const RIGHT_NODE: &str = "an IP:PORT that the other nodes can dial, such as \"10.40.6.26:8080\"";
const RIGHT_PEERS: &str = "a list of IP:PORT that every node can dial, such as [\"10.40.6.26:8080\"]";

/// This node and all nodes, sorted.
pub(super) fn membership(layers: &Layers, has_file: bool) -> Result<(Given<NodeAddr>, Vec<NodeAddr>), ConfigError> {
    let node = layers.parsed::<NodeAddr>(&keys::THIS_NODE, RIGHT_NODE)?;
    let listed = layers.list(&keys::PEERS, RIGHT_PEERS)?;
    let (node, listed) = match (node, listed) {
        (Some(node), Some(listed)) => (node, listed),
        (_, _) if !has_file => return Err(ConfigError::Nothing),
        (None, _) => return Err(unset(&keys::THIS_NODE)),
        (_, None) => return Err(unset(&keys::PEERS)),
    };
    let mut peers = Vec::new();
    for text in &listed.value {
        let peer: Given<NodeAddr> = text.parse(&keys::PEERS, RIGHT_PEERS)?;
        if peers.contains(&peer.value) {
            return Err(ConfigError::PeerTwice { origin: peer.origin, peer: peer.value });
        }
        peers.push(peer.value);
    }
    if peers.len() > MAX_NODES {
        return Err(ConfigError::TooManyPeers { origin: listed.origin, count: peers.len(), most: MAX_NODES });
    }
    peers.sort_unstable();
    if !peers.contains(&node.value) {
        return Err(ConfigError::NotAPeer { origin: node.origin, node: node.value, peers });
    }
    Ok((node, peers))
}

fn unset(key: &Key) -> ConfigError {
    let flag = key.flag.map_or_else(String::new, |flag| format!(", with {flag}"));
    let remedy = format!("set it in the configuration file{flag} or in {}", key.variable);
    ConfigError::Unset { name: key.name, remedy }
}

/// The cluster's key, or the file that holds it.
pub(super) fn cluster_key(layers: &Layers) -> Result<(Option<ClusterKey>, Option<PathBuf>), ConfigError> {
    let right = format!("a text of at least {MIN_KEY_CHARS} characters, the same on all nodes");
    let key = layers.parsed(&keys::CLUSTER_KEY, &right)?.map(|given| given.value);
    let Some(file) = layers.text(&keys::CLUSTER_KEY_FILE, RIGHT_PATH)? else { return Ok((key, None)) };
    if key.is_some() {
        return Err(ConfigError::TwoClusterKeys { origin: file.origin });
    }
    if file.value.is_empty() {
        return Err(file.invalid(&keys::CLUSTER_KEY_FILE, RIGHT_PATH));
    }
    Ok((None, Some(PathBuf::from(file.value))))
}
