//! Test support: a node whose role, storage and requests are controlled by a test.

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

use super::app::{ClusterView, ReplicaFreshness, SharedApp, ThisNode};
use super::heartbeat_fast_path::HeartbeatFastPath;
use super::layers::response_headers::ResponseHeaders;
use super::params::ClientAddr;
use super::pool_client::DisplacedConnection;
use super::routes::router;
use super::{App, CorsPolicy, OriginPolicy, change_notifier};
use crate::registry::testing::settings;
use crate::registry::{Registry, RegistrySettings, TokenKey};
use crate::storage::{Backend, Bucket, MemoryBackend, RetryPolicy};
use rollcall_core::clock;
use rollcall_core::{BootMs, NodeAddr, Term};
use rollcall_election::{Leader, Member, Role, RoleState};

/// The term of the roles in these tests.
pub(super) const TERM: Term = Term(7);

pub(super) struct TestNode {
    pub(super) app: SharedApp,
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

pub(super) struct TestResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The election address of the node under test, which is its name.
pub(super) fn this_node() -> NodeAddr {
    "127.0.0.1:8080".parse().unwrap()
}

fn leader(node: &str, api_url: &str) -> Leader {
    Leader { node: node.parse().unwrap(), api_url: api_url.to_owned(), term: TERM }
}

/// The role of a leader whose lease ends at `serves_until`.
pub(super) fn leading_until(serves_until: BootMs, term: Term) -> Role {
    let state = RoleState::Leader { serves_until, handing_over: false };
    Role { term, state, leader: Some(leader("127.0.0.1:8080", "http://127.0.0.1:3000")), leaderless_since: None }
}

/// The role of a leader with a long lease.
pub(super) fn leading() -> Role {
    leading_until(clock::boot_now().plus(3_600_000), TERM)
}

/// The role of a follower with a known leader.
pub(super) fn following() -> Role {
    Role {
        term: TERM,
        state: RoleState::Follower,
        leader: Some(leader("127.0.0.1:8081", "http://127.0.0.1:3001")),
        leaderless_since: None,
    }
}

/// The role of a candidate during an election.
pub(super) fn without_leader() -> Role {
    Role { term: TERM, state: RoleState::Candidate, leader: None, leaderless_since: Some(BootMs(0)) }
}

impl TestNode {
    /// A node with this role and an empty bucket.
    pub(super) fn new(role: Role) -> Self {
        let memory = MemoryBackend::new();
        Self::with_backend(role, memory.clone(), Arc::new(memory), CorsPolicy::Any)
    }

    /// A leader with the setting `discovery_server_compat`.
    pub(super) fn with_discovery_server_compat(cors: CorsPolicy) -> Self {
        let settings = RegistrySettings { heartbeats_need_no_credentials: true, ..settings() };
        Self::with_settings(settings, MemoryBackend::new(), cors)
    }

    /// A leader with these settings.
    pub(super) fn with_settings(settings: RegistrySettings, memory: MemoryBackend, cors: CorsPolicy) -> Self {
        Self::build(watch::Sender::new(leading()), memory.clone(), Arc::new(memory), cors, settings)
    }

    /// A node on any backend. `memory` is the store beneath the backend.
    pub(super) fn with_backend(role: Role, memory: MemoryBackend, backend: Arc<dyn Backend>, cors: CorsPolicy) -> Self {
        Self::with_role_sender(watch::Sender::new(role), memory, backend, cors)
    }

    /// A node whose role the caller can also change, through `role`.
    pub(super) fn with_role_sender(
        role: watch::Sender<Role>,
        memory: MemoryBackend,
        backend: Arc<dyn Backend>,
        cors: CorsPolicy,
    ) -> Self {
        Self::build(role, memory, backend, cors, settings())
    }

    fn build(
        role: watch::Sender<Role>,
        memory: MemoryBackend,
        backend: Arc<dyn Backend>,
        cors: CorsPolicy,
        settings: RegistrySettings,
    ) -> Self {
        let policy = RetryPolicy::one_attempt(Duration::from_secs(2));
        let now = clock::boot_now();
        let key = TokenKey::new([7; 32]);
        let registry = Registry::new(Bucket::new(backend, policy), settings, &key, now, clock::wall_now());
        let role_receiver = role.subscribe();
        let (members, members_receiver) = watch::channel(Vec::new());
        let (cluster_online, cluster_online_receiver) = watch::channel(0);
        let (clients_up_to_date_at, clients_receiver) = watch::channel(None);
        let (users_complete_at, users_receiver) = watch::channel(None);
        let (list_updates, publish_updates) = change_notifier(registry.clone(), role_receiver.clone());
        let app = App {
            registry: registry.clone(),
            this_node: ThisNode { addr: this_node(), version: "1.2.3", started_at: now },
            cluster: ClusterView {
                role: role_receiver,
                members: members_receiver,
                online_count: cluster_online_receiver,
            },
            replica: ReplicaFreshness { clients_up_to_date_at: clients_receiver, users_complete_at: users_receiver },
            origin_policy: OriginPolicy::new(cors, "http://127.0.0.1:3000", false),
            discovery_server_compat: settings.heartbeats_need_no_credentials,
            list_updates,
            in_flight: TaskTracker::new(),
        };
        let app = Arc::new(app);
        let headers = ResponseHeaders::new(&app);
        let router = router(Arc::clone(&app), &headers);
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
            _tasks: JoinSet::from_iter([publish_updates]),
        }
    }

    /// A leader that has read the bucket, with two registered users: `alice` with an address and
    /// `bob` without.
    pub(super) async fn with_alice_and_bob() -> Self {
        let node = Self::new(leading());
        node.registry.begin_term(TERM);
        node.registry.rebuild_index(TERM).await;
        for body in [r#"{"username":"alice","addr":"10.40.6.26:9000"}"#, r#"{"username":"bob"}"#] {
            assert_eq!(node.post("/register", body).await.status, StatusCode::CREATED);
        }
        node
    }

    pub(super) async fn get(&self, path: &str) -> TestResponse {
        self.send(request("GET", path, Body::empty())).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> TestResponse {
        self.send(request("POST", path, body)).await
    }

    pub(super) async fn send(&self, mut request: Request) -> TestResponse {
        request.extensions_mut().insert(client());
        TestResponse::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// Sends a heartbeat to the fast path.
    pub(super) async fn send_to_fast_path(&self, request: Request) -> TestResponse {
        self.send_body_to_fast_path(request).await
    }

    /// Like [`Self::send_to_fast_path`], with a body of any type.
    pub(super) async fn send_body_to_fast_path<B>(&self, request: axum::http::Request<B>) -> TestResponse
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        TestResponse::read(self.fast_path.call(client(), &DisplacedConnection::default(), request).await.map(Body::new))
            .await
    }
}

/// The client address of the requests.
pub(super) fn client() -> ClientAddr {
    ClientAddr("10.0.0.9".parse().unwrap())
}

impl TestResponse {
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

    /// Checks that this is an error response of the documented format, with this status and code.
    /// Returns its message.
    #[track_caller]
    pub(super) fn expect_error(&self, status: u16, code: &str) -> String {
        let json = self.json();
        let actual = (self.status.as_u16(), json["code"].as_str(), &json["success"], self.header("content-type"));
        assert_eq!(actual, (status, Some(code), &Value::Bool(false), Some("application/json")), "{json}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{json}");
        assert_eq!(self.header("www-authenticate").is_some(), status == 401, "{json}");
        json["message"].as_str().unwrap().to_owned()
    }
}

pub(super) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request {
    Request::builder().method(method).uri(path).body(body.into()).unwrap()
}
