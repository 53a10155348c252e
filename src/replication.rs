//! Replication of the leader's online clients and registered users to the other nodes, so that the
//! next leader has them too.
//!
//! The leader numbers its changes in batches and sends them. A follower that missed batches pulls
//! the missing rows. A new leader pulls the rows that it may lack from every other node. Merging
//! rows is idempotent and commutative, so messages may be lost, repeated, delayed and reordered.
//!
//! `Replica` is the pure state machine: it decides. [`Replication`] is its driver: it connects the
//! replica to the election's links, to the registry and to the clock.

mod batch_log;
mod bounds;
mod catch_up;
mod driver;
mod follower;
mod freshness;
mod leader;
mod local_tables;
mod message;
mod registry_tables;
mod replica;
mod sent_batches;
mod takeover;
#[cfg(test)]
mod tests;

pub use driver::{FlushHandle, Replication};
