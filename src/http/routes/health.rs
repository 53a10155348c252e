//! Routes that every node answers: is it alive, who leads, how is the cluster.

use axum::extract::State;

use crate::http::app::Shared;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::leader_gate::Leader;
use rollcall_core::api::{Cluster, ClusterNode, Health, LeaderInfo, Status, StatusBody};
use rollcall_core::clock;

const ALIVE: StatusBody = StatusBody { status: Status::Ok };

/// `GET /`: this node and the cluster in one line.
pub(super) async fn health(State(app): State<Shared>) -> Json<Health> {
    let role = app.cluster.role.borrow().clone();
    // After the role, as in every comparison of a lease with the clock.
    let now = clock::boot_now();
    let is_leader = role.is_serving(now);
    let own = || u64::try_from(app.registry.online_count(now)).unwrap_or(u64::MAX);
    let leader = app.leader(&role, now);
    Json(Health {
        status: Status::Ok,
        is_leader,
        online_clients_count: if is_leader { own() } else { *app.cluster.online.borrow() },
        current_leader: leader.map(|leader| leader.node),
        leader_url: leader.map(|leader| leader.api_url.clone()),
        term: role.term,
        node: app.this.addr,
        role: role.member_role(),
        version: app.this.version.to_owned(),
        uptime_seconds: now.since(app.this.started_at) / 1000,
    })
}

/// `GET /status` and `/livez`: the process answers.
pub(super) async fn alive() -> Json<StatusBody> {
    Json(ALIVE)
}

/// `GET /readyz`: a leader is known, and the bucket answers.
pub(super) async fn ready(State(app): State<Shared>) -> Result<Json<StatusBody>, ApiError> {
    if let Err(refusal @ ApiError::NoLeader) = app.serving_term() {
        return Err(refusal);
    }
    app.registry.probe(clock::boot_now()).await?;
    Ok(Json(ALIVE))
}

/// `GET /leader`: 200 on the leader and nowhere else, for balancers.
pub(super) async fn leading(leader: Leader, State(app): State<Shared>) -> Json<LeaderInfo> {
    Json(LeaderInfo { status: Status::Ok, is_leader: true, node: app.this.addr, term: leader.term })
}

/// `GET /cluster`: every node as this one knows it.
pub(super) async fn cluster(State(app): State<Shared>) -> Json<Cluster> {
    let members = app.cluster.members.borrow().clone();
    let now = clock::boot_now();
    let nodes: Vec<ClusterNode> = members
        .into_iter()
        .map(|member| ClusterNode {
            node: member.node,
            api_url: member.api_url,
            // What a node was when it was last heard says nothing of what it is now.
            role: member.role.filter(|_| member.reachable),
            reachable: member.reachable,
            load: member.load.map(rollcall_core::Load::share),
            term: member.term,
            last_heard_ago_ms: member.last_heard.map(|heard| now.since(heard)),
        })
        .collect();
    Json(Cluster { count: nodes.len(), nodes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::http::testing::{Node, TERM, following, leading, leading_until, request, without_leader};
    use crate::storage::{Backend, Fault, Key};
    use rollcall_core::MemberRole;
    use rollcall_core::clock;
    use rollcall_core::{BootMs, Load};
    use rollcall_election::Member;

    #[tokio::test]
    async fn health_on_the_leader_counts_its_own_clients() {
        let node = Node::with_alice_and_bob().await;
        node.cluster_online.send_replace(99);
        node.post("/heartbeat", r#"{"username":"alice"}"#).await;
        let json = node.get("/").await.json();
        assert_eq!(
            json,
            json!({
                "status": "ok", "is_leader": true, "online_clients_count": 1, "current_leader": "127.0.0.1:8080",
                "leader_url": "http://127.0.0.1:3000", "term": 7, "node": "127.0.0.1:8080", "role": "leader",
                "version": "1.2.3", "uptime_seconds": 0,
            })
        );
    }

    #[tokio::test]
    async fn health_on_a_follower_gives_the_count_of_the_cluster() {
        let node = Node::new(following());
        node.cluster_online.send_replace(99);
        let json = node.get("/").await.json();
        assert_eq!((&json["is_leader"], &json["online_clients_count"]), (&json!(false), &json!(99)));
        assert_eq!((&json["current_leader"], &json["role"]), (&json!("127.0.0.1:8081"), &json!("follower")));
    }

    #[tokio::test]
    async fn a_leader_outside_its_lease_says_that_nobody_leads() {
        let node = Node::new(leading_until(clock::boot_now(), TERM));
        let json = node.get("/").await.json();
        assert_eq!((&json["is_leader"], &json["current_leader"]), (&json!(false), &json!(null)));
        node.get("/leader").await.refused(503, "no_leader");
    }

    #[tokio::test]
    async fn every_node_is_alive_and_only_the_leader_answers_as_such() {
        for role in [leading(), following(), without_leader()] {
            let node = Node::new(role);
            for path in ["/status", "/livez"] {
                assert_eq!(node.get(path).await.json(), json!({"status": "ok"}));
            }
            assert_eq!(node.send(request("HEAD", "/", "")).await.status, 200);
        }
        assert_eq!(Node::new(leading()).get("/leader").await.status, 200);
        assert_eq!(Node::new(following()).get("/leader").await.status, 403);
        assert_eq!(Node::new(without_leader()).get("/leader").await.status, 503);
    }

    #[tokio::test]
    async fn a_node_is_ready_when_it_knows_a_leader_and_the_bucket_answers() {
        for role in [leading(), following()] {
            let node = Node::new(role);
            node.memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
            assert_eq!(node.get("/readyz").await.json(), json!({"status": "ok"}));
        }
        Node::new(following()).get("/readyz").await.refused(503, "storage_unavailable");
        Node::new(without_leader()).get("/readyz").await.refused(503, "no_leader");
        let node = Node::new(following());
        node.memory.faults().set_outage(Some(Fault::Transient));
        node.get("/readyz").await.refused(503, "storage_unavailable");
    }

    #[tokio::test]
    async fn the_cluster_is_described_node_by_node() {
        let node = Node::new(leading());
        let away = Member {
            node: "127.0.0.1:8081".parse().unwrap(),
            api_url: None,
            role: Some(MemberRole::Leader),
            reachable: false,
            load: Some(Load::from_permille(250)),
            term: Some(TERM),
            last_heard: Some(BootMs::NEVER),
        };
        let here = Member { reachable: true, ..away.clone() };
        node.members.send_replace(vec![away, here]);
        let described = |role: Option<&str>, reachable: bool| {
            json!({
                "node": "127.0.0.1:8081", "api_url": null, "role": role, "reachable": reachable, "load": 0.25,
                "term": 7, "last_heard_ago_ms": 0,
            })
        };
        let nodes = json!([described(None, false), described(Some("leader"), true)]);
        assert_eq!(node.get("/cluster").await.json(), json!({"nodes": nodes, "count": 2}));
    }
}
