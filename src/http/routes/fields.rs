//! Fields that several requests have, described for error messages.

use serde_json::Value;

use crate::http::json_body::Field;

/// How the field `username` is described to who got it wrong; heartbeats have it too.
pub(super) const USERNAME: Field =
    Field { name: "username", wanted: "a text such as \"alice\"", required: true, fits: Value::is_string };

/// How the field `addr` is described to who got it wrong; heartbeats have it too.
pub(super) const ADDR: Field =
    Field { name: "addr", wanted: "a text such as \"10.40.6.26:9000\"", required: false, fits: Value::is_string };
