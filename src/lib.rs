//! Rollcall: who is registered, who is online now, where to reach them, and what their pictures are.

pub mod client;
pub mod clock;
pub mod commands;
pub mod config;
pub mod domain;
pub mod election;
pub mod node;
pub mod storage;
