//! The LAN: one UDP datagram, one message. The codec is pure; `socket` knows the sockets.

mod datagram;
mod fields;
pub(super) mod socket;

pub use datagram::{Body, Datagram, MAX_DATAGRAM_BYTES};
pub use fields::Dialect;
