//! Routes for heartbeats and for the lists of online clients.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tracing::debug;

use super::fields::{ADDR, USERNAME};
use crate::http::app::SharedApp;
use crate::http::credentials::{Authorization, caller};
use crate::http::error::ApiError;
use crate::http::json::RawJson;
use crate::http::json_body::{FieldSpec, JsonBody};
use crate::http::leader_gate::LeaderOnly;
use crate::http::lists::cursor::{ClientCursor, ListCursor, ListSource};
use crate::http::lists::list_response::{self, EncodedList, ListReader};
use crate::http::lists::since_param::SinceParam;
use crate::http::lists::{ListService, encode};
use crate::http::params::{PageParams, RemoteAddr};
use crate::registry::{AcceptedHeartbeat, Caller};
use rollcall_core::api::Heartbeat;
use rollcall_core::clock;
use rollcall_core::{Addr, AddrForm, BootMs, Page, Username};

const HEARTBEAT: &[FieldSpec] = &[USERNAME, ADDR];

/// Initial size of the buffer for a response to a heartbeat, in bytes. Most responses fit, so the
/// buffer rarely grows.
const ACCEPTED_BUFFER_BYTES: usize = 256;

/// `POST /heartbeat`.
pub(in crate::http) async fn heartbeat(
    _: LeaderOnly,
    State(app): State<SharedApp>,
    remote: RemoteAddr,
    authorization: Authorization,
    body: JsonBody,
) -> Result<RawJson, ApiError> {
    let (username, addr) = parse_heartbeat(remote, &body)?;
    let beat = app.registry.heartbeat(&username, addr, authorization.credentials(), caller(remote)).await?;
    Ok(RawJson(encode_accepted(&username, beat)))
}

/// `POST /heartbeat` without waiting, for the fast path. Returns the body of the response, or
/// `None` if the heartbeat is invalid or cannot be accepted at once.
pub(in crate::http) fn try_heartbeat(
    app: &SharedApp,
    remote: RemoteAddr,
    now: BootMs,
    headers: &HeaderMap,
    body: &JsonBody,
) -> Option<Vec<u8>> {
    let (username, addr) = parse_heartbeat(remote, body).ok()?;
    let beat = app.registry.renew(&username, addr, now).or_else(|| {
        let caller = Caller { from: remote.ip(), now, wall: clock::wall_now() };
        app.registry.try_heartbeat(&username, addr, Authorization::from_headers(headers).credentials(), caller)
    })?;
    Some(encode_accepted(&username, beat))
}

fn parse_heartbeat(remote: RemoteAddr, body: &JsonBody) -> Result<(Username, Option<Addr>), ApiError> {
    let heartbeat: Heartbeat = body.parse(HEARTBEAT)?;
    let username = Username::parse(&heartbeat.username.0)?;
    let addr = match &heartbeat.addr {
        Some(addr) => Some(AddrForm::parse(&addr.0)?.resolve(remote.ip())),
        None => None,
    };
    Ok((username, addr))
}

/// Encodes an [`Accepted`](rollcall_core::api::Accepted). It is written by hand, because it is the
/// most frequent response. No value in it needs escaping.
fn encode_accepted(username: &Username, beat: AcceptedHeartbeat) -> Vec<u8> {
    debug!(user = %username, "heartbeat accepted");
    let mut text = Vec::with_capacity(ACCEPTED_BUFFER_BYTES);
    text.extend_from_slice(b"{\"success\":true,\"status\":\"ok\",\"message\":\"Heartbeat accepted for '");
    text.extend_from_slice(username.as_str().as_bytes());
    text.push(b'\'');
    if let Some(addr) = beat.addr {
        text.extend_from_slice(b" at ");
        addr.append_to(&mut text);
    }
    text.extend_from_slice(b"\",\"last_seen\":\"");
    text.extend_from_slice(&beat.seen_at.rfc3339_bytes());
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(b"\",\"ttl_ms\":");
    text.extend_from_slice(digits.format(beat.ttl_ms).as_bytes());
    text.extend_from_slice(b",\"next_heartbeat_ms\":");
    text.extend_from_slice(digits.format(beat.next_heartbeat_ms).as_bytes());
    text.push(b'}');
    text
}

/// `GET /discover`.
pub(super) async fn discover(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    PageParams(page): PageParams,
    SinceParam(since): SinceParam,
    reader: ListReader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let source = ListSource { term: leader.term, started_at: app.this_node.started_at };
    if let Some(since) = since {
        return respond_with_changes(&app, &lists, source, since, reader).await;
    }
    let build = encode_online_clients(&app, source);
    lists
        .respond(
            &lists.leader_lists().online_clients,
            source.term,
            page,
            reader,
            || app.registry.online_version(clock::boot_now()),
            build,
        )
        .await
}

/// Answers with the changes since the client's cursor, or with the whole list if the cursor is
/// unknown or too old.
async fn respond_with_changes(
    app: &SharedApp,
    lists: &ListService,
    source: ListSource,
    since: ClientCursor,
    reader: ListReader,
) -> Result<Response, ApiError> {
    let permit = lists.reserve().await?;
    let changes = match since.version_of(source) {
        Some(version) => lists.changes().get_or_encode(app, ListCursor { source, version }).await?,
        None => None,
    };
    let parts = if let Some(changes) = changes {
        vec![changes]
    } else {
        let build = encode_online_clients(app, source);
        let full_list = |version| build(Page::default(), Some(version));
        let version = || app.registry.online_version(clock::boot_now());
        lists.leader_lists().online_clients.get_or_build(source.term, version, full_list).await?.to_reset_body()
    };
    list_response::respond_uncached(parts, reader, permit)
}

/// Returns the function that builds a list of online clients.
fn encode_online_clients(
    app: &SharedApp,
    source: ListSource,
) -> impl FnOnce(Page, Option<u64>) -> EncodedList + Send + 'static {
    let registry = app.registry.clone();
    move |page, version| {
        let cursor = version.map(|version| ListCursor { source, version });
        EncodedList::new(encode::online_clients(&registry, page, true), cursor)
    }
}

/// `GET /discovery/online`.
pub(super) async fn online_names(
    leader: LeaderOnly,
    State(app): State<SharedApp>,
    Extension(lists): Extension<ListService>,
    PageParams(page): PageParams,
    reader: ListReader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let registry = app.registry.clone();
    let build = move |page, _| EncodedList::new(encode::online_names(&registry, page), None);
    lists
        .respond(
            &lists.leader_lists().online_names,
            leader.term,
            page,
            reader,
            || app.registry.online_version(clock::boot_now()),
            build,
        )
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{TestNode, leading, request};
    use crate::storage::Fault;

    #[tokio::test]
    async fn a_heartbeat_answers_as_documented() {
        let node = TestNode::with_alice_and_bob().await;
        let answer = node.post("/heartbeat", r#"{"username":"alice","addr":"10.40.6.26:9000"}"#).await;
        let json = answer.json();
        assert_eq!(answer.status, 200);
        let message = "Heartbeat accepted for 'alice' at 10.40.6.26:9000";
        assert_eq!(
            json,
            json!({
                "success": true, "status": "ok", "message": message, "last_seen": json["last_seen"],
                "ttl_ms": 30_000, "next_heartbeat_ms": 10_000,
            })
        );
        assert!(json["last_seen"].as_str().unwrap().ends_with('Z'));
    }

    #[tokio::test]
    async fn a_heartbeat_of_a_known_user_does_not_read_the_bucket() {
        let node = TestNode::with_alice_and_bob().await;
        node.memory.faults().set_outage(Some(Fault::Permanent));
        assert_eq!(node.post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
        assert_eq!(node.get("/discover").await.json()["count"], 1);
    }

    #[tokio::test]
    async fn online_clients_are_listed_with_their_current_addresses() {
        let node = TestNode::with_alice_and_bob().await;
        let empty = json!({"online_clients": [], "count": 0, "is_leader": true});
        assert_eq!(node.get("/discover").await.json(), empty);
        // This request has no Content-Type. The next one has the Content-Type that `curl -d` sends.
        node.post("/heartbeat", r#"{"username":"bob","addr":":9001"}"#).await;
        let mut form = request("POST", "/heartbeat", r#"{"username":"alice"}"#);
        form.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        assert_eq!(node.send(form).await.status, 200);
        let clients = json!([
            {"username": "alice", "addr": "10.40.6.26:9000"},
            {"username": "bob", "addr": "10.0.0.9:9001"},
        ]);
        let found = json!({"online_clients": clients, "count": 2, "is_leader": true});
        assert_eq!(node.get("/discover").await.json(), found);
        assert_eq!(node.get("/discovery/online").await.json(), json!({"online": ["alice", "bob"]}));
        assert_eq!(node.get("/discovery/online?after=alice&limit=1").await.json(), json!({"online": ["bob"]}));
        assert_eq!(node.get("/discover?limit=1").await.json()["online_clients"], json!([clients[0]]));
        assert_eq!(node.get("/discover?after=alice").await.json()["online_clients"], json!([clients[1]]));
        assert_eq!(node.get("/discover?prefix=al").await.json()["count"], 1);
    }

    #[tokio::test]
    async fn a_client_without_an_address_is_listed_with_null() {
        let node = TestNode::with_alice_and_bob().await;
        let answer = node.post("/heartbeat", r#"{"username":"bob"}"#).await;
        assert_eq!(answer.json()["message"], "Heartbeat accepted for 'bob'");
        assert_eq!(node.get("/discover").await.json()["online_clients"], json!([{"username": "bob", "addr": null}]));
    }

    #[tokio::test]
    async fn invalid_heartbeats_are_rejected() {
        let node = TestNode::with_alice_and_bob().await;
        for (body, status, code) in [
            (r#"{"username":"nobody"}"#, 404, "user_not_registered"),
            (r#"{"addr":"10.0.0.1:1"}"#, 400, "missing_field"),
            (r#"{"username":["alice"]}"#, 400, "invalid_field"),
            (r#"{"username":"a b"}"#, 400, "invalid_username"),
            (r#"{"username":"alice","addr":"10.0.0.1"}"#, 400, "invalid_addr"),
            ("alice", 400, "invalid_json"),
            (r#"["alice"]"#, 400, "invalid_json"),
        ] {
            node.post("/heartbeat", body).await.expect_error(status, code);
        }
        assert_eq!(node.get("/discover").await.json()["count"], 0);
    }

    #[tokio::test]
    async fn a_user_that_another_leader_registered_is_read_from_the_bucket() {
        let node = TestNode::with_alice_and_bob().await;
        let other = TestNode::with_backend(
            leading(),
            node.memory.clone(),
            std::sync::Arc::new(node.memory.clone()),
            crate::http::CorsPolicy::Off,
        );
        let answer = other.post("/heartbeat", r#"{"username":"alice"}"#).await;
        assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 10.40.6.26:9000");
        node.memory.faults().set_outage(Some(Fault::Transient));
        other.post("/heartbeat", r#"{"username":"bob"}"#).await.expect_error(503, "storage_unavailable");
    }

    #[tokio::test]
    async fn invalid_query_parameters_are_rejected() {
        let node = TestNode::with_alice_and_bob().await;
        for query in [
            "limit=abc",
            "limit=0",
            "limit=-1",
            "limit=%2B1",
            "limit=",
            "limit=1&limit=2",
            "limit=99999999999999999999",
        ] {
            for list in ["discover", "discovery/online", "users"] {
                node.get(&format!("/{list}?{query}")).await.expect_error(400, "invalid_field");
            }
        }
    }
}
