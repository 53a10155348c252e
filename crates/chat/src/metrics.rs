//! How a peer is doing, for those who run it: `/healthz` and `/metrics` over HTTP. Whoever asks makes the driver look, so
//! that nothing is done for it while nobody asks; counters are kept by who knows the fact.

mod health;
mod measures;
mod page;
mod server;
mod table;

pub use measures::{Drops, Measures};

pub(super) use server::{Facts, Reporter, serve};
