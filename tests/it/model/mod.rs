//! A model check of the election.

mod bounds;
mod packet;
mod plant;
mod runs;
mod step;
mod world;
