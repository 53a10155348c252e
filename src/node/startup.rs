//! Resources that a node takes before it starts: its open files, its directory, its ports and the
//! storage.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use tracing::info;

use super::error::NodeError;
use super::identity::random_id;
use crate::config::StorageConfig;
use crate::http::ConnectionLimit;
use crate::storage::{
    AzureConfig, Backend, BackendError, ConnectionConfig, DriveBackend, DriveConfig, GcsBackend, GcsConfig,
    LocalBackend, ObjectStoreBackend, S3Config,
};
use rollcall_core::private_files;

/// File whose lock prevents two processes from running as the same node.
const LOCK_FILE: &str = "lock";

/// The numbers of connections that this process may serve, up to `wanted`.
pub(super) fn connection_limit(wanted: usize) -> Result<ConnectionLimit, NodeError> {
    let limit =
        ConnectionLimit::from_open_files(wanted).map_err(|error| NodeError::Configuration(error.to_string()))?;
    if limit.served < wanted {
        info!(
            connections = limit.served,
            max_connections = wanted,
            "serving fewer connections than configured, because of the limit on open files (ulimit -n)"
        );
    }
    Ok(limit)
}

/// Creates the node's own directory, and locks it until the returned file is dropped.
pub(super) fn lock_node_dir(dir: &Path) -> Result<File, NodeError> {
    let unusable = |error: io::Error| {
        NodeError::Configuration(format!(
            "cannot use the data directory {}: {error}; name another one with --data-dir, or make it writable",
            dir.display()
        ))
    };
    create_durable_dir(dir).map_err(unusable)?;
    private_files::narrow_dir(dir).map_err(unusable)?;
    let mut options = private_files::options();
    let file = options.write(true).create(true).truncate(false).open(dir.join(LOCK_FILE)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NodeError::Configuration(format!(
            "another process is this node already: it holds the lock in {}; stop it, or start this one with another \
             --this-node",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Creates the directory and its parents. Syncs the directory's name and the name of its parent to
/// disk, because a ballot in the directory must survive a power failure.
pub(super) fn create_durable_dir(dir: &Path) -> io::Result<()> {
    private_files::create_dir_all(dir)?;
    dir.canonicalize()?.ancestors().skip(1).take(2).try_for_each(|parent| File::open(parent)?.sync_all())
}

/// Binds a port. Errors name its `purpose`, and the `setting` to correct.
pub(super) fn bind(addr: SocketAddr, purpose: &str, setting: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(addr).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => format!("stop the program that uses it, or give another port with {setting}"),
            io::ErrorKind::AddrNotAvailable => format!("this machine does not have this address; correct {setting}"),
            io::ErrorKind::PermissionDenied => format!("ports below 1024 need privileges; give another with {setting}"),
            _ => format!("correct {setting}"),
        };
        NodeError::Bind(format!("cannot listen on {addr} for the {purpose}: {error}; {remedy}"))
    })
}

/// Registers a bound port with tokio.
pub(super) fn into_async_listener(port: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    port.set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(port))
        .map_err(|error| NodeError::Bind(format!("cannot listen on the API port: {error}")))
}

/// Opens the configured store. A listing has `page_size` names per page; `None` is the default of
/// the store.
///
/// # Errors
/// [`NodeError::Storage`] if a local directory cannot be used, or Google Drive cannot be reached.
/// [`NodeError::Configuration`] if the name or the key file of a bucket is invalid; no request is
/// sent. Also if a folder of Google Drive cannot be used.
pub async fn open_backend(storage: &StorageConfig, page_size: Option<usize>) -> Result<Arc<dyn Backend>, NodeError> {
    // No request is sent to a cloud yet, so the error concerns a credential or a name.
    let misconfigured = |error: BackendError| NodeError::Configuration(error.to_string());
    Ok(match storage {
        StorageConfig::Local { dir, min_free_bytes } => {
            let tag = random_id().simple().to_string();
            let page_size = page_size.unwrap_or(LocalBackend::DEFAULT_PAGE_SIZE);
            let store = LocalBackend::open(dir.clone(), &tag, page_size).map_err(|error| store_error(&error))?;
            Arc::new(store.with_min_free_bytes(*min_free_bytes))
        }
        StorageConfig::Drive(config) => {
            let page_size = page_size.unwrap_or(config.page_size);
            let config = DriveConfig { page_size, ..config.clone() };
            Arc::new(DriveBackend::connect(&config).await.map_err(drive_error)?)
        }
        StorageConfig::Gcs { bucket, credentials, endpoint } => {
            let config = match endpoint {
                Some(endpoint) => GcsConfig::emulator(bucket, endpoint),
                None => GcsConfig::google(bucket, credentials.clone()),
            };
            let page_size = page_size.unwrap_or(GcsConfig::MAX_PAGE_SIZE);
            Arc::new(GcsBackend::connect(config.with_page_size(page_size)).await.map_err(misconfigured)?)
        }
        StorageConfig::S3(config) => {
            let connection = with_page_size(&config.connection, page_size);
            Arc::new(ObjectStoreBackend::s3(&S3Config { connection, ..config.clone() }).map_err(misconfigured)?)
        }
        StorageConfig::Azure(config) => {
            let connection = with_page_size(&config.connection, page_size);
            Arc::new(ObjectStoreBackend::azure(&AzureConfig { connection, ..config.clone() }).map_err(misconfigured)?)
        }
    })
}

/// Opens the configured store for reading only. Nothing in a local directory and on a drive is
/// written. Other stores are written by no call of the opening.
///
/// # Errors
/// Like [`open_backend`].
pub async fn open_backend_read_only(storage: &StorageConfig) -> Result<Arc<dyn Backend>, NodeError> {
    Ok(match storage {
        StorageConfig::Local { dir, .. } => {
            let opened = LocalBackend::open_read_only(dir.clone());
            Arc::new(opened.map_err(|error| NodeError::Configuration(error.to_string()))?)
        }
        StorageConfig::Drive(config) => Arc::new(DriveBackend::connect_read_only(config).await.map_err(drive_error)?),
        StorageConfig::Gcs { .. } | StorageConfig::S3(_) | StorageConfig::Azure(_) => {
            open_backend(storage, None).await?
        }
    })
}

fn store_error(error: &BackendError) -> NodeError {
    NodeError::Storage(format!("the storage cannot be used: {error}"))
}

/// The drive was asked already: what it refuses for good, the operator must correct.
fn drive_error(error: BackendError) -> NodeError {
    match error {
        BackendError::Transient { .. } => store_error(&error),
        error => NodeError::Configuration(error.to_string()),
    }
}

fn with_page_size(connection: &ConnectionConfig, page_size: Option<usize>) -> ConnectionConfig {
    ConnectionConfig { page_size: page_size.unwrap_or(connection.page_size), ..connection.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_cannot_lock_the_same_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_node_dir(dir.path()).expect("free");
        let second = lock_node_dir(dir.path()).expect_err("taken");
        assert!(second.to_string().contains("another process is this node already"), "{second}");
        drop(first);
        lock_node_dir(dir.path()).expect("free again");
    }

    #[test]
    fn the_error_about_a_taken_port_names_the_setting() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap(), "HTTP API", "API_PORT").expect_err("taken");
        assert!(matches!(error, NodeError::Bind(_)));
        assert!(error.to_string().contains("API_PORT"), "{error}");
    }
}
