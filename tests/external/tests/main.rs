//! Tests of the stores against real servers: moto (S3) and Azurite (Azure Blob Storage); and of the
//! requests to Google Drive against Google's description of its API.
//!
//! The servers must be installed; see [`servers`]. The nodes are those of the last
//! `cargo build --bin rollcall`.

mod clusters;
mod drive_contract;
mod servers;
mod storage;
