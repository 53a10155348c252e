//! Snapshot of a node's tables on its own disk. After a restart the node knows the recent clients,
//! and does not read every profile from the bucket.
//!
//! A snapshot is only a cache: a missing or damaged one, or one of another bucket, is ignored. Its
//! users count only after the bucket or a leader has confirmed their names.

mod format;
mod snapshotter;

pub use snapshotter::Snapshotter;
