//! Fields that several requests have, described for error messages.

use serde_json::Value;

use crate::http::json_body::FieldSpec;

/// How the field `username` is described to who got it wrong; heartbeats have it too.
pub(super) const USERNAME: FieldSpec = FieldSpec {
    name: "username",
    expected: "a text such as \"alice\"",
    required: true,
    has_valid_type: Value::is_string,
};

/// How the field `addr` is described to who got it wrong; heartbeats have it too.
pub(super) const ADDR: FieldSpec = FieldSpec {
    name: "addr",
    expected: "a text such as \"10.40.6.26:9000\"",
    required: false,
    has_valid_type: Value::is_string,
};
