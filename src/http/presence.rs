//! Routes about who is online.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tracing::debug;

use super::app::Shared;
use super::error::ApiError;
use super::etag;
use super::json::{Field, Json, JsonBody};
use super::leader::Leader;
use super::params::{Paging, Remote};
use super::users::{ADDR, USERNAME};
use crate::api::{Accepted, Discovered, Heartbeat, OnlineClient, OnlineNames, Status};
use crate::clock;
use crate::domain::{AddrForm, Username};

const HEARTBEAT: &[Field] = &[USERNAME, ADDR];

/// `POST /heartbeat`.
pub(super) async fn heartbeat(
    _: Leader,
    State(app): State<Shared>,
    remote: Remote,
    body: JsonBody,
) -> Result<Json<Accepted>, ApiError> {
    let heartbeat: Heartbeat = body.parse(HEARTBEAT)?;
    let username = Username::parse(&heartbeat.username.0)?;
    let addr = match &heartbeat.addr {
        Some(addr) => Some(AddrForm::parse(&addr.0)?.resolve(remote.ip())),
        None => None,
    };
    let last_seen = clock::wall_now().to_rfc3339();
    let beat = app.registry.heartbeat(&username, addr, clock::boot_now()).await?;
    debug!(user = %username, "heartbeat of {username}");
    let message = match beat.addr {
        Some(addr) => format!("Heartbeat accepted for '{username}' at {addr}"),
        None => format!("Heartbeat accepted for '{username}'"),
    };
    let (ttl_ms, next_heartbeat_ms) = (beat.ttl_ms, beat.next_heartbeat_ms);
    Ok(Json(Accepted { success: true, status: Status::Ok, message, last_seen, ttl_ms, next_heartbeat_ms }))
}

/// `GET /discover`.
pub(super) async fn discover(
    _: Leader,
    State(app): State<Shared>,
    Paging(page): Paging,
    headers: HeaderMap,
) -> Response {
    let online = app.registry.online(&page, clock::boot_now());
    let online_clients: Vec<OnlineClient> =
        online.into_iter().map(|online| OnlineClient { username: online.username, addr: online.addr }).collect();
    etag::list(&headers, &Discovered { count: online_clients.len(), online_clients, is_leader: true })
}

/// `GET /discovery/online`.
pub(super) async fn online_names(
    _: Leader,
    State(app): State<Shared>,
    Paging(page): Paging,
    headers: HeaderMap,
) -> Response {
    let online = app.registry.online(&page, clock::boot_now());
    etag::list(&headers, &OnlineNames { online: online.into_iter().map(|online| online.username).collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Node, leading, request};
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
            Node::on(leading(), node.memory.clone(), std::sync::Arc::new(node.memory.clone()), super::super::Cors::Off);
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
