//! Durable storage: profiles and images as objects in a bucket.
//!
//! The rest of the program uses [`Bucket`]. It adds a deadline, bounded retries and a read-back
//! after lost responses to a [`Backend`], which implements one kind of store. Nothing here knows
//! the rules of users, HTTP or leadership.

mod backend;
mod bucket;
pub mod bucket_check;
mod gcs;
mod key;
mod local;
mod memory;

pub use backend::{Backend, BackendError, ListPage, MAX_OBJECT_BYTES, Object, ObjectVersion};
pub use bucket::{Bucket, BucketError, CreateOutcome, RetryPolicy};
pub use gcs::{GcsBackend, GcsConfig};
pub use key::{Folder, Key};
pub use local::LocalBackend;
pub use memory::{Fault, Faults, MemoryBackend};
