//! What a kind of store must be able to do. Deadlines and retries are [`Bucket`](super::Bucket)'s business.

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use thiserror::Error;

use super::{Folder, Key};

/// Names one state of one object; changes with every write of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectVersion(pub CompactString);

/// An object as it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Object {
    /// The bytes, as they were written.
    pub bytes: Bytes,
    /// The state that was read.
    pub version: ObjectVersion,
}

/// The largest object that a store reads, in bytes: a picture is at most 512 KiB, so a larger object is not ours.
pub const MAX_OBJECT_BYTES: usize = 4 << 20;

/// Part of a listing. Names ascend within a page; from page to page a store may have its own order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListPage {
    /// Names of direct children in ascending byte order, each once, without the folder's path and without slashes.
    pub names: Vec<String>,
    /// What to ask for the next page with; `None` on the last page.
    pub next: Option<String>,
}

/// Why a store could not do what was asked. Display is for logs and for the person who runs the nodes.
#[derive(Debug, Error)]
pub enum BackendError {
    /// `create` found an object there, or `replace_if` another version or none. Nothing was written, and the object that
    /// was found is durable: a read-back may acknowledge it as ours.
    #[error("the object exists in another state")]
    Precondition,
    /// It may work when tried again: a broken connection, a timeout, "too many requests", an overloaded server.
    /// A write may or may not have taken effect.
    #[error("{0}")]
    Transient(String),
    /// Trying again will not help: no permission, no such bucket, bad credentials, a full or read-only disk.
    /// Nothing was written. The text names the remedy where there is one.
    #[error("{0}")]
    Permanent(String),
    /// There is something under the object's name that is no object of Rollcall's, or is closed to it alone: a directory, a
    /// symbolic link, a file that is too large. All other objects are well; a person must mend this one.
    #[error("{0}")]
    Unreadable(String),
}

/// A kind of store. All of them pass one and the same test suite (`tests/it/storage`).
///
/// Every method may be dropped at any await (that is how deadlines work); a write that was dropped may or may not take
/// effect, but never in part.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Writes the object if there is none at `key`. When it returns `Ok`, the object is durable.
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError>;

    /// Writes the object if its present version is `version`. When it returns `Ok`, the object is durable.
    async fn replace_if(&self, key: &Key, version: &ObjectVersion, bytes: Bytes)
    -> Result<ObjectVersion, BackendError>;

    /// Reads the object; `None` if there is none. What is read may be an instant short of durable: whoever wants to
    /// acknowledge an object on the ground that it is there asks [`Self::create`], which answers
    /// [`BackendError::Precondition`] only for a durable one.
    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError>;

    /// Names the direct children of `folder`, page by page; a folder that nobody wrote to is empty.
    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError>;

    /// Deletes the object; `Ok` too if there was none.
    async fn delete(&self, key: &Key) -> Result<(), BackendError>;

    /// What and where the store is, for the banner and for errors: `local directory data/bucket`.
    fn describe(&self) -> String;
}
