//! Model check and simulation of the election. Both run the state machine of the product.

mod model;
mod simulation;
