//! The HTTP API over real sockets.

mod errors;
mod fair_shares;
mod follower;
mod headers;
mod heartbeat_fast_path;
mod hostile;
mod lists;
mod passwords;
mod quotas;
mod tls;
