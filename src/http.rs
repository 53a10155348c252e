//! The HTTP API: a table of routes, a gate for the leader's routes, and one format for every error.
//!
//! Handlers translate between JSON and [`crate::registry`]. They contain no business rules and
//! never see the storage. They read the clock and pass the time to the registry, which never reads
//! a clock.
//!
//! Read [`ApiService`] and [`ROUTES`] first. The service needs no socket, so tests call it
//! directly. [`serve()`] runs it on a listener.

mod app;
mod body;
mod credentials;
mod error;
mod error_codes;
mod header_parameter;
mod heartbeat_fast_path;
mod image_form;
mod json;
mod json_body;
mod layers;
mod leader_gate;
pub mod limits;
mod lists;
mod origin_policy;
mod params;
mod pool_client;
mod routes;
mod server;
mod service;
mod slow_read_timeout;
mod tls;
mod upload_limit;

#[cfg(test)]
mod testing;

pub use app::{App, ClusterView, ReplicaFreshness, ThisNode};
pub use error_codes::{ERROR_CODES, ErrorCode};
pub use lists::change_notifier::{ListUpdate, change_notifier};
pub use origin_policy::{CorsPolicy, OriginPolicy};
pub use routes::{Access, ROUTES, Route};
pub use server::connection_limit::{ConnectionLimit, TooFewFiles};
pub use server::serve;
pub use service::ApiService;
pub use tls::{ApiCertificateError, ApiCertificateFiles, ApiTls, CertificateReload};
