//! Model check and simulation of the election. Both run the real state machine.

mod model;
mod simulation;
