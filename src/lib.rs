//! Rollcall: who is registered, who is online now, where to reach them, and what their pictures are.
//!
//! Values with a rule each are in [`domain`]. On them stand four parts that know nothing of each other: [`election`]
//! decides which node leads, [`presence`] who is online, [`storage`] keeps what lasts, [`config`] what a node is told.
//! [`registry`] makes the use cases of them, [`http`] offers those to clients, and [`node`] puts a process together.
//! [`client`] is the other end, [`peer`] a chat program that finds others through it, and [`commands`] is what a person
//! types. ARCHITECTURE.md has the map and its reasons.

pub mod config;
pub mod presence;
pub mod storage;

pub mod registry;
pub mod replication;
pub mod snapshot;

pub mod http;
pub mod node;

pub mod commands;
