//! The peer: its engine in simulated networks, and real processes.

mod demo;
mod fuzz;
mod lan;
mod logs;
mod mesh;
mod metrics;
mod neighbours;
mod person;
mod python;
mod scan;
mod shipped;
mod storms;
mod strangers;
mod talker;
mod terminal;
mod world;
