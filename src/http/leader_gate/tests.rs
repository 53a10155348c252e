use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::http::CorsPolicy;
use crate::http::testing::{TERM, TestNode, following, leading, leading_until, request, without_leader};
use crate::storage::{Backend, BackendError, Folder, Key, ListPage, MemoryBackend, Object, ObjectVersion};
use rollcall_core::clock;
use rollcall_election::{Role, RoleState};

/// Every route that only the leader answers, with a valid body.
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
async fn a_follower_names_the_leader_for_every_request() {
    let node = TestNode::new(following());
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
async fn without_a_leader_or_a_lease_the_response_is_503() {
    for role in [without_leader(), leading_until(clock::boot_now(), TERM)] {
        let node = TestNode::new(role);
        for (method, path, body) in LEADER_ONLY {
            let answer = node.send(request(method, path, *body)).await;
            answer.expect_error(503, "no_leader");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
}

#[tokio::test]
async fn a_node_that_does_not_serve_never_names_itself_as_the_leader() {
    // The election has reported a victory, but not yet the lease.
    let node = TestNode::new(Role { state: RoleState::Follower, ..leading() });
    node.get("/discover").await.expect_error(503, "no_leader");
    let answer = node.get("/discover?redirect").await;
    answer.expect_error(503, "no_leader");
    assert_eq!(answer.header("rollcall-leader"), None);
    assert_eq!(node.get("/").await.json()["current_leader"], json!(null));
}

#[tokio::test]
async fn a_follower_discards_a_body_before_it_answers() {
    let (sent, mut seen) = watch::channel(0);
    let chunks = stream::iter(0..10).map(move |chunk| {
        sent.send_replace(chunk);
        Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
    });
    let node = TestNode::new(following());
    assert_eq!(node.post("/register", Body::from_stream(chunks)).await.status, 403);
    assert_eq!(*seen.borrow_and_update(), 9);
}

#[tokio::test]
async fn a_follower_redirects_a_request_with_the_redirect_parameter() {
    let node = TestNode::new(following());
    let answer = node.post("/heartbeat?redirect", "{}").await;
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), Some("http://127.0.0.1:3001/heartbeat"));
    TestNode::new(without_leader()).get("/discover?redirect").await.expect_error(503, "no_leader");
}

/// A backend that changes the role of the node while a request waits for it.
struct RoleChangingBackend {
    memory: MemoryBackend,
    role: watch::Sender<Role>,
    new_role: Role,
}

#[async_trait]
impl Backend for RoleChangingBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.role.send_replace(self.new_role.clone());
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

/// The response to a registration if the role of the node changes during the write.
async fn register_while_role_becomes(new_role: Role) -> crate::http::testing::TestResponse {
    let memory = MemoryBackend::new();
    let role = watch::Sender::new(leading());
    let backend = RoleChangingBackend { memory: memory.clone(), role: role.clone(), new_role };
    let node = TestNode::with_role_sender(role, memory, Arc::new(backend), CorsPolicy::Any);
    node.post("/register", r#"{"username":"alice"}"#).await
}

#[tokio::test]
async fn a_response_is_sent_only_if_the_same_term_still_serves() {
    assert_eq!(register_while_role_becomes(leading()).await.status, 201);
    let lapsed = leading_until(clock::boot_now(), TERM);
    let renewed_in_another_term = leading_until(clock::boot_now().plus(60_000), TERM.next());
    for new_role in [lapsed, renewed_in_another_term, following(), without_leader()] {
        register_while_role_becomes(new_role).await.expect_error(503, "no_leader");
    }
}

#[test]
fn a_redirect_has_the_url_of_the_same_request_at_the_leader() {
    let leader = rollcall_election::Leader {
        node: "127.0.0.1:8081".parse().unwrap(),
        api_url: "http://127.0.0.1:3001".to_owned(),
        term: Term(7),
    };
    let location = |uri: &str| leader_location(&uri.parse().unwrap(), &leader);
    assert_eq!(location("/discover?redirect").as_deref(), Some("http://127.0.0.1:3001/discover"));
    assert_eq!(
        location("/users?limit=5&redirect=1&after=a%20b").as_deref(),
        Some("http://127.0.0.1:3001/users?limit=5&after=a%20b")
    );
    assert_eq!(location("/users?redirect=no"), None);
    assert_eq!(location("/users?limit=5"), None);
    assert_eq!(location("/users"), None);
}
