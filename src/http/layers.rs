//! Layers around the routes.

pub(super) mod response_headers;
