//! Same-origin policy for requests that web pages send. A browser adds the headers `Origin` and
//! `Sec-Fetch-Site`, and a page cannot forge them. Other programs send neither. Pure.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use rollcall_election::Member;

/// Relation between the origin of a page and the URL of its request, as the browser sees it.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Web pages that may read responses. Trusted pages always may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum CorsPolicy {
    /// Pages of every origin may read. None of them is trusted.
    #[default]
    Any,
    /// Pages of these origins, such as `https://example.org`. They are trusted.
    Origins(Vec<String>),
}

/// Which web pages are trusted: they may read responses and send requests that change something.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    any_may_read: bool,
    /// Trusted origins, as browsers write them.
    listed: Vec<String>,
    /// Host of this node's API URL.
    api_host: Option<String>,
    /// Whether this node itself has TLS, so that each request came by https.
    has_tls: bool,
}

/// The sender of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestSender {
    /// A program that is no browser, or a person who typed the URL.
    Program,
    /// A page of a trusted origin.
    TrustedPage,
    /// Any other page.
    ForeignPage,
}

impl OriginPolicy {
    /// Creates the policy of a node with this API URL. `has_tls`: whether it has TLS itself.
    #[must_use]
    pub fn new(cors: CorsPolicy, api_url: &str, has_tls: bool) -> Self {
        let (any_may_read, listed) = match cors {
            CorsPolicy::Any => (true, Vec::new()),
            CorsPolicy::Origins(origins) => (false, origins),
        };
        let listed = listed.iter().filter_map(|origin| origin_of(origin)).collect();
        let api_host = Url::parse(api_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self { any_may_read, listed, api_host, has_tls }
    }

    /// Whether pages of every origin may read responses.
    pub(super) fn any_may_read(&self) -> bool {
        self.any_may_read
    }

    /// The sender of a request with these headers. `members` are the nodes of the cluster.
    ///
    /// A page is trusted if its origin is listed, if it is the API URL of a member, or if the page
    /// has the same origin as its request and [`Self::is_own_host`] holds.
    pub(super) fn sender(&self, headers: &HeaderMap, members: &[Member]) -> RequestSender {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        let host = headers.get(header::HOST);
        let is_trusted = match (origins.next(), origins.next()) {
            (None, _) => match site {
                None | Some(b"none") => return RequestSender::Program,
                Some(b"same-origin") => self.is_own_host(host),
                Some(_) => false,
            },
            (Some(origin), None) => {
                // A page of the same host is still foreign if only one of the two URLs is https.
                let has_same_origin =
                    || site.is_none_or(|site| site == b"same-origin") && self.is_origin_of(origin, host);
                self.is_listed(origin, members) || has_same_origin() && self.is_own_host(host)
            }
            (Some(_), Some(_)) => false,
        };
        if is_trusted { RequestSender::TrustedPage } else { RequestSender::ForeignPage }
    }

    fn is_listed(&self, origin: &HeaderValue, members: &[Member]) -> bool {
        let is_origin = |listed: &str| listed.as_bytes() == origin.as_bytes();
        let mut urls = members.iter().filter_map(|member| member.api_url.as_deref());
        self.listed.iter().any(|listed| is_origin(listed))
            || urls.any(|url| origin_of(url).as_deref().is_some_and(is_origin))
    }

    /// Whether an origin has the host and port of a `Host` header. A browser writes both without a
    /// default port. A proxy may add TLS, so without TLS of its own the node does not know the
    /// scheme.
    fn is_origin_of(&self, origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
        let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else { return false };
        let plain = origin.strip_prefix("http://").filter(|_| !self.has_tls);
        let authority = plain.or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    }

    /// Whether the `Host` of a request can only mean this node: an IP address, `localhost`, or the
    /// host of its API URL.
    ///
    /// An attacker can point any name of his own at this node (DNS rebinding). Then a page of that
    /// name has the same origin as its requests.
    fn is_own_host(&self, host: Option<&HeaderValue>) -> bool {
        let Some(authority) = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()) else { return false };
        let name = authority.host();
        let is_ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let is_api_host = || self.api_host.as_ref().is_some_and(|host| host.eq_ignore_ascii_case(name));
        is_ip || name.eq_ignore_ascii_case("localhost") || is_api_host()
    }
}

/// The origin of a URL, as browsers write it: in lower case and without a default port.
fn origin_of(url: &str) -> Option<String> {
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use RequestSender::{ForeignPage, Program, TrustedPage};

    use super::*;

    const API_URL: &str = "https://api.example/rollcall";

    fn policy(cors: CorsPolicy) -> OriginPolicy {
        OriginPolicy::new(cors, API_URL, false)
    }

    fn member(api_url: Option<&str>) -> Member {
        let node = "10.0.0.2:8080".parse().unwrap();
        let api_url = api_url.map(str::to_owned);
        Member { node, api_url, role: None, reachable: true, load: None, term: None, last_heard: None }
    }

    /// The sender of a request to `Host` `host` with these further headers.
    fn sender(policy: &OriginPolicy, host: &str, more: &[(HeaderName, &str)]) -> RequestSender {
        let mut headers = HeaderMap::new();
        for (name, value) in [&[(header::HOST, host)], more].concat() {
            headers.append(name, value.parse().unwrap());
        }
        policy.sender(
            &headers,
            &[member(Some("http://10.0.0.2:3000")), member(None), member(Some("http://B.Example:80/api"))],
        )
    }

    #[test]
    fn a_program_that_is_no_browser_may_use_any_host_name() {
        for host in ["10.0.0.1:3000", "api.example", "any.name", "%%"] {
            assert_eq!(sender(&policy(CorsPolicy::Any), host, &[]), Program, "{host}");
        }
        assert_eq!(sender(&policy(CorsPolicy::Any), "any.name", &[(SEC_FETCH_SITE, "none")]), Program);
    }

    #[test]
    fn a_page_is_trusted_if_its_origin_is_listed_or_belongs_to_a_member() {
        let listed = CorsPolicy::Origins(vec!["https://Page.example:443".into(), "http://localhost:5173".into()]);
        for cors in [listed.clone(), CorsPolicy::Any, CorsPolicy::Origins(Vec::new())] {
            let policy = policy(cors.clone());
            for (origin, in_list, expected) in [
                ("https://page.example", true, TrustedPage),
                ("http://localhost:5173", true, TrustedPage),
                ("http://page.example", true, ForeignPage),
                ("https://page.example:8443", true, ForeignPage),
                ("https://page.example.evil.example", true, ForeignPage),
                ("http://localhost:5174", true, ForeignPage),
                ("http://10.0.0.2:3000", false, TrustedPage),
                ("http://10.0.0.2:3001", false, ForeignPage),
                ("https://10.0.0.2:3000", false, ForeignPage),
                ("http://b.example", false, TrustedPage),
                ("http://b.example:8080", false, ForeignPage),
                ("null", false, ForeignPage),
                ("file://", false, ForeignPage),
                ("*", false, ForeignPage),
                ("", false, ForeignPage),
            ] {
                let expected = if in_list && cors != listed { ForeignPage } else { expected };
                let found = |site| sender(&policy, "any.name", &[(header::ORIGIN, origin), (SEC_FETCH_SITE, site)]);
                assert_eq!((found("cross-site"), found("same-site")), (expected, expected), "{origin} {cors:?}");
                assert_eq!(sender(&policy, "any.name", &[(header::ORIGIN, origin)]), expected, "{origin} {cors:?}");
            }
        }
    }

    #[test]
    fn a_page_of_the_same_origin_is_trusted_only_under_a_name_that_no_attacker_can_have() {
        let policy = policy(CorsPolicy::Any);
        for (host, expected) in [
            ("10.0.0.1:3000", TrustedPage),
            ("127.0.0.1", TrustedPage),
            ("[::1]:3000", TrustedPage),
            ("localhost:3000", TrustedPage),
            ("LOCALHOST", TrustedPage),
            ("api.example", TrustedPage),
            ("api.example:8443", TrustedPage),
            // A name that an attacker points at this node.
            ("evil.example:3000", ForeignPage),
            ("localhost.evil.example", ForeignPage),
            ("10.0.0.1.evil.example", ForeignPage),
            ("evil.localhost", ForeignPage),
            ("x.api.example", ForeignPage),
            ("", ForeignPage),
        ] {
            for scheme in ["http", "https"] {
                let origin = (header::ORIGIN, &*format!("{scheme}://{host}"));
                assert_eq!(sender(&policy, host, std::slice::from_ref(&origin)), expected, "{host}");
                assert_eq!(
                    sender(&policy, host, &[origin.clone(), (SEC_FETCH_SITE, "same-origin")]),
                    expected,
                    "{host}"
                );
                // The page and the node differ in their scheme.
                assert_eq!(sender(&policy, host, &[origin, (SEC_FETCH_SITE, "cross-site")]), ForeignPage, "{host}");
            }
            // Browsers send no `Origin` with a `GET` of the same origin.
            assert_eq!(sender(&policy, host, &[(SEC_FETCH_SITE, "same-origin")]), expected, "{host}");
        }
    }

    #[test]
    fn a_page_that_came_by_plain_http_is_foreign_to_a_node_with_tls() {
        for (has_tls, scheme, expected) in [
            (false, "http", TrustedPage),
            (false, "https", TrustedPage),
            (true, "http", ForeignPage),
            (true, "https", TrustedPage),
        ] {
            let policy = OriginPolicy::new(CorsPolicy::Any, API_URL, has_tls);
            let origin = format!("{scheme}://localhost:3000");
            assert_eq!(sender(&policy, "localhost:3000", &[(header::ORIGIN, &origin)]), expected, "{has_tls} {scheme}");
        }
    }

    #[test]
    fn another_port_of_the_same_host_and_a_request_of_unknown_origin_are_foreign() {
        let policy = policy(CorsPolicy::Any);
        let host = "localhost:3000";
        assert_eq!(sender(&policy, host, &[(header::ORIGIN, "http://localhost:5173")]), ForeignPage);
        for site in ["same-site", "cross-site", "", "NONE"] {
            assert_eq!(sender(&policy, host, &[(SEC_FETCH_SITE, site)]), ForeignPage, "{site}");
        }
        let own = "http://localhost:3000";
        assert_eq!(sender(&policy, host, &[(header::ORIGIN, own), (header::ORIGIN, own)]), ForeignPage);
    }
}
