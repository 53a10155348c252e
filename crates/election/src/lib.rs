//! Who leads.
//!
//! [`Election`] runs the rules of [`machine`] on a thread of its own; [`Role`] is what the rest of the program sees of
//! it, on a watch channel. Nothing here knows users, HTTP or storage.

mod abort;
mod ballot;
mod ballot_writer;
mod driver;
mod election;
mod event_log;
mod load;
pub mod machine;
mod members;
mod options;
mod process;
mod role;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub use ballot::{decode_ballot, encode_ballot, has_ballot};
pub use election::Election;
pub use load::LoadSource;
pub use options::{ApiOptions, BallotOptions, ClusterOptions, LoadOptions, Options};
pub use process::{Ballot, BootId, NodeId, NodeSet, Peers, Process};
pub use role::{Leader, Member, Role, RoleState};
pub use transport::payload::{Inbound, MAX_PAYLOAD_BYTES, Transport};
pub use wire::frame::PROTOCOL;
pub use wire::message::{BallotReport, Message, PreVoteResp};
