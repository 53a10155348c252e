//! The integration tests, as one binary. Each module tests one part of the program.

mod architecture;
mod cli;
mod documented;
mod documents;
mod election;
mod faults;
mod first_version;
mod foreign_bucket;
mod http;
mod migration;
mod peer;
mod replication;
mod storage;

pub(crate) use rollcall_test_support::{attack, cluster, sample_images};
