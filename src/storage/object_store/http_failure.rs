//! Failed requests to a store or to a credentials service. Pure: it sends no request.

use std::error::Error;
use std::time::Duration;

use rollcall_core::escape::escape_controls;
use thiserror::Error;

use super::super::error_text::one_line;
use super::secrets::Secrets;

/// Longest message of a failure, in characters. It becomes a part of one log line.
const MAX_MESSAGE_CHARS: usize = 300;

/// Program at the other end of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Responder {
    /// The store.
    Store,
    /// A service that gives credentials for the store, at this host.
    CredentialsService(String),
}

/// Request that failed. Its text contains no secret.
#[derive(Clone, Debug, Error)]
pub(super) enum HttpFailure {
    /// A response with a status outside of 200 to 299.
    #[error("{1}")]
    Status(Responder, StatusFailure),
    /// No complete response. The request may have taken effect.
    #[error("{1}")]
    NoResponse(Responder, String),
    /// A success that does not prove that the store did its part.
    #[error("{0}")]
    NoProof(String),
    /// The request was not sent.
    #[error("{0}")]
    NotSent(String),
    /// The response is larger than [`MAX_OBJECT_BYTES`](super::super::MAX_OBJECT_BYTES).
    #[error("the response is too large")]
    TooLarge,
}

/// Response with a status outside of 200 to 299.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("status {status}{}: {message}", .code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
pub(super) struct StatusFailure {
    pub(super) status: u16,
    /// The store's own code of the error, such as `NoSuchKey`. `None` if the response comes from
    /// another program, such as a proxy.
    pub(super) code: Option<String>,
    /// One line without secrets and control characters.
    pub(super) message: String,
    /// Region of the bucket, if the store names another one than the request.
    pub(super) region: Option<String>,
    /// Time after which the store wants the next attempt.
    pub(super) retry_after: Option<Duration>,
}

impl HttpFailure {
    /// The failure among the causes of an error.
    pub(super) fn find(error: &object_store::Error) -> Option<&Self> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref() {
                return Some(failure);
            }
            cause = error.source();
        }
        None
    }
}

impl StatusFailure {
    /// Reads the beginning of an error response. `secrets` are cut out of the message.
    pub(super) fn new(status: u16, headers: &http::HeaderMap, body: &[u8], secrets: &Secrets) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let body = String::from_utf8_lossy(body);
        let is_xml = body.contains("<Error") && body.contains("<Code>");
        let element = |name| if is_xml { element(&body, name) } else { None };
        let code = header("x-ms-error-code").or_else(|| element("Code"));
        let json = serde_json::from_str::<serde_json::Value>(&body).ok();
        let json = json.as_ref().and_then(|json| {
            ["/error_description", "/error/message", "/message", "/Message"]
                .iter()
                .find_map(|path| json.pointer(path)?.as_str())
        });
        let region = header("x-amz-bucket-region").or_else(|| element("Region"));
        // Only a word can be a code or a region.
        let word = |text: &str| {
            let is_word = text.len() <= 60 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            (is_word && !text.is_empty()).then(|| text.to_owned())
        };
        Self {
            status,
            code: code.and_then(word),
            message: message(element("Message").or(json).unwrap_or(&body), secrets),
            region: region.and_then(word),
            retry_after: header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
        }
    }

    /// The store's own code, or an empty text.
    pub(super) fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }
}

/// Text of the first XML element of this name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// The text as one short line without secrets.
fn message(text: &str, secrets: &Secrets) -> String {
    let line: String = one_line(&secrets.mask(text)).chars().take(MAX_MESSAGE_CHARS).collect();
    if line.is_empty() { "an empty response".to_owned() } else { escape_controls(&line) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use reqwest::Url;

    fn failure(body: &str) -> StatusFailure {
        let variables = [("AWS_SECRET_ACCESS_KEY", "sixteen-letters!".to_owned())].into_iter().collect();
        let url = Url::parse("https://s3.example").unwrap();
        let secrets = Secrets::of_request(&variables, &HeaderMap::new(), &url, b"");
        StatusFailure::new(403, &HeaderMap::new(), body.as_bytes(), &secrets)
    }

    #[test]
    fn the_code_of_s3_is_in_the_body_and_the_code_of_azure_in_a_header() {
        let s3 =
            failure("<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>No\naccess</Message></Error>");
        assert_eq!(s3.to_string(), "status 403 AccessDenied: No access");
        let headers = [("x-ms-error-code", "BlobNotFound")];
        let headers: HeaderMap = headers.into_iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let azure = StatusFailure::new(
            404,
            &headers,
            "\u{feff}<Error><Code>Other</Code></Error>".as_bytes(),
            &Secrets::default(),
        );
        assert_eq!(azure.code(), "BlobNotFound");
    }

    #[test]
    fn a_page_of_a_proxy_has_no_code() {
        for page in ["<html><body><Code>NoSuchKey</Code></body></html>", "", "NoSuchKey", "{\"code\":\"NoSuchKey\"}"] {
            assert_eq!(failure(page).code, None, "{page}");
        }
        assert_eq!(failure("<Error><Code>No Such\nKey</Code></Error>").code, None);
    }

    #[test]
    fn a_message_is_one_short_line_without_secrets() {
        let long = failure(&format!("a\u{1b}[31m sixteen-letters! \r\n{}", "x".repeat(5000)));
        assert!(long.message.starts_with("a [31m *** xxx"), "{}", long.message);
        assert!(long.message.len() < 400);
        assert_eq!(failure(r#"{"error":"invalid_client","error_description":"AADSTS1: no"}"#).message, "AADSTS1: no");
        assert_eq!(failure(" \n").message, "an empty response");
    }
}
