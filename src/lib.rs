//! Rollcall: the server and the command line of a presence registry.
//!
//! Three modules are independent of each other: [`presence`] decides which clients are online,
//! [`storage`] stores permanent data, and [`config`] reads the settings. [`registry`] implements
//! the use cases with them. `fair_pool` shares bounded resources between clients. [`replication`]
//! sends changes to the other nodes, [`http`] serves the API, and [`node`] assembles a process.
//! [`cli`] is the command line.
//!
//! The other crates of the workspace are `rollcall_core` (validated values, API bodies, clocks),
//! `rollcall_election` (leader election), `rollcall_client` (HTTP client that follows the leader)
//! and `rollcall_chat` (chat peer). ARCHITECTURE.md describes the structure and its reasons.

pub mod config;
pub mod presence;
pub mod storage;

mod fair_pool;
pub mod registry;
pub mod replication;
pub mod snapshot;

pub mod http;
pub mod node;

pub mod cli;
