//! Elections from the view of a client: nodes are killed, frozen, reduced to a minority, or
//! configured differently.

pub(crate) mod clients;
mod durability;
mod majority;
mod mismatched_nodes;
mod registration_race;
mod succession;
