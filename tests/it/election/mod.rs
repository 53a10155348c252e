//! Who leads, seen from outside: nodes that are killed, frozen, cut down to a minority, or strangers to each other.

pub(crate) mod clients;
mod durability;
mod majority;
mod mismatched_nodes;
mod registration_race;
mod succession;
