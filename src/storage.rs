//! What lasts: profiles and pictures in a bucket, each written once under a name that no one else can take.
//!
//! [`Bucket`] is what the rest of the program uses: it adds a deadline, bounded retries and the read-back of lost
//! answers to a [`Backend`], which only talks to one kind of store. Nothing here knows users' rules, HTTP or leadership.

mod backend;
mod bucket;
pub mod check;
mod gcs;
mod key;
mod local;
mod memory;

pub use backend::{Backend, BackendError, Entry, ListPage, MAX_OBJECT_BYTES, Version};
pub use bucket::{Bucket, BucketError, Created, Object, RetryPolicy};
pub use gcs::{Gcs, GcsConfig};
pub use key::{Folder, Key};
pub use local::Local;
pub use memory::{Fault, Faults, Memory};
