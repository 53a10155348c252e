//! One suite of behaviours, run against every kind of store, and what is particular to each kind.

mod check;
mod cluster;
pub(crate) mod fake_gcs;
mod gcs;
mod local;
mod memory;
mod suite;
mod troubles;
