//! Who leads, seen from outside: nodes that are killed, frozen, cut down to a minority, or strangers to each other.

mod clients;
mod durability;
mod majority;
mod race;
mod strangers;
mod succession;
