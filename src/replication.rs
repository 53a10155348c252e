//! How what the leader knows reaches the other nodes, so that the next leader knows it too.
//!
//! `Replica` decides, purely: the leader numbers what changes, in batches; a follower that missed some, or everything,
//! pulls what it lacks, and a new leader pulls from the others what it may lack. Rows are merged by laws that make twice,
//! late and in any order all the same, so nothing here has to be reliable. [`Replication`] joins it to the election's links and
//! the registry.

mod driver;
mod following;
mod freshness;
mod journal;
mod leading;
mod message;
mod pulling;
mod replica;
mod sent_batches;
mod store;
mod takeover;
#[cfg(test)]
mod tests;

pub use driver::{Flusher, Replication};
