//! Tests of the stores: suites that every kind of store must pass, and tests of single kinds.

mod bucket_check;
mod cluster;
mod copy;
mod drive;
mod drive_check;
mod drive_cluster;
mod drive_copy;
mod drive_fault_table;
mod drive_faults;
mod drive_if_match;
mod drive_table;
mod failures;
pub(crate) mod fake_gcs;
mod fault_table;
mod gcs;
mod gcs_exposure;
mod gcs_faults;
mod gcs_tokens;
mod local;
mod memory;
mod object_store_faults;
mod s3;
mod s3_faults;
mod suite;
