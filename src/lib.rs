//! Rollcall: the server and the command line of a presence registry.
//!
//! Three parts know nothing of each other: [`presence`] decides who is online, [`storage`] keeps what lasts, and [`config`]
//! reads the settings. [`registry`] makes the use cases of them, [`replication`] tells the other nodes what changed, [`http`]
//! serves the API, and [`node`] puts a process together. [`cli`] is the command line.
//!
//! Other packages of the workspace: `rollcall_core` (values with a rule, API bodies, the clock), `rollcall_election` (which
//! node leads), `rollcall_client` (an HTTP client that follows the leader) and `rollcall_chat` (the chat peer).
//! ARCHITECTURE.md has the map and its reasons.

pub mod config;
pub mod presence;
pub mod storage;

pub mod registry;
pub mod replication;
pub mod snapshot;

pub mod http;
pub mod node;

pub mod cli;
