//! Who leads.
//!
//! [`Election`] runs the rules of [`machine`] on a thread of its own; [`Role`] is what the rest of the program sees of
//! it, on a watch channel. Nothing here knows users, HTTP or storage.

mod ballot;
mod carrier;
mod complaints;
mod dialler;
mod driver;
mod frame;
mod greeter;
mod handshake;
mod identities;
mod link;
mod load;
pub mod machine;
mod members;
mod message;
mod narrator;
mod network;
mod process;
mod proof;
mod role;
mod strangers;
#[cfg(test)]
mod tests;

pub use ballot::{decode_ballot, encode_ballot, has_ballot};
pub use carrier::{Carrier, MOST_CARGO_BYTES, Parcel};
pub use driver::{Election, Options};
pub use frame::{PROTOCOL, Timings};
pub use load::LoadSource;
pub use message::{BallotReport, Message, PreVoteResp};
pub use process::{Ballot, BootId, NodeId, NodeSet, Peers, Process};
pub use role::{Leader, Member, Role, Standing};
