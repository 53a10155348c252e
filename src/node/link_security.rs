//! Certificates of the links between nodes, as the configuration chooses them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::sync::watch;
use uuid::Uuid;

use super::error::NodeError;
use super::identity::{load_cluster_id, secret_error};
use super::node_keys::{self, NodeKeyError, NodeKeys};
use crate::config::{NodeTlsConfig, NodeTlsFiles};
use crate::storage::{Bucket, SecretStore};
use rollcall_core::ClusterKey;
use rollcall_election::{LinkSecurity, LinkTls};

/// Loads the certificates of the links. The second value reads the pairs of the bucket again while
/// the node runs.
pub(super) async fn load_link_security(
    config: &NodeTlsConfig,
    secrets: SecretStore,
    cluster: Uuid,
) -> Result<(LinkSecurity, Option<NodeKeys>), NodeError> {
    match config {
        NodeTlsConfig::Off => Ok((LinkSecurity::Plain, None)),
        NodeTlsConfig::SharedPair => {
            let keys = NodeKeys::load_or_create(secrets, cluster).await.map_err(node_key_error)?;
            Ok((LinkSecurity::Tls(keys.published()), Some(keys)))
        }
        NodeTlsConfig::Files(files) => {
            let tls = read_files(files)?;
            Ok((LinkSecurity::Tls(watch::channel(Arc::new(tls)).1), None))
        }
    }
}

/// Makes a new key pair in the bucket. Returns its number.
///
/// # Errors
/// [`NodeError`] if the bucket does not reply, no node has used it yet, the nodes have another
/// cluster key, or there are too many pairs.
pub async fn rotate_node_key(bucket: &Bucket, key: Option<ClusterKey>) -> Result<u32, NodeError> {
    let cluster = load_cluster_id(bucket).await?;
    let secrets = SecretStore::new(bucket.clone(), cluster, key);
    node_keys::rotate(&secrets, cluster).await.map_err(node_key_error)
}

fn node_key_error(error: NodeKeyError) -> NodeError {
    match error {
        NodeKeyError::Secret(error) => secret_error(&error),
        error @ (NodeKeyError::Damaged { .. } | NodeKeyError::TooMany(_) | NodeKeyError::MadeByAnother(_)) => {
            NodeError::Storage(error.to_string())
        }
    }
}

/// Reads the certificates of the operator.
fn read_files(files: &NodeTlsFiles) -> Result<LinkTls, NodeError> {
    let authority = certificates(&files.authority, "node_ca")?;
    let chain = certificates(&files.certificate, "node_cert")?;
    let private_key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| unreadable(&files.private_key, "node_key", "a private key", &error))?;
    LinkTls::with_authority(authority, chain, &private_key)
        .map_err(|error| NodeError::Configuration(format!("{error}; correct node_ca, node_cert and node_key")))
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, NodeError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(path, setting, "a certificate", &pem::Error::NoItemsFound))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, setting, "a certificate", &error)),
    }
}

fn unreadable(path: &Path, setting: &str, content: &str, error: &pem::Error) -> NodeError {
    let path = path.display();
    // Other errors of the parser quote the file, which may contain the key.
    let cause = match error {
        pem::Error::Io(error) => error.to_string(),
        _ => format!("it does not contain {content} in PEM"),
    };
    NodeError::Configuration(format!("cannot read {setting} {path}: {cause}; put {content} in PEM there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools that lose newlines leave a private key on one line, or with `\n` as two characters.
    #[test]
    fn an_error_never_shows_the_private_key() {
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0";
        let dir = tempfile::tempdir().unwrap();
        for newline in ["", " ", "\\n"] {
            let text = ["-----BEGIN PRIVATE KEY-----", secret, "-----END PRIVATE KEY-----"].join(newline);
            let file = |name: &str| {
                let path = dir.path().join(name);
                std::fs::write(&path, &text).unwrap();
                path
            };
            let certificate = certificates(&file("certificate"), "node_cert").unwrap_err().to_string();
            let key = PrivateKeyDer::from_pem_file(file("key"))
                .map_err(|error| unreadable(&file("key"), "node_key", "a private key", &error));
            let key = key.unwrap_err().to_string();
            // The parser shows what it read as a list of bytes.
            let bytes = format!("{:?}", secret.as_bytes());
            for error in [certificate, key] {
                assert!(!error.contains(secret) && !error.contains(bytes.trim_matches(['[', ']'])), "{error}");
                assert!(error.contains("in PEM"), "{error}");
            }
        }
    }
}
