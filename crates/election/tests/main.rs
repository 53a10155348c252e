//! The election as a whole: the model check and the simulation, both on the state machine that really runs.

mod model;
mod simulation;
