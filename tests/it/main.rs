//! The integration tests, as one binary. Each module mirrors a part of the program.

mod architecture;
mod cluster;
mod commands;
mod documented;
mod election;
mod faults;
mod first_version;
mod http;
mod peer;
mod pictures;
mod replication;
mod storage;
