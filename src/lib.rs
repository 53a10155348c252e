//! Rollcall: who is registered, who is online now, where to reach them, and what their pictures are.

pub mod api;
pub mod clock;
pub mod domain;
pub mod election;
pub mod http;
pub mod presence;
pub mod registry;
pub mod storage;
