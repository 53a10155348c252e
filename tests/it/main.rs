//! The integration tests, as one binary. Most modules test one part of the program. `cluster` and
//! `sample_images` help the others.

mod architecture;
mod cli;
mod cluster;
mod documented;
mod documents;
mod election;
mod faults;
mod first_version;
mod foreign_bucket;
mod http;
mod peer;
mod replication;
mod sample_images;
mod storage;
