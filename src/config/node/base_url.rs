//! Base URL of an HTTP API.

use http::Uri;

/// A base URL without its trailing slash.
pub(super) fn parse_base_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    (is_http && has_host && uri.query().is_none() && !text.contains('#')).then(|| text.trim_end_matches('/').to_owned())
}
