use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::http::Cors;
use crate::http::testing::{Node, TERM, following, leading, leading_until, request, without_leader};
use crate::storage::{Backend, BackendError, Folder, Key, ListPage, MemoryBackend, Object, ObjectVersion};
use rollcall_core::clock;
use rollcall_election::{Role, RoleState};

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
    let node = Node::new(Role { state: RoleState::Follower, ..leading() });
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
    memory: MemoryBackend,
    role: watch::Sender<Role>,
    becomes: Role,
}

#[async_trait]
impl Backend for Meanwhile {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.role.send_replace(self.becomes.clone());
        self.memory.create(key, bytes).await
    }
    async fn replace_if(&self, _: &Key, _: &ObjectVersion, _: Bytes) -> Result<ObjectVersion, BackendError> {
        unreachable!("not used here")
    }
    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
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
    let memory = MemoryBackend::new();
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
