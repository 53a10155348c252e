//! HTTP client of a Rollcall cluster. It knows some nodes, finds the leader, and follows it.
//!
//! The client decides which node to ask and when to retry. It does not know what its callers do
//! with the responses. A request survives an election: the client retries it until a leader
//! answers, or until a timeout expires. A request that must not be executed twice is retried only
//! if it was certainly not executed (see [`Uploads`]).
//!
//! [`Client`] has one method for each request. [`HeartbeatInterval`] says when to send heartbeats,
//! and [`HeartbeatTracker`] reports changes in their results. [`OnlineSet`] is the set of online
//! clients, updated by changes. All three are pure.
//!
//! # Example
//!
//! Registers a user and stays online. `examples/stay_online.rs` is a complete program.
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
//!     tokio::time::sleep(HeartbeatInterval::Suggested.delay(&accepted)).await;
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
mod path_segment;
mod request;
mod response_kind;
mod retry;
mod server_url;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls_failure;
mod trusted_authorities;
mod uploads;
mod user_settings;

pub use client::{Client, DEFAULT_RETRY_TIMEOUT};
pub use cluster_status::NodeStatus;
pub use error::ClientError;
pub use heartbeat_schedule::{AfterFailure, HeartbeatEvent, HeartbeatInterval, HeartbeatTracker};
pub use new_user::NewUser;
pub use online_set::{OnlineChange, OnlineSet, OnlineUpdate};
pub use server_url::{InvalidServerUrl, ServerUrl};
pub use tls_failure::TlsFailure;
pub use trusted_authorities::{InvalidAuthorities, TrustedAuthorities};
pub use uploads::Uploads;
pub use user_settings::{SettingsError, UserSettings};
