//! Takeover: lists of users and clients after a change of the leader.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Plan, until};

const CLIENTS: usize = 40;

/// Time in which a started follower becomes up to date, even on a busy machine. Three status
/// messages of the leader are enough.
const CATCH_UP_TIME: Duration = Duration::from_secs(3);

fn name(number: usize) -> String {
    format!("client{number:02}")
}

async fn names(cluster: &Cluster, leader: usize, path: &str, list: &str) -> Vec<String> {
    let answer = cluster.at(leader).get(path).await;
    assert_eq!(answer.status, 200, "{answer}");
    let rows = answer.json()[list].as_array().expect("a list").clone();
    rows.iter().map(|row| row["username"].as_str().expect("a name").to_owned()).collect()
}

async fn register_all(cluster: &Cluster) -> Vec<String> {
    let all: Vec<String> = (0..CLIENTS).map(name).collect();
    for name in &all {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    all
}

#[tokio::test]
async fn the_first_list_of_a_new_leader_has_every_online_client_with_its_address() {
    let mut cluster = Plan::documented().start().await;
    let all = register_all(&cluster).await;
    for name in &all {
        let body = json!({"username": name, "addr": "10.9.9.9:4321"}).to_string();
        assert_eq!(cluster.lead().post("/heartbeat", body).await.status, 200);
    }
    sleep(CATCH_UP_TIME).await;
    for _ in 0..2 {
        let old = cluster.leader().await;
        cluster.kill9(old);
        let new = cluster.leader_after(old).await;
        // One request without retries.
        let online = cluster.at(new).get("/discover").await.json();
        let clients = online["online_clients"].as_array().expect("a list");
        assert_eq!(clients.len(), CLIENTS, "{online}");
        assert!(clients.iter().all(|client| client["addr"] == "10.9.9.9:4321"), "{online}");
        assert_eq!(names(&cluster, new, "/users", "users").await, all);
        cluster.start(old);
        until("the killed node to follow", async || has_all(&cluster, old, new).await).await;
    }
}

/// Whether a follower knows the leader and the number of online clients.
async fn has_all(cluster: &Cluster, follower: usize, leader: usize) -> bool {
    let health = cluster.health(follower).await;
    health.is_some_and(|health| {
        health["current_leader"] == cluster.name(leader) && health["online_clients_count"] == CLIENTS
    })
}

#[tokio::test]
async fn a_follower_serves_stale_lists_on_request_and_reports_their_age() {
    let cluster = Plan::documented().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let (follower, leader) = cluster.follower().await;
    let refused = cluster.at(follower).get("/discover").await;
    assert_eq!(refused.status, 403, "a stale read must be requested: {refused}");
    let mut online = json!(null);
    until("the follower's copy", async || {
        let answer = cluster.at(follower).get("/discover?stale=true").await;
        online = answer.json();
        let age_ms = answer.header("rollcall-age-ms").and_then(|age| age.parse::<u64>().ok());
        assert!(age_ms.is_none_or(|age_ms| age_ms < 5000), "{answer}");
        answer.status == 200 && age_ms.is_some() && online["count"] == 1
    })
    .await;
    assert_eq!(online["online_clients"], json!([{"username": "alice", "addr": "10.0.0.1:9000"}]));
    assert_eq!(online["is_leader"], false);
    // The next status message of the leader says that its list of users is complete.
    until("the follower's copy of all users", async || {
        let users = cluster.at(follower).get("/users?stale=true&limit=1").await;
        assert!(users.status == 200 || users.json()["code"] == "index_rebuilding", "{users}");
        users.status == 200 && users.json()["users"][0]["username"] == "alice"
    })
    .await;
    assert_eq!(cluster.at(follower).get("/discovery/online?stale").await.json()["online"], json!(["alice"]));
    // A list of the leader has no age, and other routes have no stale reads.
    let fresh = cluster.at(leader).get("/discover?stale=true").await;
    assert_eq!((fresh.json()["is_leader"].clone(), fresh.header("rollcall-age-ms")), (json!(true), None));
    assert_eq!(cluster.at(follower).get("/images/alice?stale=true").await.status, 403);
    assert_eq!(cluster.at(follower).get("/users?stale=true&limit=x").await.status, 400);
}

/// The node knows no client when it starts to lead, so it must pull from the others before it
/// answers.
#[tokio::test]
async fn a_node_that_leads_right_after_its_start_serves_no_empty_list() {
    let mut plan = Plan::documented();
    for index in 0..3 {
        plan = plan.env_of(index, "ROLLCALL_LOAD_SOURCE", &format!("file:load-{index}"));
    }
    let mut cluster = plan.start().await;
    for round in 0..2 {
        let old = cluster.leader().await;
        let (new, third) = ((old + 1) % 3, (old + 2) % 3);
        for (index, load) in [(old, "0.5"), (new, "0.0"), (third, "1.0")] {
            fs::write(cluster.dir().join(format!("load-{index}")), load).expect("writable");
        }
        let all = register_all(&cluster).await;
        for name in &all {
            cluster.heartbeat(name).await;
        }
        sleep(CATCH_UP_TIME).await;
        cluster.kill9(new);
        let _ = fs::remove_file(cluster.node_dir(new).join("snapshot"));
        cluster.start(new);
        until("the new node to answer", async || cluster.health(new).await.is_some()).await;
        cluster.kill9(old);
        let leader = cluster.leader_after(old).await;
        let online = cluster.at(leader).get("/discover").await;
        assert_eq!(online.json()["count"], CLIENTS, "round {round}, node {leader}: {online}");
        cluster.start(old);
        until("the old node to answer", async || cluster.health(old).await.is_some()).await;
    }
}

/// The bucket cannot be read, so all users of the new leader come from other nodes.
#[tokio::test]
async fn a_new_leader_lists_all_users_during_an_outage_of_the_bucket_and_writes_after_it() {
    let mut cluster = Plan::documented().start().await;
    let all = register_all(&cluster).await;
    // The followers must be up to date once. Before that they would have to read the bucket.
    sleep(CATCH_UP_TIME).await;
    let away = cluster.dir().join("data/away");
    fs::rename(cluster.bucket(), &away).expect("the bucket goes away");
    let old = cluster.leader().await;
    cluster.kill9(old);
    let new = cluster.leader_after(old).await;
    assert_eq!(names(&cluster, new, "/users", "users").await, all);
    cluster.heartbeat(&all[0]).await;
    assert_eq!(names(&cluster, new, "/discover", "online_clients").await, all[..1]);

    let refused = cluster.at(new).post("/register", r#"{"username":"late"}"#).await;
    assert_eq!(refused.status, 503, "{refused}");
    assert_eq!(refused.json()["code"], "storage_unavailable");
    fs::rename(&away, cluster.bucket()).expect("the bucket comes back");
    until("writes", async || cluster.at(new).post("/register", r#"{"username":"late"}"#).await.status == 201).await;
    assert_eq!(names(&cluster, new, "/users", "users").await.len(), CLIENTS + 1);
}

#[tokio::test]
async fn a_registration_acknowledged_right_before_the_leaders_death_is_in_the_next_leaders_first_list() {
    let mut cluster = Plan::quick().start().await;
    for round in 0..6 {
        let old = cluster.leader().await;
        let name = format!("last{round}");
        let answer = cluster.at(old).post("/register", json!({"username": name}).to_string()).await;
        cluster.kill9(old);
        assert_eq!(answer.status, 201, "{answer}");
        let new = cluster.leader_after(old).await;
        let users = names(&cluster, new, "/users", "users").await;
        assert!(users.contains(&name), "{name} is not in {users:?}");
        cluster.start(old);
        until("the killed node to answer", async || cluster.health(old).await.is_some()).await;
    }
}

/// Ten leaders in a row end by SIGKILL or SIGTERM. A client without heartbeats goes offline in
/// time, and a client with heartbeats stays online.
#[tokio::test]
async fn across_ten_elections_only_the_silent_client_goes_offline() {
    const TTL: Duration = Duration::from_secs(4);
    const MAX_EXTENSION: Duration = Duration::from_secs(15);
    let mut cluster = Plan::quick().env("HEARTBEAT_TTL_SECONDS", "4").start().await;
    for name in ["silent", "lively"] {
        cluster.register(name, "10.0.0.1:9000").await;
    }
    cluster.heartbeat("lively").await;
    // The heartbeat of the silent client was accepted between these two times.
    let not_before = Instant::now();
    cluster.heartbeat("silent").await;
    let silent_since = Instant::now();
    // The server counts in whole milliseconds.
    let earliest = TTL.saturating_sub(Duration::from_millis(2));
    for round in 0..10 {
        sleep(Duration::from_millis(700)).await;
        let old = cluster.leader().await;
        if round % 2 == 0 {
            cluster.kill9(old);
        } else {
            cluster.sigterm(old).await;
        }
        let new = cluster.leader_after(old).await;
        let online = names(&cluster, new, "/discover", "online_clients").await;
        assert!(online.contains(&"lively".to_owned()), "round {round}: {online:?}");
        let silent = online.contains(&"silent".to_owned());
        assert!(silent || not_before.elapsed() >= earliest, "offline after {:?}", silent_since.elapsed());
        assert!(
            !silent || silent_since.elapsed() < TTL + MAX_EXTENSION,
            "still online after {:?}",
            silent_since.elapsed()
        );
        cluster.heartbeat("lively").await;
        cluster.start(old);
        until("the node to answer", async || cluster.health(old).await.is_some()).await;
    }
    until("the silent client to go offline", async || {
        let online: Value = cluster.lead().get("/discovery/online").await.json();
        let silent = online["online"].as_array().expect("a list").contains(&json!("silent"));
        assert!(
            !silent || silent_since.elapsed() < TTL + MAX_EXTENSION,
            "still online after {:?}",
            silent_since.elapsed()
        );
        !silent
    })
    .await;
}
