//! Rules for the JSON fields that several kinds of requests have.

use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::json_body::FieldSpec;
use crate::http::params::ClientAddr;
use rollcall_core::api::CowStr;
use rollcall_core::{Addr, AddrForm};

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

/// Parses the field `addr`. Empty text counts as absent, because lists have it for a client without
/// an address, and typed clients send back what they read.
pub(super) fn parse_addr(addr: Option<&CowStr>, client: ClientAddr) -> Result<Option<Addr>, ApiError> {
    match addr {
        Some(text) if !text.0.is_empty() => Ok(Some(AddrForm::parse(&text.0)?.resolve(client.ip()))),
        Some(_) | None => Ok(None),
    }
}
