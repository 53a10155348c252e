//! Base URL of an HTTP API: its validation.

use http::Uri;

/// The base URL without its trailing slash. `None` if the text is not a base URL. A base URL has
/// the scheme `http` or `https` and a host, and no user, query or fragment.
pub(super) fn parse_base_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host =
        uri.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    (is_http && has_host && uri.query().is_none() && !text.contains('#')).then(|| text.trim_end_matches('/').to_owned())
}
