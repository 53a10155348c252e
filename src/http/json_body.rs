//! The JSON body of a request. It is parsed as JSON even if the Content-Type says otherwise. A byte
//! order mark is skipped: some editors and libraries write one before UTF-8.
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
use rollcall_core::without_byte_order_mark;

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
        let json = without_byte_order_mark(&self.0);
        // serde would also accept an array, with one element for each field.
        let is_object = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match serde_json::from_slice(json) {
            Ok(parsed) if is_object => Ok(parsed),
            Ok(_) => Err(explain_error(json, "it is not an object", fields)),
            Err(error) => Err(explain_error(json, &error.to_string(), fields)),
        }
    }
}

fn explain_error(body: &[u8], error: &str, fields: &[FieldSpec]) -> ApiError {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) if is_utf16_or_utf32(body) => {
            return ApiError::InvalidJson("it is encoded in UTF-16 or UTF-32, but must be in UTF-8".to_owned());
        }
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

/// Whether text seems to be in UTF-16 or UTF-32: it begins with their byte order mark, or one of
/// its first two bytes is zero. JSON in UTF-8 begins with neither.
fn is_utf16_or_utf32(text: &[u8]) -> bool {
    matches!(text, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, _, ..] | [_, 0, ..])
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
    fn a_byte_order_mark_is_skipped_once() {
        let marked = |text: &str| JsonBody(Bytes::from(format!("\u{feff}{text}")));
        let body = marked(" {\"username\":\"a\"}");
        assert_eq!(body.parse::<Heartbeat>(FIELDS).unwrap().username.0, "a");
        assert_eq!(error_of("\u{feff}{}"), "missing: username");
        assert_eq!(error_of("\u{feff}"), "json: EOF while parsing a value at line 1 column 0");
        for twice in ["\u{feff}\u{feff}{}", " \u{feff}{}", "{\u{feff}}"] {
            assert!(error_of(twice).starts_with("json: "), "{twice:?}");
        }
    }

    #[test]
    fn a_body_in_utf16_or_utf32_gets_an_error_that_says_so() {
        let text = r#"{"username":"a"}"#;
        let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        let utf32: Vec<u8> = text.chars().flat_map(|char| u32::from(char).to_be_bytes()).collect();
        let marked = [&[0xFF, 0xFE], &little[..]].concat();
        for body in [little, big, utf32, marked, [0xFE, 0xFF].to_vec()] {
            let error = JsonBody(body.into()).parse::<Heartbeat>(FIELDS).unwrap_err();
            assert!(error.to_string().contains("must be in UTF-8"), "{error}");
        }
    }

    #[test]
    fn nul_bytes_comments_and_trailing_commas_are_errors_with_their_place() {
        assert!(error_of("{\"username\":\"a\"}\0").starts_with("json: trailing characters at line 1 column 17"));
        assert!(error_of("{ // a comment\n\"username\":\"a\"}").contains("at line 1 column 3"));
        assert!(error_of("{\"username\":\"a\",}").starts_with("json: trailing comma at line 1 column 17"));
        assert!(error_of("{'username':'a'}").starts_with("json: key must be a string at line 1 column 2"));
    }

    #[test]
    fn unknown_fields_and_surrounding_space_are_ignored() {
        let body = JsonBody(Bytes::from_static(b" \n{\"username\":\"a\",\"addr\":null,\"x\":{\"y\":[]}}\n "));
        let beat: Heartbeat = body.parse(FIELDS).unwrap();
        assert_eq!((&*beat.username.0, beat.addr), ("a", None));
    }
}
