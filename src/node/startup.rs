//! What a node needs from its machine before it starts: its directory, its ports and its store.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use super::error::NodeError;
use super::identity::random_id;
use crate::config::{Config, StorageConfig};
use crate::storage::{Backend, BackendError, GcsBackend, GcsConfig, LocalBackend};

/// The file whose lock keeps two processes from being one node.
const LOCK_FILE: &str = "lock";

/// Makes the node's own directory and locks it for as long as the file lives.
pub(super) fn lock_node_dir(dir: &Path) -> Result<File, NodeError> {
    let refused = |error: io::Error| {
        NodeError::Configuration(format!(
            "cannot use the data directory {}: {error}; name another one with --data-dir, or make it writable",
            dir.display()
        ))
    };
    make_durable_dir(dir).map_err(refused)?;
    let file = File::options().write(true).create(true).truncate(false).open(dir.join(LOCK_FILE)).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NodeError::Configuration(format!(
            "another process is this node already: it holds the lock in {}; stop it, or start this one with another \
             --this-node",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Makes the directory and its parents so that they survive a loss of power: a ballot in them must.
pub(super) fn make_durable_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    dir.canonicalize()?.ancestors().skip(1).take(2).try_for_each(|parent| File::open(parent)?.sync_all())
}

pub(super) fn bind(addr: SocketAddr, what: &str, setting: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(addr).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => format!("stop the program that uses it, or give another port with {setting}"),
            io::ErrorKind::AddrNotAvailable => format!("it is no address of this machine; correct {setting}"),
            io::ErrorKind::PermissionDenied => format!("ports below 1024 need rights; give another one with {setting}"),
            _ => format!("correct {setting}"),
        };
        NodeError::Bind(format!("cannot listen on {addr} for the {what}: {error}; {remedy}"))
    })
}

/// Hands a bound port to the runtime.
pub(super) fn listen(port: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    port.set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(port))
        .map_err(|error| NodeError::Bind(format!("cannot listen on the API port: {error}")))
}

pub(super) async fn open_backend(config: &Config) -> Result<Arc<dyn Backend>, NodeError> {
    let unusable = |error: BackendError| NodeError::Storage(format!("the storage cannot be used: {error}"));
    // Nothing is sent to Google yet, so what is wrong is the key file or the bucket's name.
    let misconfigured = |error: BackendError| NodeError::Configuration(error.to_string());
    Ok(match &config.storage {
        StorageConfig::Local { dir } => {
            let tag = random_id().simple().to_string();
            Arc::new(LocalBackend::open(dir.clone(), &tag, LocalBackend::DEFAULT_PAGE_SIZE).map_err(unusable)?)
        }
        StorageConfig::Gcs { bucket, endpoint: Some(endpoint), .. } => {
            Arc::new(GcsBackend::connect(GcsConfig::emulator(bucket, endpoint)).await.map_err(misconfigured)?)
        }
        StorageConfig::Gcs { bucket, credentials, endpoint: None } => {
            Arc::new(GcsBackend::connect(GcsConfig::google(bucket, credentials.clone())).await.map_err(misconfigured)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_is_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_node_dir(dir.path()).expect("free");
        let second = lock_node_dir(dir.path()).expect_err("taken");
        assert!(second.to_string().contains("another process is this node already"), "{second}");
        drop(first);
        lock_node_dir(dir.path()).expect("free again");
    }

    #[test]
    fn a_taken_port_is_named_with_the_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap(), "HTTP API", "API_PORT").expect_err("taken");
        assert!(matches!(error, NodeError::Bind(_)));
        assert!(error.to_string().contains("API_PORT"), "{error}");
    }
}
