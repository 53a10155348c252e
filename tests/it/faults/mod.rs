//! Faults of processes at the documented timings. The table in tests/README.md lists the rows.
//!
//! The limits here are wide, because the machine may be busy. But the mechanism under test can meet
//! each of them, and a cluster without it cannot. The example `failover` measures the exact
//! figures.

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
