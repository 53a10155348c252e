//! Who leads.
//!
//! [`Role`] is what the rest of the program sees of it, on a watch channel. Nothing here knows users, HTTP or storage.

pub mod machine;
mod message;
mod process;
mod role;

pub use message::{BallotReport, Message, PreVoteResp};
pub use process::{Ballot, BootId, MAX_NODES, NodeId, NodeSet, Peers, Process};
pub use role::{Leader, Member, MemberRole, Role, Standing};
