//! One suite of behaviours, run against every kind of store, and what is particular to each kind.

mod bucket_check;
mod cluster;
mod failures;
pub(crate) mod fake_gcs;
mod gcs;
mod local;
mod memory;
mod suite;
