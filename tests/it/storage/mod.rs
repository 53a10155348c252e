//! Tests of the stores: one suite for every kind, and the behaviour that only one kind has.

mod bucket_check;
mod cluster;
mod failures;
pub(crate) mod fake_gcs;
mod gcs;
mod local;
mod memory;
mod suite;
