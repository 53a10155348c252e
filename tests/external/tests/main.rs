//! Tests of the stores against real servers: moto (S3) and Azurite (Azure Blob Storage).
//!
//! The servers must be installed; see [`servers`]. The nodes are those of the last
//! `cargo build --bin rollcall`.

mod clusters;
mod servers;
mod storage;
