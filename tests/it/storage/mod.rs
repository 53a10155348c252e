//! One suite of behaviours, run against every kind of store, and what is particular to each kind.

mod local;
mod memory;
mod suite;
mod troubles;
