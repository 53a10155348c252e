//! Tests of the stores against real servers: moto (S3) and Azurite (Azure Blob Storage); of the
//! requests to Google Drive against Google's description of its API; and of web pages in Chromium.
//!
//! The servers and the browser must be installed; see [`servers`]. The nodes are those of the last
//! `cargo build --bin rollcall`.

mod clusters;
mod drive_contract;
mod servers;
mod storage;
mod web_pages;
