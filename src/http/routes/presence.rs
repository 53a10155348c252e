//! Routes about who is online.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tracing::debug;

use super::fields::{ADDR, USERNAME};
use crate::http::app::Shared;
use crate::http::credentials::{Authorization, caller};
use crate::http::error::ApiError;
use crate::http::json::WrittenJson;
use crate::http::json_body::{Field, JsonBody};
use crate::http::leader_gate::Leader;
use crate::http::lists::cursor::{Cursor, Given, Source};
use crate::http::lists::list_response::{self, List, Reader};
use crate::http::lists::since::Since;
use crate::http::lists::{Lists, encode};
use crate::http::params::{Paging, Remote};
use crate::registry::{AcceptedHeartbeat, Caller};
use rollcall_core::api::Heartbeat;
use rollcall_core::clock;
use rollcall_core::{Addr, AddrForm, BootMs, Page, Username, WallMs};

const HEARTBEAT: &[Field] = &[USERNAME, ADDR];

/// More than most answers that accept a heartbeat have.
const ACCEPTED_BYTES: usize = 256;

/// `POST /heartbeat`.
pub(in crate::http) async fn heartbeat(
    _: Leader,
    State(app): State<Shared>,
    remote: Remote,
    authorization: Authorization,
    body: JsonBody,
) -> Result<WrittenJson, ApiError> {
    let (username, addr) = told(remote, &body)?;
    let caller = caller(remote);
    let beat = app.registry.heartbeat(&username, addr, authorization.credentials(), caller).await?;
    Ok(WrittenJson(accepted(&username, beat, caller.wall)))
}

/// `POST /heartbeat` of a request with these `headers` at `now`, if nothing has to be waited for and nothing is wrong; the
/// answer's bytes.
pub(in crate::http) fn heartbeat_at_once(
    app: &Shared,
    remote: Remote,
    now: BootMs,
    headers: &HeaderMap,
    body: &JsonBody,
) -> Option<Vec<u8>> {
    let (username, addr) = told(remote, body).ok()?;
    let wall = clock::wall_now();
    let beat = app.registry.renew(&username, addr, now).or_else(|| {
        let caller = Caller { from: remote.ip(), now, wall };
        app.registry.try_heartbeat(&username, addr, Authorization::of(headers).credentials(), caller)
    })?;
    Some(accepted(&username, beat, wall))
}

fn told(remote: Remote, body: &JsonBody) -> Result<(Username, Option<Addr>), ApiError> {
    let heartbeat: Heartbeat = body.parse(HEARTBEAT)?;
    let username = Username::parse(&heartbeat.username.0)?;
    let addr = match &heartbeat.addr {
        Some(addr) => Some(AddrForm::parse(&addr.0)?.resolve(remote.ip())),
        None => None,
    };
    Ok((username, addr))
}

/// An [`Accepted`](rollcall_core::api::Accepted). Nothing is written as often, and nothing in it needs to be escaped, so it is put
/// together by hand.
fn accepted(username: &Username, beat: AcceptedHeartbeat, wall: WallMs) -> Vec<u8> {
    debug!(user = %username, "heartbeat of {username}");
    let mut text = Vec::with_capacity(ACCEPTED_BYTES);
    text.extend_from_slice(b"{\"success\":true,\"status\":\"ok\",\"message\":\"Heartbeat accepted for '");
    text.extend_from_slice(username.as_str().as_bytes());
    text.push(b'\'');
    if let Some(addr) = beat.addr {
        text.extend_from_slice(b" at ");
        addr.append_to(&mut text);
    }
    text.extend_from_slice(b"\",\"last_seen\":\"");
    text.extend_from_slice(&wall.rfc3339_bytes());
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
    leader: Leader,
    State(app): State<Shared>,
    Extension(lists): Extension<Lists>,
    Paging(page): Paging,
    Since(since): Since,
    reader: Reader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let source = Source { term: leader.term, started_at: app.this.started_at };
    if let Some(since) = since {
        return changes(&app, &lists, source, since, reader).await;
    }
    let make = discovered(&app, source);
    lists
        .answer(
            &lists.own().discovered,
            source.term,
            page,
            reader,
            || app.registry.online_version(clock::boot_now()),
            make,
        )
        .await
}

/// What changed since `since`, or the whole list if that cannot be said.
async fn changes(
    app: &Shared,
    lists: &Lists,
    source: Source,
    since: Given,
    reader: Reader,
) -> Result<Response, ApiError> {
    let place = lists.place().await?;
    let changes = match since.version_of(source) {
        Some(version) => lists.changes().since(app, Cursor { source, version }).await?,
        None => None,
    };
    let answer = if let Some(changes) = changes {
        vec![changes]
    } else {
        let make = discovered(app, source);
        let whole = |version| make(Page::default(), Some(version));
        let version = || app.registry.online_version(clock::boot_now());
        lists.own().discovered.list(source.term, version, whole).await?.as_reset()
    };
    list_response::send_once(answer, reader, place)
}

/// What makes a list of clients online.
fn discovered(app: &Shared, source: Source) -> impl FnOnce(Page, Option<u64>) -> List + Send + 'static {
    let registry = app.registry.clone();
    move |page, version| {
        let cursor = version.map(|version| Cursor { source, version });
        List::new(encode::discovered(&registry, page, true), cursor)
    }
}

/// `GET /discovery/online`.
pub(super) async fn online_names(
    leader: Leader,
    State(app): State<Shared>,
    Extension(lists): Extension<Lists>,
    Paging(page): Paging,
    reader: Reader,
) -> Result<Response, ApiError> {
    app.registry.wait_for_clients(leader.term).await;
    let registry = app.registry.clone();
    let make = move |page, _| List::new(encode::online_names(&registry, page), None);
    lists
        .answer(&lists.own().names, leader.term, page, reader, || app.registry.online_version(clock::boot_now()), make)
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{Node, leading, request};
    use crate::storage::Fault;

    #[tokio::test]
    async fn a_heartbeat_answers_as_documented() {
        let node = Node::with_alice_and_bob().await;
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
    async fn a_heartbeat_of_a_known_user_does_not_touch_the_storage() {
        let node = Node::with_alice_and_bob().await;
        node.memory.faults().set_outage(Some(Fault::Permanent));
        assert_eq!(node.post("/heartbeat", r#"{"username":"alice"}"#).await.status, 200);
        assert_eq!(node.get("/discover").await.json()["count"], 1);
    }

    #[tokio::test]
    async fn clients_online_are_discovered_at_their_live_addresses() {
        let node = Node::with_alice_and_bob().await;
        let empty = json!({"online_clients": [], "count": 0, "is_leader": true});
        assert_eq!(node.get("/discover").await.json(), empty);
        // No Content-Type, as `curl -d` without a header would send another one.
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
        let node = Node::with_alice_and_bob().await;
        let answer = node.post("/heartbeat", r#"{"username":"bob"}"#).await;
        assert_eq!(answer.json()["message"], "Heartbeat accepted for 'bob'");
        assert_eq!(node.get("/discover").await.json()["online_clients"], json!([{"username": "bob", "addr": null}]));
    }

    #[tokio::test]
    async fn heartbeats_that_are_wrong_are_refused() {
        let node = Node::with_alice_and_bob().await;
        for (body, status, code) in [
            (r#"{"username":"nobody"}"#, 404, "user_not_registered"),
            (r#"{"addr":"10.0.0.1:1"}"#, 400, "missing_field"),
            (r#"{"username":["alice"]}"#, 400, "invalid_field"),
            (r#"{"username":"a b"}"#, 400, "invalid_username"),
            (r#"{"username":"alice","addr":"10.0.0.1"}"#, 400, "invalid_addr"),
            ("alice", 400, "invalid_json"),
            (r#"["alice"]"#, 400, "invalid_json"),
        ] {
            node.post("/heartbeat", body).await.refused(status, code);
        }
        assert_eq!(node.get("/discover").await.json()["count"], 0);
    }

    #[tokio::test]
    async fn a_user_that_another_leader_registered_is_read_from_the_bucket() {
        let node = Node::with_alice_and_bob().await;
        let other =
            Node::on(leading(), node.memory.clone(), std::sync::Arc::new(node.memory.clone()), crate::http::Cors::Off);
        let answer = other.post("/heartbeat", r#"{"username":"alice"}"#).await;
        assert_eq!(answer.json()["message"], "Heartbeat accepted for 'alice' at 10.40.6.26:9000");
        node.memory.faults().set_outage(Some(Fault::Transient));
        other.post("/heartbeat", r#"{"username":"bob"}"#).await.refused(503, "storage_unavailable");
    }

    #[tokio::test]
    async fn query_parameters_that_are_wrong_are_refused() {
        let node = Node::with_alice_and_bob().await;
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
                node.get(&format!("/{list}?{query}")).await.refused(400, "invalid_field");
            }
        }
    }
}
