//! TLS of the links between nodes, in a node's configuration.

use std::path::PathBuf;

use rollcall_core::NodeAddr;

use super::key_file::is_key_itself;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{EXPECTED_PATH, Layers, WithOrigin, with_default};
use crate::config::setting::Setting;

const EXPECTED_NODE_TLS: &str = "\"on\" or \"off\"";

/// TLS of the links between nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeTlsConfig {
    /// With a key pair that the nodes share. It is in the bucket.
    SharedPair,
    /// With certificates of the operator.
    Files(NodeTlsFiles),
    /// Without TLS.
    Off,
}

/// PEM files of the operator for the links between nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeTlsFiles {
    /// Certificates of the authority that signed the certificates of all nodes.
    pub authority: PathBuf,
    /// Certificate of this node, and certificates between it and the authority.
    pub certificate: PathBuf,
    /// Private key of the certificate.
    pub private_key: PathBuf,
}

/// Reads the settings of TLS between nodes. Without TLS, a node that is not on this machine needs
/// `insecure_cluster`.
pub(super) fn read_node_tls(layers: &Layers, peers: &[NodeAddr]) -> Result<NodeTlsConfig, ConfigError> {
    let given = with_default(layers.text(&settings::NODE_TLS, EXPECTED_NODE_TLS)?);
    let is_insecure_allowed = layers.bool(&settings::INSECURE_CLUSTER)?;
    let files = read_files(layers)?;
    match (given.value.as_str(), files) {
        ("on", None) => Ok(NodeTlsConfig::SharedPair),
        ("on", Some(files)) => Ok(NodeTlsConfig::Files(files)),
        ("off", Some(_)) => Err(ConfigError::UnusedNodeCertificate { origin: given.origin }),
        ("off", None) => {
            let far = peers.iter().find(|peer| !peer.socket_addr().ip().is_loopback());
            match far.filter(|_| !is_insecure_allowed) {
                Some(peer) => Err(ConfigError::InsecureCluster { origin: given.origin, peer: *peer }),
                None => Ok(NodeTlsConfig::Off),
            }
        }
        _ => Err(given.invalid(&settings::NODE_TLS, EXPECTED_NODE_TLS)),
    }
}

/// Reads the three paths. All are given, or none.
fn read_files(layers: &Layers) -> Result<Option<NodeTlsFiles>, ConfigError> {
    let read = |setting: &'static Setting| -> Result<Option<WithOrigin<PathBuf>>, ConfigError> {
        let Some(path) = layers.text(setting, EXPECTED_PATH)? else { return Ok(None) };
        if is_key_itself(&path.value) {
            return Err(ConfigError::KeyInsteadOfFile { key: setting.key });
        }
        let parsed = path.with(PathBuf::from(&path.value));
        if path.value.is_empty() { Err(path.invalid(setting, EXPECTED_PATH)) } else { Ok(Some(parsed)) }
    };
    let files = [&settings::NODE_CA, &settings::NODE_CERT, &settings::NODE_KEY];
    let [authority, certificate, private_key] = files.map(read);
    match (authority?, certificate?, private_key?) {
        (None, None, None) => Ok(None),
        (Some(authority), Some(certificate), Some(private_key)) => Ok(Some(NodeTlsFiles {
            authority: authority.value,
            certificate: certificate.value,
            private_key: private_key.value,
        })),
        (authority, certificate, private_key) => {
            let given = authority.or(certificate).or(private_key).expect("one of them is given");
            Err(ConfigError::IncompleteNodeCertificate { origin: given.origin })
        }
    }
}
