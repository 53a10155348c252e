//! Health and metrics of a peer over HTTP: `/healthz` and `/metrics`.
//!
//! The server asks the driver for a snapshot at each request. Without requests it causes no work.
//! Counters are incremented where the events happen: in the engine, the driver and the sockets.

mod exposition;
mod families;
mod health;
mod server;
mod stats;

pub use stats::{DropCounters, PeerStats};

pub(super) use server::{MetricsServer, StaticInfo, serve};
