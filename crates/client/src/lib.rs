//! HTTP client of a Rollcall cluster: it is given some nodes, finds the one that leads and follows it when it changes.
//!
//! It decides whom to ask and when to ask again, and refuses to know what its callers do with the answers. A request
//! rides out an election: it is repeated until a leader answers it or the client's patience ends. What may not be done
//! twice is repeated only when it was surely not done (see [`Uploads`]).
//!
//! [`Client`] has a function for each request. [`HeartbeatTracker`] and [`HeartbeatInterval`] say when heartbeats are sent and what changed;
//! [`OnlineSet`] is the set of online clients, kept up to date. Both are pure.
//!
//! # Example
//!
//! Register a user and stay online. `examples/stay_online.rs` is the same as a whole program.
//!
//! ```no_run
//! use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, NewUser, HeartbeatInterval};
//! use rollcall_core::{AddrForm, Username};
//!
//! # async fn stay_online() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["http://127.0.0.1:3000"], DEFAULT_RETRY_TIMEOUT)?;
//! let alice = Username::parse("alice")?;
//! let addr = AddrForm::parse("192.168.1.20:9000")?;
//!
//! client.register(&NewUser { addr: Some(addr), ..NewUser::named(alice.clone()) }).await?;
//! loop {
//!     let accepted = client.heartbeat(&alice, Some(addr)).await?;
//!     for other in client.online().await?.online_clients {
//!         println!("{} {:?}", other.username, other.addr);
//!     }
//!     tokio::time::sleep(HeartbeatInterval::Suggested.after(&accepted)).await;
//! }
//! # }
//! ```

mod backoff;
mod client;
mod cluster_status;
mod credential_store;
mod error;
mod heartbeat_schedule;
mod images;
mod leader_search;
mod new_user;
mod node_client;
mod node_list;
mod online_set;
mod request;
mod response_kind;
mod retry;
mod server_url;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod uploads;
mod user_settings;

pub use client::{Client, DEFAULT_RETRY_TIMEOUT};
pub use cluster_status::NodeStatus;
pub use error::ClientError;
pub use heartbeat_schedule::{AfterFailure, HeartbeatEvent, HeartbeatInterval, HeartbeatTracker};
pub use new_user::NewUser;
pub use online_set::{OnlineChange, OnlineSet, OnlineUpdate};
pub use server_url::{InvalidServerUrl, ServerUrl};
pub use uploads::Uploads;
pub use user_settings::{SettingsError, UserSettings};
