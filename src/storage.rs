//! Durable storage: profiles and images as objects in a bucket.
//!
//! The rest of the program uses [`Bucket`]. A [`Backend`] implements one kind of store. [`Bucket`]
//! adds a deadline, retries until it, a circuit breaker, and a read-back after a refused write.
//! Nothing here knows the rules of users, HTTP or leadership.

mod attempts;
mod backend;
mod bucket;
pub mod bucket_check;
pub mod bucket_copy;
mod bucket_error;
mod circuit_breaker;
mod drive;
mod error_text;
mod gcs;
mod google;
mod key;
mod local;
mod memory;
mod object_store;
mod precondition_check;
mod retry_policy;
mod seal;
mod secret_store;

pub use backend::{
    AnonymousReader, Backend, BackendError, ListPage, ListedChild, MAX_OBJECT_BYTES, Object, ObjectVersion, StoreProbe,
};
pub use bucket::{Bucket, CreateOutcome};
pub use bucket_error::BucketError;
pub use drive::{DriveBackend, DriveConfig};
pub use gcs::{GcsBackend, GcsConfig};
pub use key::{Folder, Key};
pub use local::LocalBackend;
pub use memory::{Fault, Faults, MemoryBackend};
pub use object_store::{AzureConfig, ConnectionConfig, CredentialVariables, HostReach, ObjectStoreBackend, S3Config};
pub use precondition_check::{PreconditionError, check_preconditions};
pub use retry_policy::RetryPolicy;
pub use secret_store::{SecretError, SecretStore};
