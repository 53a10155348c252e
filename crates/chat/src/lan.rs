//! The LAN: one UDP datagram, one message. The codec, [`scan_result`] and [`findings`] are pure; `socket` and `scan` know the sockets.

mod datagram;
mod fields;
pub mod findings;
mod scan;
pub mod scan_result;
pub(super) mod socket;

pub use datagram::{Datagram, DatagramBody, MAX_DATAGRAM_BYTES};
pub use fields::Dialect;
pub(super) use scan::scan;
