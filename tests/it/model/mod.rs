//! A model check of the election.

mod bounds;
mod bugs;
mod check;
mod packet;
mod plant;
mod runs;
mod step;
mod world;
