//! Replication between node processes: the lists of a new leader, and the snapshots of a cold
//! start.

mod cold;
mod takeover;
