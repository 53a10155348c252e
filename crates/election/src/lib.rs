//! Leader election over TCP, with a preference for the node with the lowest CPU load.
//!
//! [`Election`] runs the state machine of [`machine`] on its own thread. The rest of the program
//! reads the result as [`Role`] from a watch channel. This crate does not know users, HTTP or
//! storage.

mod abort;
mod ballast;
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
mod tls;
mod transport;
mod wire;

pub use ballot::{decode_ballot, encode_ballot, has_ballot};
pub use election::Election;
pub use load::LoadSource;
pub use options::{ApiOptions, BallotOptions, ClusterOptions, LoadOptions, Options};
pub use process::{Ballot, BootId, NodeId, NodeSet, Peers, Process};
pub use role::{Leader, Member, Role, RoleState};
pub use tls::{LinkSecurity, LinkTls, LinkTlsError, NodeKeyPair, bucket_fingerprint};
pub use transport::payload::{Inbound, MAX_PAYLOAD_BYTES, Transport};
pub use wire::frame::PROTOCOL;
pub use wire::message::{BallotReport, Message, PreVoteResp};
