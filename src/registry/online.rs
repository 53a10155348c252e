//! Who is online: heartbeats in, lists and changes out.

pub(super) mod heartbeat;
pub(super) mod online_clients;
