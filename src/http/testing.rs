//! A node whose role, storage and requests are in a test's hands.

use axum::BoxError;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::app::{ClusterView, Copies, Shared, ThisNode};
use super::heartbeat_fast_path::HeartbeatFastPath;
use super::layers::response_headers::ResponseHeaders;
use super::params::Remote;
use super::routes::routes;
use super::{App, Cors, news};
use crate::registry::testing::settings;
use crate::registry::{Registry, TokenKey};
use crate::storage::{Backend, Bucket, MemoryBackend, RetryPolicy};
use rollcall_core::clock;
use rollcall_core::{BootMs, NodeAddr, Term};
use rollcall_election::{Leader, Member, Role, RoleState};

/// The term in which somebody leads.
pub(super) const TERM: Term = Term(7);

pub(super) struct Node {
    pub(super) app: Shared,
    pub(super) role: watch::Sender<Role>,
    pub(super) members: watch::Sender<Vec<Member>>,
    pub(super) cluster_online: watch::Sender<u64>,
    pub(super) clients_up_to_date_at: watch::Sender<Option<BootMs>>,
    pub(super) users_complete_at: watch::Sender<Option<BootMs>>,
    pub(super) memory: MemoryBackend,
    pub(super) registry: Registry,
    pub(super) router: Router,
    pub(super) fast_path: HeartbeatFastPath,
    _tasks: JoinSet<()>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The node under test.
pub(super) fn this() -> NodeAddr {
    "127.0.0.1:8080".parse().unwrap()
}

fn leader(node: &str, api_url: &str) -> Leader {
    Leader { node: node.parse().unwrap(), api_url: api_url.to_owned(), term: TERM }
}

/// The role of a node that serves until `serves_until`.
pub(super) fn leading_until(serves_until: BootMs, term: Term) -> Role {
    let state = RoleState::Leader { serves_until, handing_over: false };
    Role { term, state, leader: Some(leader("127.0.0.1:8080", "http://127.0.0.1:3000")), leaderless_since: None }
}

/// The role of a node that serves for long.
pub(super) fn leading() -> Role {
    leading_until(clock::boot_now().plus(3_600_000), TERM)
}

/// The role of a node that follows another.
pub(super) fn following() -> Role {
    Role {
        term: TERM,
        state: RoleState::Follower,
        leader: Some(leader("127.0.0.1:8081", "http://127.0.0.1:3001")),
        leaderless_since: None,
    }
}

/// The role of a node during an election.
pub(super) fn without_leader() -> Role {
    Role { term: TERM, state: RoleState::Candidate, leader: None, leaderless_since: Some(BootMs(0)) }
}

impl Node {
    /// A node with that role and an empty bucket.
    pub(super) fn new(role: Role) -> Self {
        let memory = MemoryBackend::new();
        Self::on(role, memory.clone(), Arc::new(memory), Cors::Any)
    }

    /// A node on any store; `memory` is what lies beneath it.
    pub(super) fn on(role: Role, memory: MemoryBackend, backend: Arc<dyn Backend>, cors: Cors) -> Self {
        Self::watching(watch::Sender::new(role), memory, backend, cors)
    }

    /// A node whose role others may set too.
    pub(super) fn watching(
        role: watch::Sender<Role>,
        memory: MemoryBackend,
        backend: Arc<dyn Backend>,
        cors: Cors,
    ) -> Self {
        let pause = Duration::from_millis(1);
        let policy = RetryPolicy { deadline: Duration::from_millis(500), attempts: 1, initial_backoff: pause };
        let now = clock::boot_now();
        let registry = Registry::new(Bucket::new(backend, policy), settings(), &TokenKey::new([7; 32]), now);
        let role_seen = role.subscribe();
        let (members, members_seen) = watch::channel(Vec::new());
        let (cluster_online, cluster_online_seen) = watch::channel(0);
        let (clients_up_to_date_at, clients_seen) = watch::channel(None);
        let (users_complete_at, users_seen) = watch::channel(None);
        let (news, telling) = news(registry.clone(), role_seen.clone());
        let app = App {
            registry: registry.clone(),
            this: ThisNode { addr: this(), version: "1.2.3", started_at: now },
            cluster: ClusterView { role: role_seen, members: members_seen, online: cluster_online_seen },
            copies: Copies { clients_up_to_date_at: clients_seen, users_complete_at: users_seen },
            cors,
            news,
            under_way: TaskTracker::new(),
        };
        let app = Arc::new(app);
        let headers = ResponseHeaders::new(&app);
        let router = routes(Arc::clone(&app), &headers);
        let fast_path = HeartbeatFastPath::new(Arc::clone(&app), &headers);
        Self {
            app,
            role,
            members,
            cluster_online,
            clients_up_to_date_at,
            users_complete_at,
            memory,
            registry,
            router,
            fast_path,
            _tasks: JoinSet::from_iter([telling]),
        }
    }

    /// A node that leads and knows every user in the bucket, who are `alice` at an address, and `bob` without one.
    pub(super) async fn with_alice_and_bob() -> Self {
        let node = Self::new(leading());
        node.registry.begin_term(TERM);
        node.registry.rebuild_index(TERM).await;
        for body in [r#"{"username":"alice","addr":"10.40.6.26:9000"}"#, r#"{"username":"bob"}"#] {
            assert_eq!(node.post("/register", body).await.status, StatusCode::CREATED);
        }
        node
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, Body::empty())).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", path, body)).await
    }

    pub(super) async fn send(&self, mut request: Request) -> Answer {
        request.extensions_mut().insert(remote());
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// Sends a heartbeat the short way.
    pub(super) async fn fast_path(&self, request: Request) -> Answer {
        self.fast_path_body(request).await
    }

    /// The same, with any body.
    pub(super) async fn fast_path_body<B>(&self, request: axum::http::Request<B>) -> Answer
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        Answer::read(self.fast_path.answer(remote(), request).await.map(Body::new)).await
    }
}

/// Where the requests come from.
pub(super) fn remote() -> Remote {
    Remote("10.0.0.9:50000".parse().unwrap())
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Panics unless this is an error of the one shape, with that status and code; gives its message.
    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: &str) -> String {
        let json = self.json();
        let seen = (self.status.as_u16(), json["code"].as_str(), &json["success"], self.header("content-type"));
        assert_eq!(seen, (status, Some(code), &Value::Bool(false), Some("application/json")), "{json}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{json}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{json}");
        json["message"].as_str().unwrap().to_owned()
    }
}

pub(super) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request {
    Request::builder().method(method).uri(path).body(body.into()).unwrap()
}
