//! The HTTP API: a table of routes, the gate that only a leader opens, and one shape for every error.
//!
//! Handlers translate between JSON and [`crate::registry`]; they hold no rules of their own and never see the storage.
//! Clocks are read here, at the edge, and nowhere below. [`ApiService`] can be driven without a socket; [`serve()`] is the
//! driver that puts it on one.

mod app;
mod body;
mod credentials;
mod error;
mod error_codes;
mod heartbeat_fast_path;
mod json;
mod json_body;
mod layers;
mod leader_gate;
pub mod limits;
mod lists;
mod params;
mod routes;
mod server;
mod service;
mod slow_read_timeout;
mod upload_limit;

#[cfg(test)]
mod testing;

pub use app::{App, ClusterView, CorsPolicy, ReplicaFreshness, ThisNode};
pub use error_codes::{ERROR_CODES, ErrorCode};
pub use lists::change_notifier::{ListUpdate, change_notifier};
pub use routes::{Access, ROUTES, Route};
pub use server::serve;
pub use service::ApiService;
