//! The faults that processes can suffer, at the documented timings: the table in tests/README.md says which row is which.
//!
//! The bounds here are wide, since the machine may be busy, but each is one that the mechanism under test can meet and
//! that a cluster without it cannot. The exact figures are measured by the example `failover`.

mod ballot;
mod foreign_connections;
mod freezes;
mod handover;
mod kills;
mod observed_cluster;
mod restarts;
mod two_nodes;
mod writers;

#[path = "../../../examples/failover/probes.rs"]
mod probes;
