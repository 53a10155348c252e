//! Store in a local directory, which several processes of one machine may use at once. NFS is not
//! supported: its locks and hard links are not reliable enough.
//!
//! This file runs the blocking operations of [`object_files`] on blocking threads, and limits their
//! number. They wait in the order of their arrival: this layer knows no clients. The registry
//! admits the requests of clients fairly by address (`registry/users/profile_store.rs`).

mod directories;
mod free_space;
mod io_failure;
mod object_files;
mod read;
mod root_dir;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use self::free_space::SpaceFloor;
use self::object_files::ObjectFiles;
use super::{Backend, BackendError, Folder, Key, ListPage, Object, ObjectVersion};
use rollcall_core::clock;

/// Most concurrent operations on the disk; further ones wait. Most of tokio's 512 blocking threads
/// stay free for other work.
const MAX_CONCURRENT_OPERATIONS: usize = 32;

/// Store in a local directory.
#[derive(Debug)]
pub struct LocalBackend {
    files: Arc<ObjectFiles>,
    permits: Arc<Semaphore>,
}

impl LocalBackend {
    /// Number of names per page of a listing. Tests use smaller pages.
    pub const DEFAULT_PAGE_SIZE: usize = 10_000;

    /// Opens the store in `root`, and creates the directory if it is missing. Removes temporary
    /// files of crashed writes that are older than an hour. `boot_tag` is part of the names of this
    /// store's temporary files. It is one path segment. Two open stores with the same `root` must
    /// have different tags.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the directory cannot be created or written. The error names
    /// the directory and the remedy.
    pub fn open(root: PathBuf, boot_tag: &str, page_size: usize) -> Result<Self, BackendError> {
        Ok(Self::new(ObjectFiles::open(root, boot_tag, page_size.max(1), clock::wall_now())?))
    }

    /// Opens the existing store in `root` for reading only. Nothing in it is created or changed, so
    /// the directory may be a read-only snapshot. Writes and deletions fail.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] or [`BackendError::Transient`] if the directory cannot be
    /// opened. The error names the directory.
    pub fn open_read_only(root: PathBuf) -> Result<Self, BackendError> {
        Ok(Self::new(ObjectFiles::open_read_only(root, Self::DEFAULT_PAGE_SIZE)?))
    }

    /// The same store, whose objects of users leave this much space free, in bytes. `None` is the
    /// smaller of 256 MiB and 5% of the disk; 0 is no floor.
    ///
    /// # Panics
    /// If an operation on the store has started.
    #[must_use]
    pub fn with_min_free_bytes(self, min_free_bytes: Option<u64>) -> Self {
        let floor = SpaceFloor::new(min_free_bytes);
        let files = Arc::into_inner(self.files).expect("no operation has started").with_floor(floor);
        Self { files: Arc::new(files), ..self }
    }

    fn new(files: ObjectFiles) -> Self {
        Self { files: Arc::new(files), permits: Arc::new(Semaphore::new(MAX_CONCURRENT_OPERATIONS)) }
    }

    /// Runs blocking work once a permit is free. If the caller stops waiting, started work still
    /// runs to its end and keeps its permit until then.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ObjectFiles) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let files = Arc::clone(&self.files);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            files.with_root_checked(work)
        });
        done.await
            .unwrap_or_else(|error| Err(BackendError::transient(format!("the disk operation was aborted: {error}"))))
    }
}

#[async_trait]
impl Backend for LocalBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        let (path, belongs_to_user) = (key.path(), key.belongs_to_user());
        self.run(move |files| {
            if belongs_to_user {
                files.check_space()?;
            }
            files.create(&path, &bytes)
        })
        .await
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let (path, belongs_to_user, version) = (key.path(), key.belongs_to_user(), version.clone());
        self.run(move |files| {
            if belongs_to_user {
                files.check_space()?;
            }
            files.replace_if(&path, &version, &bytes)
        })
        .await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        let path = key.path();
        self.run(move |files| files.get(&path)).await
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        let (folder, page) = (folder.clone(), page.map(str::to_owned));
        self.run(move |files| files.list(&folder, page.as_deref())).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        let path = key.path();
        self.run(move |files| files.delete(&path)).await
    }

    async fn check_space(&self) -> Result<(), BackendError> {
        self.run(ObjectFiles::check_space).await
    }

    fn describe(&self) -> String {
        format!("local directory {}", self.files.root().display())
    }
}
