//! Middleware layers around the routes.

pub(super) mod cors;
pub(super) mod origin_check;
pub(super) mod request_timeout;
pub(super) mod response_headers;
