//! The gate in front of all routes that only the leader may answer.
//!
//! It checks the role before the body is read, so a follower rejects even an invalid body. It
//! checks again before the response is sent. So a node that has lost its lease meanwhile, for
//! example while it was suspended, does not answer as the leader.

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::app::SharedApp;
use super::body;
use super::error::ApiError;
use super::limits::MAX_HANDOVER_WAIT;
use rollcall_core::clock;
use rollcall_core::{BootMs, Term};

/// Proof that this node served when the request arrived. It is the first argument of every handler
/// that only the leader may run.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderOnly {
    /// The term in which this node served.
    pub(super) term: Term,
}

impl<S: Sync> FromRequestParts<S> for LeaderOnly {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The value is missing only if the route has no gate. A test of the route table detects
        // such a route.
        parts.extensions.get().copied().ok_or(ApiError::Internal("a leader-only route has no leader gate".to_owned()))
    }
}

/// The term in which this node serves. Begins the term in the registry, if it has not begun.
fn serving_term(app: &SharedApp) -> Result<Term, ApiError> {
    let term = app.serving_term()?;
    app.registry.begin_term(term);
    Ok(term)
}

/// Waits up to [`MAX_HANDOVER_WAIT`] while the leadership changes. Then admits the request if this
/// node serves. The request counts as in flight until the token is dropped.
async fn admit(app: &SharedApp) -> Result<(Term, TaskTrackerToken), ApiError> {
    let in_flight = app.in_flight.token();
    if !is_leadership_changing(app) {
        return serving_term(app).map(|term| (term, in_flight));
    }
    // A held request is not in flight. The handover must not wait for it.
    drop(in_flight);
    let mut role = app.cluster.role.clone();
    let changed = async {
        while is_leadership_changing(app) {
            if role.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = timeout(MAX_HANDOVER_WAIT, changed).await;
    let in_flight = app.in_flight.token();
    serving_term(app).map(|term| (term, in_flight))
}

/// The term in which this node serves, and the time of the check. `None` if it does not serve or is
/// about to hand over. For requests that are answered without waiting.
pub(super) fn try_leader_term(app: &SharedApp) -> Option<(Term, BootMs)> {
    let (term, now) = {
        let role = app.cluster.role.borrow();
        let now = clock::boot_now();
        // A node that serves knows a leader, itself, so only a handover must be excluded.
        (!role.is_handing_over() && role.is_serving(now)).then_some((role.term, now))?
    };
    app.registry.begin_term(term);
    Some((term, now))
}

/// Whether a handover is in progress, or this node has known no leader for less than
/// [`MAX_HANDOVER_WAIT`].
fn is_leadership_changing(app: &SharedApp) -> bool {
    let role = app.cluster.role.borrow();
    let just_lost = |since| u128::from(clock::boot_now().since(since)) < MAX_HANDOVER_WAIT.as_millis();
    role.is_handing_over() || role.leaderless_since.is_some_and(just_lost)
}

/// Middleware for leader-only routes.
pub(super) async fn require_leader(State(app): State<SharedApp>, request: Request, next: Next) -> Response {
    let handle = |leader, mut request: Request| {
        request.extensions_mut().insert::<LeaderOnly>(leader);
        next.run(request)
    };
    run_as_leader(&app, request, handle).await
}

/// Runs `handle` if this node serves. Sends its response only if the same term still serves.
pub(super) async fn run_as_leader<B, F>(
    app: &SharedApp,
    request: axum::http::Request<B>,
    handle: impl FnOnce(LeaderOnly, axum::http::Request<B>) -> F,
) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
    F: Future<Output = Response>,
{
    let (term, _in_flight) = match admit(app).await {
        Ok(admitted) => admitted,
        Err(error) => {
            let redirect = redirect_to_leader(request.uri(), &error);
            body::discard(request).await;
            return redirect.unwrap_or_else(|| error.into_response());
        }
    };
    let response = handle(LeaderOnly { term }, request).await;
    match app.serving_term() {
        Ok(now) if now == term => response,
        // The request was executed, but another leader may have changed the data since. The
        // response may be out of date.
        Ok(_) | Err(_) => ApiError::NoLeader.into_response(),
    }
}

/// A redirect to the leader, if the leader is known and the request asks for it with `?redirect`.
fn redirect_to_leader(uri: &Uri, error: &ApiError) -> Option<Response> {
    let ApiError::NotLeader(leader) = error else { return None };
    let location = HeaderValue::try_from(leader_location(uri, leader)?).ok()?;
    Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response())
}

/// The URL of the same request at the leader, without the `redirect` parameter. Two nodes that take
/// each other for the leader must not redirect a client in a loop.
fn leader_location(uri: &Uri, leader: &rollcall_election::Leader) -> Option<String> {
    let (redirect_params, rest): (Vec<&str>, Vec<&str>) = uri
        .query()?
        .split('&')
        .partition(|pair| matches!(*pair, "redirect" | "redirect=" | "redirect=1" | "redirect=true"));
    if redirect_params.is_empty() {
        return None;
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::path);
    let separator = if rest.is_empty() { "" } else { "?" };
    Some(format!("{}{path}{separator}{}", leader.api_url, rest.join("&")))
}

#[cfg(test)]
mod tests;
