//! Who is online: heartbeats in, lists and changes out.

pub(super) mod clients;
pub(super) mod heartbeat;
