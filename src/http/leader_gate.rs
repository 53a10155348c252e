//! The gate before everything that only the leader may answer.
//!
//! It stands before the body is read, so a follower refuses even nonsense; and it looks again when the answer is ready,
//! so that a node that lost its lease meanwhile, or slept, answers nothing as the leader.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::app::Shared;
use super::body;
use super::error::ApiError;
use crate::registry::Epoch;
use rollcall_core::clock;
use rollcall_core::{BootMs, Term};

/// Proof that this node served when the request came in. Stands first among the arguments of each handler that only the
/// leader may run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    /// The term in which it served.
    pub(super) term: Term,
}

impl Leader {
    /// The stretch of time in which no other node writes to the bucket.
    pub(super) fn epoch(self) -> Epoch {
        Epoch(self.term.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Leader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Absent only if a route was put outside the gate, which a test of the route table would show.
        parts.extensions.get().copied().ok_or(ApiError::Internal("a leader's route stands outside the gate".to_owned()))
    }
}

/// How long a request is held while leadership changes hands, so that clients see a pause and no error.
const HOLD: Duration = Duration::from_millis(500);

/// The term in which this node serves, once the registry has begun it.
fn serving_term(app: &Shared) -> Result<Term, ApiError> {
    let term = app.serving_term()?;
    app.registry.begin_term(Epoch(term.0));
    Ok(term)
}

/// Waits out a change of leaders, for [`HOLD`] at most; then lets the request in if this node serves. What is let in
/// counts as under way until the token is dropped.
async fn enter(app: &Shared) -> Result<(Term, TaskTrackerToken), ApiError> {
    let under_way = app.under_way.token();
    if !is_changing_hands(app) {
        return serving_term(app).map(|term| (term, under_way));
    }
    // A held request is not under way: the handover must not wait for it.
    drop(under_way);
    let mut role = app.cluster.role.clone();
    let changed = async {
        while is_changing_hands(app) {
            if role.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = timeout(HOLD, changed).await;
    let under_way = app.under_way.token();
    serving_term(app).map(|term| (term, under_way))
}

/// The term in which this node serves at this moment, which it gives, too, if leadership does not change hands. For what is
/// done at once: nothing is waited for.
pub(super) fn term_at_once(app: &Shared) -> Option<(Term, BootMs)> {
    let (term, now) = {
        let role = app.cluster.role.borrow();
        let now = clock::boot_now();
        // Who serves has not lost the leadership, but may be about to hand it over.
        (!role.is_handing_over() && role.is_serving(now)).then_some((role.term, now))?
    };
    app.registry.begin_term(Epoch(term.0));
    Some((term, now))
}

/// Whether the leadership is on its way from one node to another at this moment, or was lost just now.
fn is_changing_hands(app: &Shared) -> bool {
    let role = app.cluster.role.borrow();
    let just_lost = |since| u128::from(clock::boot_now().since(since)) < HOLD.as_millis();
    role.is_handing_over() || role.leaderless_since.is_some_and(just_lost)
}

/// The gate as a layer of routes.
pub(super) async fn gate(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let serve = |leader, mut request: Request| {
        request.extensions_mut().insert::<Leader>(leader);
        next.run(request)
    };
    pass(&app, request, serve).await
}

/// Lets a request through while this node serves, and its answer only if the same term still serves then.
pub(super) async fn pass<B, F>(
    app: &Shared,
    request: axum::http::Request<B>,
    serve: impl FnOnce(Leader, axum::http::Request<B>) -> F,
) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
    F: Future<Output = Response>,
{
    let (term, _under_way) = match enter(app).await {
        Ok(entered) => entered,
        Err(refusal) => {
            let redirect = redirect(request.uri(), &refusal);
            body::discard(request).await;
            return redirect.unwrap_or_else(|| refusal.into_response());
        }
    };
    let response = serve(Leader { term }, request).await;
    match app.serving_term() {
        Ok(now) if now == term => response,
        // Whatever was done is done, but another leader may have acted since: no answer of ours is right any more.
        Ok(_) | Err(_) => ApiError::NoLeader.into_response(),
    }
}

/// A redirect to the leader, if one is known and `?redirect` asks for it.
fn redirect(uri: &Uri, refusal: &ApiError) -> Option<Response> {
    let ApiError::NotLeader(leader) = refusal else { return None };
    let location = HeaderValue::try_from(location(uri, leader)?).ok()?;
    Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response())
}

/// The same request at the leader, without the `redirect`: two nodes that take each other for the leader must not send a
/// client to and fro.
fn location(uri: &Uri, leader: &rollcall_election::Leader) -> Option<String> {
    let (asks, rest): (Vec<&str>, Vec<&str>) = uri
        .query()?
        .split('&')
        .partition(|pair| matches!(*pair, "redirect" | "redirect=" | "redirect=1" | "redirect=true"));
    if asks.is_empty() {
        return None;
    }
    let path = uri.path_and_query().map_or("/", PathAndQuery::path);
    let mark = if rest.is_empty() { "" } else { "?" };
    Some(format!("{}{path}{mark}{}", leader.api_url, rest.join("&")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use serde_json::json;
    use tokio::sync::watch;

    use super::*;
    use crate::http::Cors;
    use crate::http::testing::{Node, TERM, following, leading, leading_until, request, without_leader};
    use crate::storage::{Backend, BackendError, Entry, Folder, Key, ListPage, Memory, Version};
    use rollcall_core::clock;
    use rollcall_election::{Role, Standing};

    /// Every route that only the leader answers, with a body that it would take.
    const LEADER_ONLY: &[(&str, &str, &str)] = &[
        ("POST", "/register", r#"{"username":"alice"}"#),
        ("POST", "/heartbeat", r#"{"username":"alice"}"#),
        ("POST", "/login", r#"{"username":"alice","password":"x"}"#),
        ("POST", "/password", r#"{"username":"alice","password":"x","new_password":"y"}"#),
        ("GET", "/users", ""),
        ("GET", "/discover", ""),
        ("GET", "/discovery/online", ""),
        ("GET", "/discover_with_images", ""),
        ("POST", "/upload_image/alice", ""),
        ("GET", "/images/alice", ""),
        ("GET", "/image/alice/1733511234-a1b2c3d4.png", ""),
        ("GET", "/leader", ""),
    ];

    #[tokio::test]
    async fn a_follower_names_the_leader_whatever_it_is_sent() {
        let node = Node::new(following());
        let refusal = json!({
            "success": false, "message": "This node is not the leader. Current leader: 127.0.0.1:8081",
            "code": "not_leader", "leader": "127.0.0.1:8081", "leader_url": "http://127.0.0.1:3001", "term": 7,
        });
        for (method, path, body) in LEADER_ONLY {
            for body in [*body, "nonsense"] {
                let answer = node.send(request(method, path, body)).await;
                assert_eq!((answer.status.as_u16(), answer.json()), (403, refusal.clone()), "{path}");
            }
        }
        assert_eq!(node.memory.faults().calls(), 0);
    }

    #[tokio::test]
    async fn without_a_leader_or_a_lease_the_answer_is_503() {
        for role in [without_leader(), leading_until(clock::boot_now(), TERM)] {
            let node = Node::new(role);
            for (method, path, body) in LEADER_ONLY {
                let answer = node.send(request(method, path, *body)).await;
                answer.refused(503, "no_leader");
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
        }
    }

    #[tokio::test]
    async fn a_node_that_does_not_serve_never_names_itself() {
        // As when the election has told of a victory but not of its lease yet.
        let node = Node::new(Role { standing: Standing::Follower, ..leading() });
        node.get("/discover").await.refused(503, "no_leader");
        let answer = node.get("/discover?redirect").await;
        answer.refused(503, "no_leader");
        assert_eq!(answer.header("rollcall-leader"), None);
        assert_eq!(node.get("/").await.json()["current_leader"], json!(null));
    }

    #[tokio::test]
    async fn a_follower_throws_a_body_away_before_it_answers() {
        let (sent, mut seen) = watch::channel(0);
        let chunks = stream::iter(0..10).map(move |chunk| {
            sent.send_replace(chunk);
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
        });
        let node = Node::new(following());
        assert_eq!(node.post("/register", Body::from_stream(chunks)).await.status, 403);
        assert_eq!(*seen.borrow_and_update(), 9);
    }

    #[tokio::test]
    async fn a_follower_redirects_if_asked() {
        let node = Node::new(following());
        let answer = node.post("/heartbeat?redirect", "{}").await;
        assert_eq!(answer.status, 307);
        assert_eq!(answer.header("location"), Some("http://127.0.0.1:3001/heartbeat"));
        Node::new(without_leader()).get("/discover?redirect").await.refused(503, "no_leader");
    }

    /// A store that lets the node's role change while a request waits for it.
    struct Meanwhile {
        memory: Memory,
        role: watch::Sender<Role>,
        becomes: Role,
    }

    #[async_trait]
    impl Backend for Meanwhile {
        async fn create(&self, key: &Key, bytes: Bytes) -> Result<Version, BackendError> {
            self.role.send_replace(self.becomes.clone());
            self.memory.create(key, bytes).await
        }
        async fn replace_if(&self, _: &Key, _: &Version, _: Bytes) -> Result<Version, BackendError> {
            unreachable!("not used here")
        }
        async fn get(&self, key: &Key) -> Result<Option<Entry>, BackendError> {
            self.memory.get(key).await
        }
        async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
            self.memory.list(folder, page).await
        }
        async fn delete(&self, key: &Key) -> Result<(), BackendError> {
            self.memory.delete(key).await
        }
        fn describe(&self) -> String {
            self.memory.describe()
        }
    }

    /// What a registration is answered if the node is this when its write is done.
    async fn answer_if_meanwhile(becomes: Role) -> crate::http::testing::Answer {
        let memory = Memory::new();
        let role = watch::Sender::new(leading());
        let backend = Meanwhile { memory: memory.clone(), role: role.clone(), becomes };
        let node = Node::watching(role, memory, Arc::new(backend), Cors::Any);
        node.post("/register", r#"{"username":"alice"}"#).await
    }

    #[tokio::test]
    async fn an_answer_goes_out_only_if_the_very_same_term_still_serves() {
        assert_eq!(answer_if_meanwhile(leading()).await.status, 201);
        let lapsed = leading_until(clock::boot_now(), TERM);
        let renewed_in_another_term = leading_until(clock::boot_now().plus(60_000), TERM.next());
        for becomes in [lapsed, renewed_in_another_term, following(), without_leader()] {
            answer_if_meanwhile(becomes).await.refused(503, "no_leader");
        }
    }

    #[test]
    fn a_redirect_names_the_same_request_at_the_leader() {
        let leader = rollcall_election::Leader {
            node: "127.0.0.1:8081".parse().unwrap(),
            api_url: "http://127.0.0.1:3001".to_owned(),
            term: Term(7),
        };
        let location = |uri: &str| location(&uri.parse().unwrap(), &leader);
        assert_eq!(location("/discover?redirect").as_deref(), Some("http://127.0.0.1:3001/discover"));
        assert_eq!(
            location("/users?limit=5&redirect=1&after=a%20b").as_deref(),
            Some("http://127.0.0.1:3001/users?limit=5&after=a%20b")
        );
        assert_eq!(location("/users?redirect=no"), None);
        assert_eq!(location("/users?limit=5"), None);
        assert_eq!(location("/users"), None);
    }
}
