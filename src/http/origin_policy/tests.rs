use RequestSender::{ForeignPage, Program, TrustedPage};

use super::*;

const API_URL: &str = "https://api.example/rollcall";

fn policy(cors: CorsPolicy) -> OriginPolicy {
    OriginPolicy::new(cors, API_URL)
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
            assert_eq!(sender(&policy, host, &[origin.clone(), (SEC_FETCH_SITE, "same-origin")]), expected, "{host}");
            // The page and the node differ in their scheme.
            assert_eq!(sender(&policy, host, &[origin, (SEC_FETCH_SITE, "cross-site")]), ForeignPage, "{host}");
        }
        // Browsers send no `Origin` with a `GET` of the same origin.
        assert_eq!(sender(&policy, host, &[(SEC_FETCH_SITE, "same-origin")]), expected, "{host}");
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
