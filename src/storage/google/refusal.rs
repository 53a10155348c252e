//! Refusals of Google's APIs: their form, and what is the same in all of them. Pure.

use std::time::Duration;

use google_cloud_auth::errors::CredentialsError;
use http::HeaderMap;
use serde_json::Value;

use super::super::BackendError;
use super::super::error_text::{error_chain, one_line};

/// Remedy for a request without a complete response.
pub(in crate::storage) const NETWORK_REMEDY: &str = "check this machine's network, DNS and proxy";

/// Most bytes of an error body that are read. Errors of Google have less than 1 KiB; longer
/// ones are pages of a proxy.
pub(in crate::storage) const MAX_ERROR_BODY_BYTES: usize = 4096;

/// A response with an error status.
#[derive(Debug)]
pub(in crate::storage) struct Refusal {
    pub(in crate::storage) status: u16,
    /// `error.errors[0].reason` of a JSON body.
    pub(in crate::storage) reason: Option<String>,
    /// `error.message` of a JSON body, or else the body itself.
    pub(in crate::storage) message: String,
    /// Whether the body is an error object of Google's APIs. Other bodies may come from a proxy.
    pub(in crate::storage) is_error_object: bool,
    pub(in crate::storage) retry_after: Option<Duration>,
}

/// Meaning of a refusal, recognized by its reason, or by words of its message. The answers to reads
/// are plain text and have no reason.
pub(in crate::storage) struct KnownRefusal {
    pub(in crate::storage) reasons: &'static [&'static str],
    /// Lower-case text.
    pub(in crate::storage) words: &'static [&'static str],
    pub(in crate::storage) is_transient: bool,
    pub(in crate::storage) remedy: &'static str,
}

impl Refusal {
    /// Reads an error response. `body` is its first [`MAX_ERROR_BODY_BYTES`].
    pub(in crate::storage) fn parse(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(error) = json.get("error").filter(|error| error.is_object()) else {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BODY_BYTES)]);
            return Self::new(status, headers, false, None, &text);
        };
        let first = error.pointer("/errors/0").unwrap_or(&Value::Null);
        let message = error["message"].as_str().or(first["message"].as_str()).unwrap_or_default();
        Self::new(status, headers, true, first["reason"].as_str(), message)
    }

    pub(in crate::storage) fn new(
        status: u16,
        headers: &HeaderMap,
        is_error_object: bool,
        reason: Option<&str>,
        message: &str,
    ) -> Self {
        Self {
            status,
            reason: reason.map(str::to_owned),
            message: nested_message(message).unwrap_or_else(|| message.to_owned()),
            is_error_object,
            retry_after: retry_after(headers),
        }
    }

    /// Whether the body is a page of HTML, which comes from a proxy.
    pub(in crate::storage) fn is_html(&self) -> bool {
        !self.is_error_object && self.message.trim_start().starts_with('<')
    }

    /// The refusal in `table` with this reason or, if there is none, with these words.
    pub(in crate::storage) fn known(&self, table: &'static [KnownRefusal]) -> Option<&'static KnownRefusal> {
        let has_reason =
            |known: &&KnownRefusal| self.reason.as_ref().is_some_and(|r| known.reasons.contains(&r.as_str()));
        let message = self.message.to_lowercase();
        let has_words = |known: &&KnownRefusal| known.words.iter().any(|words| message.contains(words));
        let by_words = || table.iter().find(has_words).filter(|_| !self.is_html());
        table.iter().find(has_reason).or_else(by_words)
    }

    /// The error of a request that may succeed later.
    pub(in crate::storage) fn transient(&self, remedy: &str) -> BackendError {
        BackendError::Transient { cause: self.with_remedy(remedy), retry_after: self.retry_after }
    }

    /// The error of a request that the operator must make possible.
    pub(in crate::storage) fn permanent(&self, remedy: &str) -> BackendError {
        BackendError::Permanent(self.with_remedy(remedy))
    }

    fn with_remedy(&self, remedy: &str) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" ({})", one_line(reason))).unwrap_or_default();
        format!("status {}{reason}: {}; {remedy}", self.status, one_line(&self.message))
    }
}

/// The error of credentials that gave no token. `setting` names their file.
pub(in crate::storage) fn credentials_error(error: &CredentialsError, setting: &str) -> BackendError {
    let text = error_chain(error);
    // Words of OAuth's errors that a retry does not repair.
    let is_rejected = ["invalid_grant", "invalid_client", "unauthorized_client"].iter().any(|w| text.contains(w));
    if is_rejected {
        return BackendError::Permanent(format!(
            "{text}; check the key file that {setting} names, and make a new key if it was revoked"
        ));
    }
    BackendError::transient(format!("{text}; {NETWORK_REMEDY}"))
}

/// The message within a message that is itself an error object, as in Google's conformance server.
fn nested_message(message: &str) -> Option<String> {
    let nested: Value = serde_json::from_str(message).ok()?;
    nested.pointer("/error/errors/0/message")?.as_str().map(str::to_owned)
}

/// The wait that the server asks for, in whole seconds. Google sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_the_server_asks_for_is_read_in_seconds() {
        let mut headers = HeaderMap::new();
        for (value, wait) in [("7", Some(7)), (" 0 ", Some(0)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
            let error = Refusal::parse(503, &headers, b"").transient("try again");
            let BackendError::Transient { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after, wait.map(Duration::from_secs), "{value}");
        }
    }
}
