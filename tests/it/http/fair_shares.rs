//! One address cannot take service from another one, whatever it does with its connections.
//!
//! The times come from `cargo bench --bench figures -- attack`, which requires that requests end
//! within a second. Here the machine may be busy, so only the timeout of the HTTP client (10 s)
//! bounds a request.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tokio::sync::Mutex;

use crate::attack::{Attack, Victim};
use crate::cluster::{Cluster, Plan, rollcall_with_open_files, until};

/// Rounds of a registration, a heartbeat, a list and a login. Of these 200 requests, two may fail.
const ROUNDS: usize = 50;

/// Requests of the victim that must succeed, in percent.
const MUST_SUCCEED: usize = 99;

/// Held by the running attack. Two attacks at once would take the processor from each other's
/// victims.
static ATTACK: Mutex<()> = Mutex::const_new(());

fn api(cluster: &Cluster, node: usize) -> SocketAddr {
    let (_, port) = cluster.api(node);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A node with this number of connections. A single node leads all the time.
fn one_node(max_connections: usize) -> Plan {
    Plan::documented().nodes(1).env("ROLLCALL_MAX_CONNECTIONS", &max_connections.to_string())
}

/// Checks that a victim is served while one address attacks on `attacking` connections.
async fn check(attack: Attack, plan: Plan, attacking: usize) {
    let _alone = ATTACK.lock().await;
    let cluster = plan.start().await;
    let node = api(&cluster, cluster.leader().await);
    if attack == Attack::SlowReaders {
        // The list of users does not fit into the buffers of a connection.
        for n in 0..400 {
            let body = json!({"username": format!("long-{n}"), "metadata": {"text": "x".repeat(4000)}});
            assert_eq!(cluster.at(0).post("/register", body.to_string()).await.status, 201);
        }
    }
    let victim = Victim::register(node).await;
    let running = attack.start(node, attacking).await;
    until("the attack", async || running.answers(attack.expected_answer()) > 0).await;
    let report = victim.work("friend", ROUNDS).await;
    let ((sent, succeeded), answers) = (report.counts(), running.summary());
    let failures: Vec<_> = report.failures().collect();
    assert!(
        succeeded * 100 >= sent * MUST_SUCCEED,
        "{attack:?}: {succeeded} of {sent} requests succeeded; the attacker got {answers}; {failures:#?}"
    );
}

#[tokio::test]
async fn idle_connections_of_one_address_do_not_hinder_another_one() {
    check(Attack::IdleConnections, one_node(32), 100).await;
}

#[tokio::test]
async fn a_storm_of_connections_from_one_address_does_not_hinder_another_one() {
    check(Attack::ConnectionStorm, one_node(32), 100).await;
}

#[tokio::test]
async fn half_sent_heads_of_one_address_do_not_hinder_another_one() {
    check(Attack::HalfHeads, one_node(32), 100).await;
}

#[tokio::test]
async fn half_sent_bodies_of_one_address_do_not_hinder_another_one() {
    check(Attack::HalfBodies, one_node(32), 100).await;
}

#[tokio::test]
async fn slow_readers_of_one_address_do_not_hinder_another_one() {
    // Enough readers for all permits of the list budget.
    check(Attack::SlowReaders, one_node(400).unlimited_registrations(), 300).await;
}

#[tokio::test]
async fn long_polls_of_one_address_do_not_hinder_another_one() {
    check(Attack::LongPolls, one_node(32), 100).await;
}

#[tokio::test]
async fn a_flood_of_uploads_from_one_address_does_not_hinder_another_one() {
    // The quota is small, so that it is soon used up.
    check(Attack::Uploads, one_node(80).env("ROLLCALL_MAX_IMAGES_PER_USER", "20"), 120).await;
}

#[tokio::test]
async fn a_flood_of_registrations_from_one_address_does_not_hinder_another_one() {
    check(Attack::Registrations, one_node(32), 100).await;
}

#[tokio::test]
async fn a_flood_of_passwords_from_one_address_does_not_hinder_another_one() {
    // Without the rate, the connections fill the queue of passwords.
    check(Attack::PasswordRegistrations, one_node(80).unlimited_registrations(), 120).await;
}

#[tokio::test]
async fn a_flood_of_logins_from_one_address_does_not_hinder_another_one() {
    // An address may have 60 logins at once.
    check(Attack::Logins, one_node(50).unlimited_registrations(), 58).await;
}

#[tokio::test]
async fn guesses_of_passwords_from_one_address_do_not_hinder_another_one() {
    check(Attack::Guesses, one_node(32).unlimited_registrations(), 100).await;
}

#[tokio::test]
async fn a_node_with_few_open_files_serves_new_connections_while_one_address_holds_idle_ones() {
    check(Attack::IdleConnections, Plan::documented().nodes(1).with_open_files(64), 100).await;
}

#[tokio::test]
async fn nodes_with_few_open_files_elect_and_store_while_one_address_holds_idle_connections() {
    let cluster = Plan::documented().with_open_files(64).start().await;
    let mut running = Vec::new();
    for node in 0..3 {
        running.push(Attack::IdleConnections.start(api(&cluster, node), 50).await);
    }
    for attack in &running {
        until("the attack", async || attack.answers(Attack::IdleConnections.expected_answer()) >= 50).await;
    }
    for n in 0..10 {
        let username = format!("user-{n}");
        cluster.register(&username, "10.0.0.1:9000").await;
        cluster.heartbeat(&username).await;
    }
    drop(running);
    for node in 0..3 {
        let output = cluster.stdout(node) + &cluster.stderr(node);
        assert!(output.contains("max_connections=16384"), "the log says how many connections there are: {output}");
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
