//! The peer: its engine in simulated networks, and real processes.

mod lan;
mod mesh;
mod neighbours;
mod person;
mod scan;
mod storms;
mod strangers;
mod terminal;
mod world;
