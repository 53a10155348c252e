//! Routes about the health of this node and of the cluster. Every node answers them, except
//! `/leader`.

use axum::extract::State;

use crate::http::app::SharedApp;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::leader_gate::LeaderOnly;
use rollcall_core::api::{Cluster, ClusterNode, Health, LeaderInfo, LeaderStatus, Service, Status, StatusBody};
use rollcall_core::clock;

const ALIVE: StatusBody = StatusBody { status: Status::Ok };

/// `GET /`: health of this node and summary of the cluster.
pub(super) async fn health(State(app): State<SharedApp>) -> Json<Health> {
    let role = app.cluster.role.borrow().clone();
    // The clock is read after the role; see `App::serving_term`.
    let now = clock::boot_now();
    let is_leader = role.is_serving(now);
    let own_count = || u64::try_from(app.registry.online_count(now)).unwrap_or(u64::MAX);
    let leader = app.known_leader(&role, now);
    Json(Health {
        status: Status::Ok,
        is_leader,
        online_clients_count: if is_leader { own_count() } else { *app.cluster.online_count.borrow() },
        current_leader: leader.map(|leader| leader.node),
        leader_url: leader.map(|leader| leader.api_url.clone()),
        term: role.term,
        node: app.this_node.addr,
        role: role.member_role(),
        service: Service::Rollcall,
        version: app.this_node.version.to_owned(),
        uptime_seconds: now.since(app.this_node.started_at) / 1000,
    })
}

/// `GET /status`: the process is alive, and whether this node leads.
pub(super) async fn status(State(app): State<SharedApp>) -> Json<LeaderStatus> {
    Json(LeaderStatus { status: Status::Ok, is_leader: app.serving_term().is_ok() })
}

/// `GET /livez`: the process is alive.
pub(super) async fn alive() -> Json<StatusBody> {
    Json(ALIVE)
}

/// `GET /readyz`: a leader is known, and the bucket can be read and written.
pub(super) async fn ready(State(app): State<SharedApp>) -> Result<Json<StatusBody>, ApiError> {
    if let Err(error @ ApiError::NoLeader) = app.serving_term() {
        return Err(error);
    }
    app.registry.probe(clock::boot_now()).await?;
    Ok(Json(ALIVE))
}

/// `GET /leader`: 200 on the leader only, for load balancers.
pub(super) async fn leader(leader: LeaderOnly, State(app): State<SharedApp>) -> Json<LeaderInfo> {
    Json(LeaderInfo { status: Status::Ok, is_leader: true, node: app.this_node.addr, term: leader.term })
}

/// `GET /cluster`: the state of every node, as this node knows it.
pub(super) async fn cluster(State(app): State<SharedApp>) -> Json<Cluster> {
    let members = app.cluster.members.borrow().clone();
    let now = clock::boot_now();
    let nodes: Vec<ClusterNode> = members
        .into_iter()
        .map(|member| ClusterNode {
            node: member.node,
            api_url: member.api_url,
            // An unreachable node may have another role by now, so its last known role is not
            // reported.
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

    use crate::http::testing::{TERM, TestNode, following, leading, leading_until, request, without_leader};
    use crate::storage::{Backend, Fault, Key};
    use rollcall_core::MemberRole;
    use rollcall_core::clock;
    use rollcall_core::{BootMs, Load};
    use rollcall_election::Member;

    #[tokio::test]
    async fn health_on_the_leader_counts_its_own_clients() {
        let node = TestNode::with_alice_and_bob().await;
        node.cluster_online.send_replace(99);
        node.post("/heartbeat", r#"{"username":"alice"}"#).await;
        let json = node.get("/").await.json();
        assert_eq!(
            json,
            json!({
                "status": "ok", "service": "rollcall", "is_leader": true, "online_clients_count": 1, "current_leader": "127.0.0.1:8080",
                "leader_url": "http://127.0.0.1:3000", "term": 7, "node": "127.0.0.1:8080", "role": "leader",
                "version": "1.2.3", "uptime_seconds": 0,
            })
        );
    }

    #[tokio::test]
    async fn health_on_a_follower_has_the_online_count_of_the_leader() {
        let node = TestNode::new(following());
        node.cluster_online.send_replace(99);
        let json = node.get("/").await.json();
        assert_eq!((&json["is_leader"], &json["online_clients_count"]), (&json!(false), &json!(99)));
        assert_eq!((&json["current_leader"], &json["role"]), (&json!("127.0.0.1:8081"), &json!("follower")));
    }

    #[tokio::test]
    async fn a_leader_without_a_valid_lease_reports_no_leader() {
        let node = TestNode::new(leading_until(clock::boot_now(), TERM));
        let json = node.get("/").await.json();
        assert_eq!((&json["is_leader"], &json["current_leader"]), (&json!(false), &json!(null)));
        node.get("/leader").await.expect_error(503, "no_leader");
    }

    #[tokio::test]
    async fn every_node_is_alive_and_only_the_leader_answers_200_on_its_route() {
        for (role, leads) in [
            (leading(), true),
            (following(), false),
            (without_leader(), false),
            (leading_until(clock::boot_now(), TERM), false),
        ] {
            let node = TestNode::new(role);
            assert_eq!(node.get("/livez").await.json(), json!({"status": "ok"}));
            assert_eq!(node.get("/status").await.json(), json!({"status": "ok", "is_leader": leads}));
            assert_eq!(node.send(request("HEAD", "/", "")).await.status, 200);
        }
        assert_eq!(TestNode::new(leading()).get("/leader").await.status, 200);
        assert_eq!(TestNode::new(following()).get("/leader").await.status, 403);
        assert_eq!(TestNode::new(without_leader()).get("/leader").await.status, 503);
    }

    #[tokio::test]
    async fn a_node_is_ready_when_it_knows_a_leader_and_the_bucket_can_be_read_and_written() {
        for role in [leading(), following()] {
            let node = TestNode::new(role);
            node.memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
            assert_eq!(node.get("/readyz").await.json(), json!({"status": "ok"}));
        }
        TestNode::new(following()).get("/readyz").await.expect_error(503, "storage_unavailable");
        TestNode::new(without_leader()).get("/readyz").await.expect_error(503, "no_leader");
        let node = TestNode::new(following());
        node.memory.faults().set_outage(Some(Fault::Transient));
        node.get("/readyz").await.expect_error(503, "storage_unavailable");

        let node = TestNode::new(following());
        node.memory.create(&Key::Cluster, b"{}".as_slice().into()).await.unwrap();
        // The read succeeds, and the write fails.
        node.memory.faults().inject(1, &Fault::None);
        node.memory.faults().inject(1, &Fault::Permanent);
        node.get("/readyz").await.expect_error(503, "storage_unavailable");
    }

    #[tokio::test]
    async fn cluster_lists_every_node_and_hides_the_role_of_an_unreachable_one() {
        let node = TestNode::new(leading());
        let unreachable_node = Member {
            node: "127.0.0.1:8081".parse().unwrap(),
            api_url: None,
            role: Some(MemberRole::Leader),
            reachable: false,
            load: Some(Load::from_permille(250)),
            term: Some(TERM),
            last_heard: Some(BootMs::NEVER),
        };
        let reachable_node = Member { reachable: true, ..unreachable_node.clone() };
        node.members.send_replace(vec![unreachable_node, reachable_node]);
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
