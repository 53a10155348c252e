//! A response, read to its end.

use std::fmt;

use reqwest::header::HeaderMap;
use serde_json::Value;

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: bytes::Bytes,
}

impl Response {
    pub(super) async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await? })
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// The value of a header, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Checks that this is an error response of the documented format, with this status and code.
    /// Returns its message.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        let json = self.json();
        assert_eq!(json["success"], false, "{self}");
        assert_eq!(json["code"], code, "{self}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{self}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{self}");
        let message = json["message"].as_str().expect("a message").to_owned();
        assert!(!message.is_empty() && !message.contains('\n'), "{self}");
        message
    }

    pub(super) fn code(&self) -> Option<String> {
        let json: Value = serde_json::from_slice(&self.body).ok()?;
        json["code"].as_str().map(str::to_owned)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(600).collect();
        write!(f, "{} {body}", self.status)
    }
}
