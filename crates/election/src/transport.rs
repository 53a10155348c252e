//! The links between nodes: sockets, the greeting, and the messages of other subsystems on the same links.

pub(crate) mod carrier;
pub(crate) mod complaints;
pub(crate) mod dialler;
pub(crate) mod greeter;
pub(crate) mod handshake;
pub(crate) mod identities;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod strangers;
