//! Health and metrics of a peer over HTTP: `/healthz` and `/metrics`.
//!
//! Each request asks the driver for a snapshot, so there is no work without requests. Counters are
//! incremented where the events happen: in the engine, the driver and the sockets.

mod exposition;
mod families;
mod health;
mod server;
mod stats;

pub use stats::{DropCounters, PeerStats};

pub(super) use server::{MetricsServer, StaticInfo, serve};
