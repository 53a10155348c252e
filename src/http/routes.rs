//! The table of routes, and its description for people.

mod fields;
pub(super) mod health;
pub(super) mod images;
pub(super) mod passwords;
pub(super) mod presence;
pub(super) mod users;

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::app::Shared;
use super::error::ApiError;
use super::layers::response_headers::ResponseHeaders;
use super::layers::{cors, request_timeout, response_headers};
use super::limits::MAX_QUOTED_CHARS;
use super::lists::Lists;
use super::lists::encode::{DISCOVER, ONLINE_NAMES, USERS};
use super::lists::long_poll::LongPolls;
use super::lists::{long_poll, stale_reads};
use super::upload_limit::UploadLimit;
use super::{body, leader_gate};

/// A line of the API's description.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path; `:name` stands for any one segment.
    pub path: &'static str,
    /// What it is for.
    pub about: &'static str,
}

const fn endpoint(method: &'static str, path: &'static str, about: &'static str) -> Endpoint {
    Endpoint { method, path, about }
}

/// Every route, as the banner lists it.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET", "/", "Health check"),
    endpoint("POST", "/register", "Register new user"),
    endpoint("POST", "/heartbeat", "Send heartbeat"),
    endpoint("POST", "/login", "Get a token for a password"),
    endpoint("POST", "/password", "Change a password"),
    endpoint("GET", "/users", "List all registered users"),
    endpoint("GET", "/discover", "List online clients"),
    endpoint("GET", "/discover_with_images", "List online clients with images"),
    endpoint("POST", "/upload_image/:username", "Upload image (max 128x128)"),
    endpoint("GET", "/images/:username", "List user's images"),
    endpoint("GET", "/image/:username/:file", "Download specific image"),
    endpoint("GET", "/discovery/online", "List names of online clients"),
    endpoint("GET", "/status", "Liveness for older clients"),
    endpoint("GET", "/livez", "Liveness"),
    endpoint("GET", "/readyz", "Readiness: leader and storage"),
    endpoint("GET", "/leader", "200 on the leader only"),
    endpoint("GET", "/cluster", "State of every node"),
];

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<4} {:<24} - {}", self.method, self.path, self.about)
    }
}

pub(super) fn routes(app: Shared, headers: &ResponseHeaders) -> Router {
    let leader_only = Router::new()
        .route("/leader", get(health::leading))
        .route("/register", post(users::register))
        .route("/heartbeat", post(presence::heartbeat))
        .route("/login", post(passwords::login))
        .route("/password", post(passwords::change))
        .route("/discover_with_images", get(images::discover_with_images))
        .route("/upload_image/{username}", post(images::upload).layer(Extension(UploadLimit::default())))
        .route("/images/{username}", get(images::images))
        .route("/image/{username}/{filename}", get(images::image))
        .route_layer(from_fn_with_state(Arc::clone(&app), leader_gate::gate));
    let lists = Router::new()
        .route(USERS, get(users::users))
        .route(ONLINE_NAMES, get(presence::online_names))
        .route_layer(from_fn_with_state(Arc::clone(&app), leader_gate::gate));
    let discover = Router::new()
        .route(DISCOVER, get(presence::discover))
        .route_layer(from_fn_with_state(Arc::clone(&app), leader_gate::gate))
        .route_layer(from_fn_with_state(LongPolls::new(&app), long_poll::wait_for_news));
    let lists = lists.merge(discover).route_layer(from_fn_with_state(Arc::clone(&app), stale_reads::copy_or_leader));
    let every_node = Router::new()
        .route("/", get(health::health))
        .route("/status", get(health::alive))
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/cluster", get(health::cluster));
    let routes = leader_only
        .merge(lists)
        .layer(Extension(Lists::default()))
        .merge(every_node)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(request_timeout::limit_time));
    let routes = match cors::layer(&app.cors) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(from_fn_with_state(headers.clone(), response_headers::add_headers)).with_state(app)
}

async fn not_found(request: Request) -> ApiError {
    let path = request.uri().path().chars().take(MAX_QUOTED_CHARS).collect();
    body::discard(request).await;
    ApiError::NotFound(path)
}

async fn method_not_allowed(request: Request) -> ApiError {
    let path = request.uri().path().chars().take(MAX_QUOTED_CHARS).collect();
    let method = request.method().clone();
    body::discard(request).await;
    ApiError::MethodNotAllowed { method, path }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::http::Cors;
    use crate::http::testing::{Node, following, leading, request, without_leader};

    #[tokio::test]
    async fn every_endpoint_of_the_table_is_routed_and_refuses_other_methods() {
        let node = Node::new(leading());
        for endpoint in ENDPOINTS {
            let path = endpoint.path.replace(":username", "alice").replace(":file", "1733511234-a1b2c3d4.png");
            let answer = node.send(request("DELETE", &path, "x")).await;
            answer.refused(405, "method_not_allowed");
            assert!(answer.header("allow").unwrap().contains(endpoint.method), "{}", endpoint.path);
        }
    }

    #[test]
    fn a_line_of_the_banner_reads_as_documented() {
        assert_eq!(ENDPOINTS[0].to_string(), "GET  /                        - Health check");
        assert_eq!(ENDPOINTS[1].to_string(), "POST /register                - Register new user");
    }

    #[tokio::test]
    async fn what_is_nowhere_is_404_in_json() {
        let node = Node::new(following());
        for path in ["/nowhere", "/users/", "/%ff", "//"] {
            node.post(path, "body").await.refused(404, "not_found");
        }
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_413_and_one_at_the_limit_is_read() {
        let node = Node::new(leading());
        let body = |length: usize| {
            let object = r#"{"username":"alice"}"#;
            object.to_owned() + &" ".repeat(length - object.len())
        };
        assert_eq!(node.post("/register", body(64 * 1024)).await.status, 201);
        let message = node.post("/register", body(64 * 1024 + 1)).await.refused(413, "body_too_large");
        assert!(message.contains("64 KiB"), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_408() {
        let node = Node::new(leading());
        let endless = futures_util::stream::pending::<Result<&[u8], std::io::Error>>();
        node.post("/heartbeat", Body::from_stream(endless)).await.refused(408, "request_timeout");
    }

    #[tokio::test]
    async fn every_answer_says_who_leads_and_carries_an_id() {
        let node = Node::new(following());
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
    async fn a_clients_own_request_id_is_kept_if_it_is_sane() {
        let node = Node::new(following());
        for (given, kept) in [("abc-1", true), ("a b", false)] {
            let mut request = request("GET", "/", "");
            request.headers_mut().insert("x-request-id", given.parse().unwrap());
            assert_eq!(node.send(request).await.header("x-request-id") == Some(given), kept);
        }
    }

    fn from_page(method: &str, path: &str) -> Request {
        let mut request = request(method, path, "");
        request.headers_mut().insert("origin", "https://page.example".parse().unwrap());
        request.headers_mut().insert("access-control-request-method", "GET".parse().unwrap());
        request
    }

    #[tokio::test]
    async fn web_pages_may_read_as_configured() {
        let page: http::HeaderValue = "https://page.example".parse().unwrap();
        for (cors, allowed) in [
            (Cors::Any, Some("*")),
            (Cors::Origins(vec![page]), Some("https://page.example")),
            (Cors::Origins(vec!["https://other.example".parse().unwrap()]), None),
            (Cors::Off, None),
        ] {
            let memory = crate::storage::MemoryBackend::new();
            let node = Node::on(leading(), memory.clone(), Arc::new(memory), cors.clone());
            let answer = node.send(from_page("GET", "/discover")).await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{cors:?}");
            let preflight = node.send(from_page("OPTIONS", "/discover")).await;
            assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{cors:?}");
            if cors == Cors::Any {
                assert_eq!(preflight.status, 200);
                assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,HEAD"));
            }
        }
    }
}
