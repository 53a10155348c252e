//! The HTTP API: a table of routes, the gate that only a leader opens, and one shape for every error.
//!
//! Handlers translate between JSON and [`crate::registry`]; they hold no rules of their own and never see the storage.
//! Clocks are read here, at the edge, and nowhere below. [`api`] can be driven without a socket; [`serve()`] is the
//! driver that puts it on one.

mod app;
mod body;
mod changes;
mod credentials;
mod cursor;
mod error;
mod etag;
mod express;
mod health;
mod idle;
mod images;
mod json;
mod leader;
mod lists;
mod news;
mod params;
mod passwords;
mod patience;
mod polls;
mod presence;
mod rebuilds;
mod router;
mod seats;
mod sending;
mod serve;
mod stale;
mod stamp;
mod uploads;
mod users;

#[cfg(test)]
mod testing;

pub use app::{App, Cors};
pub use news::{News, news};
pub use router::{Api, ENDPOINTS, Endpoint, api};
pub use serve::serve;
