//! One address cannot take service from another one, whatever it does with its connections.
//!
//! The figures come from `cargo bench --bench figures -- attack`. Here the times are bounded by the
//! timeout of the HTTP client alone, because the machine may be busy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use crate::attack::{Attack, measure_victim};
use crate::cluster::{Cluster, Plan, rollcall_with_open_files};

/// Rounds of a registration, a heartbeat and a list.
const ROUNDS: usize = 20;

/// Requests of the victim that must succeed, in percent. The promise is 99; one of sixty requests
/// may fail because the machine is busy. Without fair shares almost all fail.
const MUST_SUCCEED: f64 = 95.0;

fn api(cluster: &Cluster, node: usize) -> SocketAddr {
    let (_, port) = cluster.api(node);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Checks that a victim is served during an attack on a node with few connections.
async fn check(attack: Attack, max_connections: usize, attacking: usize) {
    let limit = max_connections.to_string();
    let plan = Plan::documented().nodes(1).env("ROLLCALL_MAX_CONNECTIONS", &limit);
    let cluster = plan.unlimited_registrations().start().await;
    let leader = cluster.leader().await;
    if attack == Attack::SlowReaders {
        // The list of users does not fit into the buffers of a connection.
        for n in 0..400 {
            let body = json!({"username": format!("long-{n}"), "metadata": {"text": "x".repeat(4000)}});
            assert_eq!(cluster.at(leader).post("/register", body.to_string()).await.status, 201);
        }
    }
    let running = attack.start(api(&cluster, leader), attacking).await;
    let report = measure_victim(api(&cluster, leader), "victim", ROUNDS).await;
    drop(running);
    let succeeded = report.percent_within(Duration::MAX);
    assert!(succeeded >= MUST_SUCCEED, "{attack:?}: {succeeded}% succeeded: {:?}", report.failures);
}

#[tokio::test]
async fn idle_connections_of_one_address_do_not_hinder_another_one() {
    check(Attack::IdleConnections, 32, 100).await;
}

#[tokio::test]
async fn half_sent_heads_of_one_address_do_not_hinder_another_one() {
    check(Attack::HalfHeads, 32, 100).await;
}

#[tokio::test]
async fn half_sent_bodies_of_one_address_do_not_hinder_another_one() {
    check(Attack::HalfBodies, 32, 100).await;
}

#[tokio::test]
async fn long_polls_of_one_address_do_not_hinder_another_one() {
    check(Attack::LongPolls, 32, 100).await;
}

#[tokio::test]
async fn slow_readers_of_one_address_do_not_hinder_another_one() {
    // Enough readers for all permits of the list budget.
    check(Attack::SlowReaders, 400, 300).await;
}

#[tokio::test]
async fn a_flood_of_logins_from_one_address_does_not_hinder_another_one() {
    check(Attack::Logins, 400, 100).await;
}

#[tokio::test]
async fn a_node_with_few_open_files_serves_new_connections_while_one_address_holds_idle_ones() {
    let cluster = Plan::documented().with_open_files(64).start().await;
    cluster.register("first", "10.0.0.1:9000").await;
    let leader = cluster.leader().await;
    let running = Attack::IdleConnections.start(api(&cluster, leader), 100).await;
    let report = measure_victim(api(&cluster, leader), "victim", ROUNDS).await;
    // Another node may lead after a slow start. The attack goes on at the first one.
    let is_same = cluster.leader().await == leader;
    let succeeded = report.percent_within(Duration::MAX);
    assert!(!is_same || succeeded >= MUST_SUCCEED, "{succeeded}% succeeded: {:?}", report.failures);
    // The election and the bucket work, too.
    for n in 0..10 {
        let username = format!("later-{n}");
        cluster.register(&username, "10.0.0.1:9000").await;
        cluster.heartbeat(&username).await;
    }
    drop(running);
    for node in 0..3 {
        let stdout = cluster.stdout(node) + &cluster.stderr(node);
        assert!(stdout.contains("max_connections=16384"), "the log says how many connections there are: {stdout}");
    }
}

#[tokio::test]
async fn a_node_that_may_open_too_few_files_does_not_start_and_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = tokio::process::Command::from(rollcall_with_open_files(dir.path(), 63));
    command.args(["--this-node", "127.0.0.1:1", "--peers", "127.0.0.1:1", "--api-port", "2"]).kill_on_drop(true);
    let output = command.output().await.expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("may open 63 files") && text.contains("at least 64") && text.contains("ulimit -n"), "{text}");
}
