//! The API over real sockets.

mod errors;
mod follower;
mod headers;
mod hostile;
