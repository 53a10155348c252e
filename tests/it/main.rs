//! The integration tests, as one binary. Each module mirrors a part of the program.

mod architecture;
mod cli;
mod cluster;
mod documented;
mod documents;
mod election;
mod faults;
mod first_version;
mod http;
mod peer;
mod replication;
mod sample_images;
mod storage;
