//! Answers of the stand-in: JSON with the fields that the request asked for, and Google's errors.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};

/// An error: status, reason and message.
#[derive(Debug)]
pub(super) struct DriveError {
    status: u16,
    reason: &'static str,
    message: String,
}

impl DriveError {
    pub(super) fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }

    pub(super) fn no_such_call() -> Self {
        Self::new(404, "notFound", "Not Found")
    }

    pub(super) fn file_not_found(id: &str) -> Self {
        Self::new(404, "notFound", format!("File not found: {id}."))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid", message)
    }
}

impl From<DriveError> for Response<Bytes> {
    fn from(error: DriveError) -> Self {
        let DriveError { status, reason, message } = error;
        let body = serde_json::json!({ "error": {
            "code": status, "message": message,
            "errors": [{ "domain": "global", "reason": reason, "message": message }],
        } });
        let mut response = json(&body);
        *response.status_mut() = status.try_into().expect("a valid status");
        response
    }
}

/// A response with this body.
pub(super) fn json(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert("content-type", "application/json; charset=UTF-8".parse().expect("ASCII"));
    response
}

/// The fields of an object that the parameter `fields` names: `id,files(id,name)`. Fields of an
/// object within a list are in parentheses.
pub(super) fn select(object: &Map<String, Value>, fields: &str) -> Map<String, Value> {
    let mut selected = Map::new();
    for (name, inner) in split(fields) {
        let Some(value) = object.get(name) else { continue };
        let value = match (value, inner) {
            (Value::Array(items), Some(inner)) => {
                items.iter().filter_map(Value::as_object).map(|item| Value::Object(select(item, inner))).collect()
            }
            (Value::Object(object), Some(inner)) => Value::Object(select(object, inner)),
            (value, _) => value.clone(),
        };
        selected.insert(name.to_owned(), value);
    }
    selected
}

/// The names in `a,b(c,d)`, each with the text in its parentheses.
fn split(fields: &str) -> Vec<(&str, Option<&str>)> {
    let (mut found, mut rest) = (Vec::new(), fields);
    while !rest.is_empty() {
        let end = rest.find([',', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (inner, after) = match after.strip_prefix('(') {
            Some(after) => {
                let (inner, after) = after.split_once(')').unwrap_or((after, ""));
                (Some(inner), after)
            }
            None => (None, after),
        };
        found.push((name, inner));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    found
}
