//! Responses of a node that does not lead.

use serde_json::json;

use crate::cluster::{Cluster, Plan};
use crate::sample_images::png;

const LEADER_ONLY_PATHS: &[&str] = &[
    "/users",
    "/discover",
    "/discovery/online",
    "/discover_with_images",
    "/images/alice",
    "/image/alice/1733511234-a1b2c3d4.png",
    "/leader",
];

/// Runs `ask` with a follower and the leader. Repeats it if the leader or its term changed
/// meanwhile. Returns the result and the leader's health.
async fn with_stable_leader<T>(cluster: &Cluster, ask: impl AsyncFn(usize, usize) -> T) -> (T, serde_json::Value) {
    loop {
        let (follower, leader) = cluster.follower().await;
        let before = cluster.health(leader).await;
        let answer = ask(follower, leader).await;
        let after = cluster.health(leader).await;
        if let (Some(before), Some(after)) = (before, after)
            && (&before["term"], &before["is_leader"]) == (&after["term"], &json!(true))
        {
            return (answer, after);
        }
    }
}

#[tokio::test]
async fn a_follower_names_the_leader_on_every_leader_only_route() {
    let cluster = Plan::documented().start().await;
    for path in LEADER_ONLY_PATHS {
        let (answer, leader) =
            with_stable_leader(&cluster, async |follower, _| cluster.at(follower).get(path).await).await;
        check_not_leader(&answer, &leader);
    }
    for path in ["/register", "/heartbeat", "/login", "/password", "/upload_image/alice"] {
        let (large, larger) = (vec![0xff; 100_000], vec![0; 1_000_000]);
        for body in [&b""[..], b"nonsense", br#"{"username":"alice"}"#, &large, &larger] {
            let body = bytes::Bytes::copy_from_slice(body);
            let ask = async |follower, _| cluster.at(follower).post(path, body.clone()).await;
            let (answer, leader) = with_stable_leader(&cluster, ask).await;
            check_not_leader(&answer, &leader);
        }
    }
    assert_eq!(cluster.stored(), Vec::<String>::new());
}

fn check_not_leader(answer: &crate::cluster::Response, leader: &serde_json::Value) {
    let message = answer.expect_error(403, "not_leader");
    let name = leader["node"].as_str().expect("text");
    assert_eq!(message, format!("This node is not the leader. Current leader: {name}"));
    let json = answer.json();
    assert_eq!(
        (&json["leader"], &json["leader_url"], &json["term"]),
        (&leader["node"], &leader["leader_url"], &leader["term"])
    );
    assert_eq!(answer.header("rollcall-leader"), Some(name));
    assert_eq!(answer.header("rollcall-leader-url"), leader["leader_url"].as_str());
    assert_eq!(answer.header("rollcall-term").map(str::to_owned), Some(leader["term"].to_string()));
}

#[tokio::test]
async fn a_follower_answers_before_the_body_arrives() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = Plan::documented().start().await;
    let (follower, _) = cluster.follower().await;
    let mut socket = tokio::net::TcpStream::connect(cluster.api(follower)).await.expect("the node listens");
    let head = "POST /register HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\nexpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("the node reads");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("the node answers");
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn a_request_with_redirect_is_redirected_to_the_leader() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let ask = async |follower, _| cluster.at(follower).get("/users?redirect&prefix=a").await;
    let (answer, leader) = with_stable_leader(&cluster, ask).await;
    assert_eq!(answer.status, 307, "{answer}");
    let location = answer.header("location").expect("the URL of the leader");
    assert_eq!(location, format!("{}/users?prefix=a", leader["leader_url"].as_str().expect("text")));
    let path = location.rsplit_once(|c: char| c.is_ascii_digit()).map(|(_, path)| path).expect("a port");
    assert_eq!(cluster.lead().get(path).await.json()["count"], 1);
    // The leader does not redirect.
    assert_eq!(cluster.lead().get("/users?redirect").await.status, 200);
}

#[tokio::test]
async fn every_node_answers_the_routes_that_are_not_leader_only() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    for index in 0..3 {
        for path in ["/", "/status", "/livez", "/cluster"] {
            assert_eq!(cluster.at(index).get(path).await.status, 200, "{path}");
        }
        crate::cluster::until("a ready node", async || cluster.at(index).get("/readyz").await.status == 200).await;
        // The count is that of the whole cluster. A follower receives it with the heartbeats of the
        // leader.
        crate::cluster::until("the count of the whole cluster", async || {
            // The test repeats the heartbeat, as clients do, because a new leader may not know the
            // clients of its predecessor.
            cluster.heartbeat("alice").await;
            cluster.health(index).await.is_some_and(|health| health["online_clients_count"] == 1)
        })
        .await;
    }
    let described = cluster.at(0).get("/cluster").await.json();
    assert_eq!(described["count"], 3);
    for (index, node) in described["nodes"].as_array().expect("a list").iter().enumerate() {
        let node_index =
            (0..3).find(|node_index| node["node"] == cluster.name(*node_index)).expect("a node of this cluster");
        assert_eq!(node["api_url"], cluster.url(node_index), "{index}: {node}");
        assert_eq!(node["reachable"], true, "{node}");
    }
}

#[tokio::test]
async fn an_upload_to_a_follower_is_rejected_and_stores_nothing() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let ask = async |follower, _| cluster.at(follower).upload("alice", &png(128, 128, 0)).await;
    let (answer, leader) = with_stable_leader(&cluster, ask).await;
    check_not_leader(&answer, &leader);
    assert_eq!(cluster.stored(), ["users/alice/profile.json"]);
}
