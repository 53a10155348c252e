//! The JSON body of a request. It is parsed as JSON even if the Content-Type says otherwise.
//!
//! A body is parsed directly into its type. If that fails, it is parsed again, to find and describe
//! the invalid field.

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde_json::Value;

use super::body;
use super::error::ApiError;
use super::limits::MAX_JSON_BYTES;

/// The body of a request, read within its limit but not parsed. The parsed values borrow from it.
pub(super) struct JsonBody(Bytes);

/// The rules for one JSON field of a request. They produce the error message for an invalid field.
pub(super) struct FieldSpec {
    /// Name of the field in the JSON object.
    pub(super) name: &'static str,
    /// Valid values, in words.
    pub(super) expected: &'static str,
    /// Whether the field must be present.
    pub(super) required: bool,
    /// Whether a value has the right JSON type.
    pub(super) has_valid_type: fn(&Value) -> bool,
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Self::read(request).await
    }
}

impl JsonBody {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `body_too_large` if it is longer than [`MAX_JSON_BYTES`], `invalid_body` if it ends early.
    pub(super) async fn read<B>(request: axum::http::Request<B>) -> Result<Self, ApiError>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        body::read(request, MAX_JSON_BYTES).await.map(Self)
    }

    /// Wraps a body that was already read.
    pub(super) fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Parses a JSON object with these `fields`. Unknown fields are ignored. A duplicate field is
    /// an error, because it is ambiguous.
    ///
    /// # Errors
    /// `invalid_json`, `missing_field` or `invalid_field`.
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self, fields: &[FieldSpec]) -> Result<T, ApiError> {
        // serde would also accept an array, with one element for each field.
        let is_object = self.0.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match serde_json::from_slice(&self.0) {
            Ok(parsed) if is_object => Ok(parsed),
            Ok(_) => Err(explain_error(&self.0, "it is not an object", fields)),
            Err(error) => Err(explain_error(&self.0, &error.to_string(), fields)),
        }
    }
}

fn explain_error(body: &[u8], error: &str, fields: &[FieldSpec]) -> ApiError {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return ApiError::InvalidJson(error.to_string()),
    };
    let Value::Object(object) = value else {
        let found = type_name(&value);
        return ApiError::InvalidJson(format!(
            "it is {found}, but must be an object, such as {{\"username\":\"alice\"}}"
        ));
    };
    for &FieldSpec { name: field, expected, required, has_valid_type } in fields {
        match object.get(field) {
            None if required => return ApiError::MissingField { field, expected },
            None => {}
            Some(Value::Null) if !required => {}
            Some(value) if has_valid_type(value) => {}
            Some(value) => return ApiError::InvalidField { field, found: type_name(value).to_owned(), expected },
        }
    }
    // Every other error was found above, so this is a duplicate field.
    ApiError::InvalidJson(error.to_owned())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::api::Heartbeat;

    const FIELDS: &[FieldSpec] = &[
        FieldSpec { name: "username", expected: "a text", required: true, has_valid_type: Value::is_string },
        FieldSpec { name: "addr", expected: "a text", required: false, has_valid_type: Value::is_string },
    ];

    fn error_of(body: &str) -> String {
        let body = JsonBody(Bytes::copy_from_slice(body.as_bytes()));
        let error = body.parse::<Heartbeat>(FIELDS).expect_err("an invalid body");
        match error {
            ApiError::InvalidJson(why) => format!("json: {why}"),
            ApiError::MissingField { field, .. } => format!("missing: {field}"),
            ApiError::InvalidField { field, found, .. } => format!("field: {field} is {found}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_invalid_body_has_its_error() {
        assert_eq!(error_of("{\n  \"username\": x}"), "json: expected value at line 2 column 15");
        assert_eq!(error_of(""), "json: EOF while parsing a value at line 1 column 0");
        assert!(error_of(r#"{"username":"a"} x"#).starts_with("json: trailing characters at line 1 column 18"));
        assert!(error_of(r#"{"username":"a","username":"b"}"#).starts_with("json: duplicate field `username`"));
        assert!(error_of(r#"["alice","10.0.0.1:9000"]"#).starts_with("json: it is an array"));
        assert!(error_of("\"alice\"").starts_with("json: it is text"));
        assert!(error_of(&"[".repeat(60_000)).starts_with("json: recursion limit"));
        assert_eq!(error_of("{}"), "missing: username");
        assert_eq!(error_of(r#"{"username":null}"#), "field: username is null");
        assert_eq!(error_of(r#"{"username":7}"#), "field: username is a number");
        assert_eq!(error_of(r#"{"username":"a","addr":[1]}"#), "field: addr is an array");
    }

    #[test]
    fn unknown_fields_and_surrounding_space_are_ignored() {
        let body = JsonBody(Bytes::from_static(b" \n{\"username\":\"a\",\"addr\":null,\"x\":{\"y\":[]}}\n "));
        let beat: Heartbeat = body.parse(FIELDS).unwrap();
        assert_eq!((&*beat.username.0, beat.addr), ("a", None));
    }
}
