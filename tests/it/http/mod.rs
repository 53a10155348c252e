//! The API over real sockets.

mod errors;
mod express;
mod follower;
mod headers;
mod hostile;
mod passwords;
mod reads;
