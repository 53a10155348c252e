//! The integration tests, one binary; each module mirrors a part of the program.

mod architecture;
mod model;
mod storage;
