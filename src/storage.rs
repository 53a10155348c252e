//! What lasts: profiles and pictures in a bucket, each written once under a name that no one else can take.
//!
//! [`Bucket`] is what the rest of the program uses: it adds a deadline, bounded retries and the read-back of lost
//! answers to a [`Backend`], which only talks to one kind of store. Nothing here knows users' rules, HTTP or leadership.

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
