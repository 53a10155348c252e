//! Who leads.
//!
//! [`Election`] runs the rules of [`machine`] on a thread of its own; [`Role`] is what the rest of the program sees of
//! it, on a watch channel. Nothing here knows users, HTTP or storage.

mod ballot;
mod driver;
mod load;
pub mod machine;
mod members;
mod narrator;
mod process;
mod role;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub use ballot::{decode_ballot, encode_ballot, has_ballot};
pub use driver::{Election, Options};
pub use load::LoadSource;
pub use process::{Ballot, BootId, NodeId, NodeSet, Peers, Process};
pub use role::{Leader, Member, Role, Standing};
pub use transport::carrier::{Carrier, MOST_CARGO_BYTES, Parcel};
pub use wire::message::{BallotReport, Message, PreVoteResp};
