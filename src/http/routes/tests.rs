use axum::body::Body;

use super::*;
use crate::http::CorsPolicy;
use crate::http::testing::{TestNode, following, leading, request, without_leader};
use rollcall_election::Member;

#[tokio::test]
async fn every_route_of_the_table_is_served_and_refuses_other_methods() {
    let node = TestNode::new(leading());
    for route in ROUTES {
        let path = route.path.replace(":username", "alice").replace(":file", "1733511234-a1b2c3d4.png");
        let answer = node.send(request("DELETE", &path, "x")).await;
        answer.expect_error(405, "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains(route.method), "{}", route.path);
    }
}

#[tokio::test]
async fn a_follower_answers_a_route_as_the_table_says() {
    let node = TestNode::new(following());
    for route in ROUTES {
        let path = route.path.replace(":username", "alice").replace(":file", "1733511234-a1b2c3d4.png");
        let answer = node.send(request(route.method, &path, "")).await;
        assert_eq!(answer.status == 403, route.access.is_leader_only(), "{path}");
        let stale = node.send(request(route.method, &format!("{path}?stale=true"), "")).await;
        // This follower has no replica yet.
        assert_eq!(stale.status == 503 && stale.json()["code"] == "no_copy", route.access == LeaderOrStaleRead);
    }
}

#[test]
fn a_line_of_the_banner_is_as_documented() {
    assert_eq!(ROUTES[0].to_string(), "GET  /                        - Health check");
    assert_eq!(ROUTES[1].to_string(), "POST /register                - Register new user");
}

#[tokio::test]
async fn an_unknown_path_is_404_in_json() {
    let node = TestNode::new(following());
    for path in ["/nowhere", "/users/", "/%ff", "//"] {
        node.post(path, "body").await.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_read() {
    let node = TestNode::new(leading());
    let body = |length: usize| {
        let object = r#"{"username":"alice"}"#;
        object.to_owned() + &" ".repeat(length - object.len())
    };
    assert_eq!(node.post("/register", body(64 * 1024)).await.status, 201);
    let message = node.post("/register", body(64 * 1024 + 1)).await.expect_error(413, "body_too_large");
    assert!(message.contains("64 KiB"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_408() {
    let node = TestNode::new(leading());
    let endless = futures_util::stream::pending::<Result<&[u8], std::io::Error>>();
    node.post("/heartbeat", Body::from_stream(endless)).await.expect_error(408, "request_timeout");
}

#[tokio::test]
async fn every_response_names_the_leader_and_the_request() {
    let node = TestNode::new(following());
    for (method, path) in
        [("GET", "/"), ("GET", "/nowhere"), ("DELETE", "/"), ("POST", "/register"), ("OPTIONS", "/discover")]
    {
        let answer = node.send(request(method, path, "")).await;
        assert_eq!(answer.header("rollcall-leader"), Some("127.0.0.1:8081"), "{method} {path}");
        assert_eq!(answer.header("rollcall-leader-url"), Some("http://127.0.0.1:3001"));
        assert_eq!(answer.header("rollcall-term"), Some("7"));
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }
    node.role.send_replace(leading());
    assert_eq!(node.get("/").await.header("rollcall-leader"), Some("127.0.0.1:8080"));
    node.role.send_replace(without_leader());
    assert_eq!(node.get("/").await.header("rollcall-leader"), None);
}

#[tokio::test]
async fn a_valid_request_id_of_the_client_is_kept() {
    let node = TestNode::new(following());
    for (given, kept) in [("abc-1", true), ("a b", false)] {
        let mut request = request("GET", "/", "");
        request.headers_mut().insert("x-request-id", given.parse().unwrap());
        assert_eq!(node.send(request).await.header("x-request-id") == Some(given), kept);
    }
}

fn cross_origin_request(method: &str, path: &str) -> Request {
    let mut request = request(method, path, "");
    request.headers_mut().insert("origin", "https://page.example".parse().unwrap());
    request.headers_mut().insert("access-control-request-method", "GET".parse().unwrap());
    request
}

#[tokio::test]
async fn web_pages_may_read_responses_as_the_cors_policy_allows() {
    let page = "https://page.example".to_owned();
    for (cors, allowed) in [
        (CorsPolicy::Any, Some("*")),
        (CorsPolicy::Origins(vec![page]), Some("https://page.example")),
        (CorsPolicy::Origins(vec!["https://other.example".to_owned()]), None),
        (CorsPolicy::Origins(Vec::new()), None),
    ] {
        let memory = crate::storage::MemoryBackend::new();
        let node = TestNode::with_backend(leading(), memory.clone(), Arc::new(memory), cors.clone());
        let answer = node.send(cross_origin_request("GET", "/discover")).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{cors:?}");
        let preflight = node.send(cross_origin_request("OPTIONS", "/discover")).await;
        assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{cors:?}");
        if cors == CorsPolicy::Any {
            assert_eq!(preflight.status, 200);
            assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,HEAD"));
            // The preflight does not ask for any header.
            let accepted = "*,authorization,content-type,if-none-match,x-request-id";
            assert_eq!(preflight.header("access-control-allow-headers"), Some(accepted));
        }
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        for name in ["rollcall-cursor", "rollcall-leader-url", "rollcall-age-ms", "etag", "retry-after"] {
            let is_exposed = exposed.split(',').any(|exposed| exposed == name);
            assert!(is_exposed, "{name} {cors:?}");
        }
    }
}

/// A node whose policy lists `https://page.example`, or no origin, and its origins with the
/// answer to a request that changes something.
fn nodes_and_pages() -> [(TestNode, &'static str, bool); 6] {
    let node = |cors| {
        let memory = crate::storage::MemoryBackend::new();
        TestNode::with_backend(leading(), memory.clone(), Arc::new(memory), cors)
    };
    let listed = || node(CorsPolicy::Origins(vec!["https://page.example".to_owned()]));
    [
        (node(CorsPolicy::Any), "https://page.example", false),
        (node(CorsPolicy::Any), "null", false),
        (node(CorsPolicy::Origins(Vec::new())), "https://page.example", false),
        (listed(), "https://page.example", true),
        (listed(), "https://other.example", false),
        (TestNode::with_discovery_server_compat(CorsPolicy::Any), "https://page.example", true),
    ]
}

fn from_page(method: &str, path: &str, origin: &str) -> Request {
    let path = path.replace(":username", "alice").replace(":file", "1733511234-a1b2c3d4.png");
    let mut request = request(method, &path, "{}");
    request.headers_mut().insert("origin", origin.parse().unwrap());
    request
}

#[tokio::test]
async fn a_foreign_page_is_refused_by_each_route_that_changes_something_and_by_no_other() {
    for (node, origin, may_change) in nodes_and_pages() {
        // Also methods that no route has.
        let unknown = ["PUT", "PATCH", "DELETE"].map(|method| (method, "/users"));
        for (method, path) in ROUTES.iter().map(|route| (route.method, route.path)).chain(unknown) {
            let answer = node.send(from_page(method, path, origin)).await;
            let is_refused = answer.status == 403 && answer.json()["code"] == "origin_not_allowed";
            assert_eq!(is_refused, method != "GET" && !may_change, "{method} {path} from {origin}");
        }
    }
}

#[tokio::test]
async fn a_preflight_allows_changes_to_the_pages_whose_changes_are_accepted() {
    for (node, origin, may_change) in nodes_and_pages() {
        for route in ROUTES.iter().filter(|route| route.method != "GET") {
            let mut preflight = from_page("OPTIONS", route.path, origin);
            preflight.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
            let answer = node.send(preflight).await;
            let methods = answer.header("access-control-allow-methods").unwrap_or_default();
            let reader = answer.header("access-control-allow-origin");
            // Browsers look for the origin in each case, but not for `POST` in the methods.
            let is_allowed = reader.is_some_and(|reader| reader == "*" || reader == origin);
            let has_method = methods.split(',').any(|method| method == route.method);
            let expected = (may_change, may_change);
            assert_eq!((is_allowed, has_method), expected, "{} from {origin}: {methods:?} {reader:?}", route.path);
        }
    }
}

#[tokio::test]
async fn the_pages_of_each_member_may_change_something() {
    let node = TestNode::with_alice_and_bob().await;
    let heartbeat = || {
        let mut heartbeat = from_page("POST", "/heartbeat", "http://10.0.0.2:3000");
        *heartbeat.body_mut() = r#"{"username":"alice"}"#.into();
        heartbeat
    };
    let message = node.send(heartbeat()).await.expect_error(403, "origin_not_allowed");
    assert!(message.contains("\"http://10.0.0.2:3000\"") && message.contains("cors_origins"), "{message}");
    let addr = "10.0.0.2:8080".parse().unwrap();
    let api_url = Some("http://10.0.0.2:3000".to_owned());
    let member = Member { node: addr, api_url, role: None, reachable: true, load: None, term: None, last_heard: None };
    node.members.send_replace(vec![member]);
    assert_eq!(node.send(heartbeat()).await.status, 200);
}
