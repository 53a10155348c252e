//! Online clients: heartbeats, the list and its changes.

pub(super) mod heartbeat;
pub(super) mod online_clients;
