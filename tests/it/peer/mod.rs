//! The peer: its engine in simulated networks, and real processes.

mod fuzz;
mod lan;
mod mesh;
mod neighbours;
mod person;
mod python;
mod storms;
mod strangers;
mod world;
