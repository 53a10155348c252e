//! Faults of processes at the documented timings. The table in tests/README.md lists the rows.
//!
//! The limits here are wide, because the machine may be busy. A cluster with the mechanism under
//! test meets each limit, and a cluster without it cannot. The example `failover` measures the
//! exact figures.

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
