//! LAN transport: each message is one UDP datagram.
//!
//! The codec (`datagram`, `fields`), [`scan_result`] and [`findings`] are pure. `socket` and `scan`
//! do the I/O.

mod datagram;
mod fields;
pub mod findings;
mod scan;
pub mod scan_result;
pub(super) mod socket;

pub use datagram::{Datagram, DatagramBody, MAX_DATAGRAM_BYTES};
pub use fields::Dialect;
pub(super) use scan::scan;
