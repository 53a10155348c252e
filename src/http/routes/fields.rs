//! Rules for the JSON fields that several kinds of requests have.

use serde_json::Value;

use crate::http::json_body::FieldSpec;

/// The field `username`.
pub(super) const USERNAME: FieldSpec = FieldSpec {
    name: "username",
    expected: "a text such as \"alice\"",
    required: true,
    has_valid_type: Value::is_string,
};

/// The field `addr`.
pub(super) const ADDR: FieldSpec = FieldSpec {
    name: "addr",
    expected: "a text such as \"10.40.6.26:9000\"",
    required: false,
    has_valid_type: Value::is_string,
};
