//! Simulation of the election: clusters that run the real state machine, with all faults that can
//! happen to them. One seed determines each run. `world` is the simulator. The other files are its
//! tests, one file per kind of fault.
//!
//! A storm that violates a rule prints its seed. `ROLLCALL_SEED=123 cargo test --test it
//! simulation::storms::nodes_3` replays it, and `cargo run --release --example soak` runs many
//! more.

mod disks;
mod failover;
mod late_messages;
mod partitions;
mod seeded_bugs;
mod storms;
mod world;
