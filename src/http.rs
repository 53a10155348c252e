//! The HTTP API: a table of routes, the gate that only a leader opens, and one shape for every error.
//!
//! Handlers translate between JSON and [`crate::registry`]; they hold no rules of their own and never see the storage.
//! Clocks are read here, at the edge, and nowhere below. [`api`] can be driven without a socket; [`serve()`] is the
//! driver that puts it on one.

mod api;
mod app;
mod body;
mod credentials;
mod error;
mod heartbeat_fast_path;
mod json;
mod json_body;
mod layers;
mod leader_gate;
mod limits;
mod lists;
mod params;
mod routes;
mod server;
mod slow_read_timeout;
mod upload_limit;

#[cfg(test)]
mod testing;

pub use api::{Api, api};
pub use app::{App, ClusterView, Copies, Cors, ThisNode};
pub use lists::change_notifier::{News, news};
pub use routes::{ENDPOINTS, Endpoint};
pub use server::serve;
