//! Base URL of a node's HTTP API, from a user or from another node. Pure.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;
use thiserror::Error;

/// Base URL of a node's HTTP API.
///
/// Invariant: the scheme is `http` or `https`. There is a host, and there are no credentials, no
/// query, no fragment and no slash at the end.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerUrl(String);

/// The text is not a base URL. The message contains the text and an example of a valid one.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("{given:?} is no server; give the URL of a node, such as http://localhost:3000, or its HOST:PORT")]
pub struct InvalidServerUrl {
    /// The given text, cut to 80 characters.
    pub given: String,
}

impl ServerUrl {
    /// The URL as text. A path with a leading slash can be appended.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        let invalid = || InvalidServerUrl { given: text.chars().take(80).collect() };
        let text = text.trim();
        // Without a scheme, the URL parser would take the host of `HOST:PORT` for the scheme.
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Url = whole.parse().map_err(|_| invalid())?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        is_plain.then(|| Self(url.as_str().trim_end_matches('/').to_owned())).ok_or_else(invalid)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ServerUrl> for String {
    fn from(server: ServerUrl) -> Self {
        server.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_a_host_with_a_port() {
        for (given, url) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:3000/", "http://localhost:3000"),
            ("localhost:3000", "http://localhost:3000"),
            (" 10.0.0.1:3001 ", "http://10.0.0.1:3001"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("https://registry.example/rollcall/", "https://registry.example/rollcall"),
            ("registry", "http://registry"),
        ] {
            assert_eq!(given.parse::<ServerUrl>().unwrap().as_str(), url, "{given:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_base_url_is_rejected() {
        for bad in
            ["", " ", "http://", "ftp://a", "file:///etc/passwd", "http://a:b@c", "http://a?x=1", "a b:1", "a:99999"]
        {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad:?}");
        }
    }
}
