//! HTTP client of a Rollcall cluster: it is given some nodes, finds the one that leads and follows it when it changes.
//!
//! It decides whom to ask and when to ask again, and refuses to know what its callers do with the answers. A request
//! rides out an election: it is repeated until a leader answers it or the client's patience ends. What may not be done
//! twice is repeated only when it was surely not done (see [`Uploads`]).
//!
//! [`Client`] has a function for each request. [`Beats`] and [`Pace`] say when heartbeats are sent and what changed;
//! [`Roster`] is the set of online clients, kept up to date. Both are pure.
//!
//! # Example
//!
//! Register a user and stay online. `examples/stay_online.rs` is the same as a whole program.
//!
//! ```no_run
//! use rollcall_client::{Client, DEFAULT_PATIENCE, NewUser, Pace};
//! use rollcall_core::{AddrForm, Username};
//!
//! # async fn stay_online() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["http://127.0.0.1:3000"], DEFAULT_PATIENCE)?;
//! let alice = Username::parse("alice")?;
//! let addr = AddrForm::parse("192.168.1.20:9000")?;
//!
//! client.register(&NewUser { addr: Some(addr), ..NewUser::named(alice.clone()) }).await?;
//! loop {
//!     let accepted = client.heartbeat(&alice, Some(addr)).await?;
//!     for other in client.online().await?.online_clients {
//!         println!("{} {:?}", other.username, other.addr);
//!     }
//!     tokio::time::sleep(Pace::Suggested.after(&accepted)).await;
//! }
//! # }
//! ```

mod answer;
mod ask;
mod beats;
mod client;
mod error;
mod images;
mod leader;
mod new_user;
mod node_client;
mod pauses;
mod proof;
mod retry;
mod roster;
mod search;
mod server;
mod settings;
mod survey;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod uploads;

pub use beats::{Beat, Beats, Course, Pace};
pub use client::{Client, DEFAULT_PATIENCE};
pub use error::ClientError;
pub use new_user::NewUser;
pub use roster::{News, Roster, Turn};
pub use server::{InvalidServer, Server};
pub use settings::{Settings, SettingsError};
pub use survey::Surveyed;
pub use uploads::Uploads;
