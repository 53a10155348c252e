//! The table of routes, and the router that is built from it.

mod fields;
pub(super) mod health;
pub(super) mod images;
pub(super) mod passwords;
pub(super) mod presence;
pub(super) mod users;

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};

use super::app::SharedApp;
use super::error::ApiError;
use super::layers::response_headers::ResponseHeaders;
use super::layers::{cors, request_timeout, response_headers};
use super::limits::MAX_QUOTED_CHARS;
use super::lists::ListService;
use super::lists::encode::{DISCOVER_PATH, ONLINE_NAMES_PATH, USERS_PATH};
use super::lists::long_poll::LongPoll;
use super::lists::{long_poll, stale_reads};
use super::upload_limit::UploadLimit;
use super::{body, leader_gate};
use Access::{AnyNode, Leader, LeaderOrStaleRead};

/// One route of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `GET` or `POST`. A `GET` route also answers `HEAD`.
    pub method: &'static str,
    /// The path. `:name` stands for one segment of any value.
    pub path: &'static str,
    /// The nodes that answer it.
    pub access: Access,
    /// The purpose in a few words, for the startup banner.
    pub about: &'static str,
    /// Creates the handler, with the state that belongs to this route alone.
    handler: fn() -> MethodRouter<SharedApp>,
}

/// The nodes that answer a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Every node.
    AnyNode,
    /// The leader. Every other node answers `not_leader` or `no_leader`.
    Leader,
    /// The leader. With `?stale=true` also every other node, from its replica.
    LeaderOrStaleRead,
}

impl Access {
    /// Whether a request without `?stale=true` is answered by the leader alone.
    #[must_use]
    pub fn is_leader_only(self) -> bool {
        self != Self::AnyNode
    }
}

const fn route(
    method: &'static str,
    path: &'static str,
    access: Access,
    about: &'static str,
    handler: fn() -> MethodRouter<SharedApp>,
) -> Route {
    Route { method, path, access, about, handler }
}

/// All routes, in the order of the banner. The router is built from this table.
pub const ROUTES: &[Route] = &[
    route("GET", "/", AnyNode, "Health check", || get(health::health)),
    route("POST", "/register", Leader, "Register new user", || post(users::register)),
    route("POST", "/heartbeat", Leader, "Send heartbeat", || post(presence::heartbeat)),
    route("POST", "/login", Leader, "Get a token for a password", || post(passwords::login)),
    route("POST", "/password", Leader, "Change a password", || post(passwords::change)),
    route("GET", USERS_PATH, LeaderOrStaleRead, "List all registered users", || get(users::users)),
    route("GET", DISCOVER_PATH, LeaderOrStaleRead, "List online clients", || get(presence::discover)),
    route("GET", "/discover_with_images", Leader, "List online clients with images", || {
        get(images::discover_with_images)
    }),
    route("POST", "/upload_image/:username", Leader, "Upload image (max 128x128)", || {
        post(images::upload).layer(Extension(UploadLimit::default()))
    }),
    route("GET", "/images/:username", Leader, "List user's images", || get(images::images)),
    route("GET", "/image/:username/:file", Leader, "Download specific image", || get(images::image)),
    route("GET", ONLINE_NAMES_PATH, LeaderOrStaleRead, "List names of online clients", || get(presence::online_names)),
    route("GET", "/status", AnyNode, "Liveness and whether this node leads", || get(health::status)),
    route("GET", "/livez", AnyNode, "Liveness", || get(health::alive)),
    route("GET", "/readyz", AnyNode, "Readiness: leader and storage", || get(health::ready)),
    route("GET", "/leader", Leader, "200 on the leader only", || get(health::leader)),
    route("GET", "/cluster", AnyNode, "State of every node", || get(health::cluster)),
];

impl Route {
    /// The path in axum's syntax: `/images/{username}`.
    fn pattern(&self) -> String {
        let segments = self.path.split('/').map(|segment| match segment.strip_prefix(':') {
            Some(name) => format!("{{{name}}}"),
            None => segment.to_owned(),
        });
        segments.collect::<Vec<_>>().join("/")
    }
}

/// The route as a line of the startup banner.
impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<4} {:<24} - {}", self.method, self.path, self.about)
    }
}

/// The routes for which `filter` holds, without any layer.
fn routes_where(filter: impl Fn(&Route) -> bool) -> Router<SharedApp> {
    let selected = ROUTES.iter().filter(|route| filter(route));
    selected.fold(Router::new(), |router, route| router.route(&route.pattern(), (route.handler)()))
}

/// All routes with their layers, outermost last.
pub(super) fn router(app: SharedApp, headers: &ResponseHeaders) -> Router {
    let require_leader = || from_fn_with_state(Arc::clone(&app), leader_gate::require_leader);
    let any_node = routes_where(|route| route.access == AnyNode);
    let leader = routes_where(|route| route.access == Leader).route_layer(require_leader());
    // Only the list of online clients supports long polls.
    let polled = routes_where(|route| route.path == DISCOVER_PATH)
        .route_layer(require_leader())
        .route_layer(from_fn_with_state(LongPoll::new(&app), long_poll::wait_for_changes));
    let lists = routes_where(|route| route.access == LeaderOrStaleRead && route.path != DISCOVER_PATH)
        .route_layer(require_leader())
        .merge(polled)
        .route_layer(from_fn_with_state(Arc::clone(&app), stale_reads::stale_or_leader));
    let router = leader
        .merge(lists)
        .layer(Extension(ListService::default()))
        .merge(any_node)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(request_timeout::limit_request_time));
    let router = match cors::layer(&app.cors) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(headers.clone(), response_headers::add_headers)).with_state(app)
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
    use crate::http::CorsPolicy;
    use crate::http::testing::{TestNode, following, leading, request, without_leader};

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
        let page: http::HeaderValue = "https://page.example".parse().unwrap();
        for (cors, allowed) in [
            (CorsPolicy::Any, Some("*")),
            (CorsPolicy::Origins(vec![page]), Some("https://page.example")),
            (CorsPolicy::Origins(vec!["https://other.example".parse().unwrap()]), None),
            (CorsPolicy::Off, None),
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
                assert_eq!(is_exposed, cors != CorsPolicy::Off, "{name} {cors:?}");
            }
        }
    }
}
