//! The table of routes, and the router that is built from it.

mod fields;
pub(super) mod health;
pub(super) mod images;
pub(super) mod passwords;
pub(super) mod presence;
pub(super) mod users;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};

use super::app::SharedApp;
use super::error::ApiError;
use super::layers::response_headers::ResponseHeaders;
use super::layers::{cors, origin_check, request_timeout, response_headers};
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

/// The methods of all routes, as a preflight lists them: `GET,HEAD,POST`.
fn all_methods() -> HeaderValue {
    let mut methods = vec!["GET", "HEAD"];
    for route in ROUTES {
        if !methods.contains(&route.method) {
            methods.push(route.method);
        }
    }
    HeaderValue::try_from(methods.join(",")).expect("names of methods")
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
        .layer(from_fn(request_timeout::limit_request_time))
        .layer(from_fn_with_state(Arc::clone(&app), origin_check::reject_foreign_changes))
        .layer(cors::layer(&app))
        .layer(from_fn_with_state((Arc::clone(&app), all_methods()), cors::check_preflight));
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
mod tests;
