//! The JSON body of a request. It is JSON whatever the Content-Type says.
//!
//! Requests are read straight into their types; only when that fails is the body read again, to say which field is
//! wrong and how.

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use serde::Deserialize;
use serde_json::Value;

use super::body;
use super::error::ApiError;
use super::limits::MAX_JSON_BYTES;

/// A request's body, read within its limit and not parsed yet: what it is parsed into borrows from it.
pub(super) struct JsonBody(Bytes);

/// A field of a request, for saying what is wrong with it.
pub(super) struct FieldSpec {
    /// Its name in the JSON.
    pub(super) name: &'static str,
    /// What it must be, in words.
    pub(super) expected: &'static str,
    /// Whether it must be there.
    pub(super) required: bool,
    /// Whether a value is of the right type.
    pub(super) has_valid_type: fn(&Value) -> bool,
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Self::read(request).await
    }
}

impl JsonBody {
    /// Reads it.
    ///
    /// # Errors
    /// `body_too_large` if it has too many bytes, `invalid_body` if it ended early.
    pub(super) async fn read<B>(request: axum::http::Request<B>) -> Result<Self, ApiError>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        body::read(request, MAX_JSON_BYTES).await.map(Self)
    }

    /// One that was read already.
    pub(super) fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Reads a JSON object with these `fields`. Others are ignored; one that comes twice is an error, since nobody could
    /// say which was meant.
    ///
    /// # Errors
    /// The row of the error table that the body falls under.
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self, fields: &[FieldSpec]) -> Result<T, ApiError> {
        // An array would be taken for the fields in order.
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
    // Only a field that comes twice gets here.
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

    fn refusal(body: &str) -> String {
        let body = JsonBody(Bytes::copy_from_slice(body.as_bytes()));
        let error = body.parse::<Heartbeat>(FIELDS).expect_err("refused");
        match error {
            ApiError::InvalidJson(why) => format!("json: {why}"),
            ApiError::MissingField { field, .. } => format!("missing: {field}"),
            ApiError::InvalidField { field, found, .. } => format!("field: {field} is {found}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_wrong_body_is_told_apart() {
        assert_eq!(refusal("{\n  \"username\": x}"), "json: expected value at line 2 column 15");
        assert_eq!(refusal(""), "json: EOF while parsing a value at line 1 column 0");
        assert!(refusal(r#"{"username":"a"} x"#).starts_with("json: trailing characters at line 1 column 18"));
        assert!(refusal(r#"{"username":"a","username":"b"}"#).starts_with("json: duplicate field `username`"));
        assert!(refusal(r#"["alice","10.0.0.1:9000"]"#).starts_with("json: it is an array"));
        assert!(refusal("\"alice\"").starts_with("json: it is text"));
        assert!(refusal(&"[".repeat(60_000)).starts_with("json: recursion limit"));
        assert_eq!(refusal("{}"), "missing: username");
        assert_eq!(refusal(r#"{"username":null}"#), "field: username is null");
        assert_eq!(refusal(r#"{"username":7}"#), "field: username is a number");
        assert_eq!(refusal(r#"{"username":"a","addr":[1]}"#), "field: addr is an array");
    }

    #[test]
    fn unknown_fields_and_surrounding_space_are_ignored() {
        let body = JsonBody(Bytes::from_static(b" \n{\"username\":\"a\",\"addr\":null,\"x\":{\"y\":[]}}\n "));
        let beat: Heartbeat = body.parse(FIELDS).unwrap();
        assert_eq!((&*beat.username.0, beat.addr), ("a", None));
    }
}
