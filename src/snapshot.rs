//! What a node keeps of its tables on its own disk, so that a cold start need not read every profile from the bucket and
//! knows who was seen recently.
//!
//! Nothing depends on it: a snapshot that is missing, torn or of another bucket is left aside, and what it says of users
//! counts only once the bucket or a leader has confirmed their names.

mod format;
mod snapshotter;

pub use snapshotter::Snapshotter;
