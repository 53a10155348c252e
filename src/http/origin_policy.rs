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
    /// Creates the policy of a node with this API URL.
    #[must_use]
    pub fn new(cors: CorsPolicy, api_url: &str) -> Self {
        let (any_may_read, listed) = match cors {
            CorsPolicy::Any => (true, Vec::new()),
            CorsPolicy::Origins(origins) => (false, origins),
        };
        let listed = listed.iter().filter_map(|origin| origin_of(origin)).collect();
        let api_host = Url::parse(api_url).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self { any_may_read, listed, api_host }
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
                let has_same_origin = || site.is_none_or(|site| site == b"same-origin") && is_origin_of(origin, host);
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

/// Whether an origin has the host and port of a `Host` header. A browser writes both without a
/// default port.
fn is_origin_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests;
