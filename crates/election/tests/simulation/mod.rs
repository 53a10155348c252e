//! The election in simulation: the machine that really runs, in clusters to which everything happens that can happen to
//! them, from one seed each. `world` is the simulator; what is beside it are its tests, one file for each kind of fault.
//!
//! A storm that breaks a rule prints its seed. `ROLLCALL_SEED=123 cargo test --test it simulation::storms::nodes_3`
//! replays it, and `cargo run --release --example soak` tries many more.

mod disks;
mod failover;
mod late_messages;
mod partitions;
mod seeded_bugs;
mod storms;
mod world;
