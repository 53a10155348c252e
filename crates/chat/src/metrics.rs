//! How a peer is doing, for those who run it: `/healthz` and `/metrics` over HTTP. Whoever asks makes the driver look, so
//! that nothing is done for it while nobody asks; counters are kept by who knows the fact.

mod exposition;
mod families;
mod health;
mod server;
mod stats;

pub use stats::{DropCounters, PeerStats};

pub(super) use server::{MetricsServer, StaticInfo, serve};
