//! A cluster on Google Drive, with the variables of requirement 001.

use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Plan, until};
use crate::election::clients::{Client, Outcome};
use crate::sample_images::png;

fn plan(server: &DriveServer) -> Plan {
    server.variables().into_iter().fold(Plan::quick(), |plan, (name, value)| plan.env(name, &value))
}

/// Starts a cluster on a folder that has a slot table, so that no node waits for one.
async fn start(server: &DriveServer) -> Cluster {
    drop(super::drive::node(server).await);
    plan(server).start().await
}

#[tokio::test]
async fn a_cluster_works_on_google_drive() {
    let server = DriveServer::start();
    let mut cluster = start(&server).await;
    let banner = cluster.stdout(0);
    for line in [
        format!("initialized (Google Drive folder {FOLDER} of the shared drive {DRIVE}"),
        "contract-tested against Google's API description; never run against Google".to_owned(),
        "🚀 HTTP API server listening on http://".to_owned(),
        "✓ Leader election TCP listener bound to ".to_owned(),
    ] {
        assert!(banner.contains(&line), "{line} in {banner}");
    }
    let id = cluster.register("alice", "10.0.0.1:9000").await;
    let picture = png(64, 64, 5);
    let image = cluster.upload("alice", &picture).await;
    cluster.heartbeat("alice").await;
    assert!(!cluster.dir().join("data/bucket").exists(), "nothing is stored locally");
    assert_eq!(server.contents(&format!("users/alice/images/{image}")), std::slice::from_ref(&picture));

    let old = cluster.leader().await;
    cluster.kill9(old);
    cluster.leader_after(old).await;
    cluster.heartbeat("alice").await;
    assert_eq!(cluster.lead().get("/users").await.json()["users"][0]["id"], id.as_str());
    assert_eq!(cluster.lead().get(&format!("/image/alice/{image}")).await.body, picture);
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await.expect_error(409, "user_exists");
    cluster.start(old);
}

#[tokio::test]
async fn users_of_a_program_of_requirement_001_are_users_of_the_cluster() {
    let server = DriveServer::start();
    let id = "6f1f5a52-0d5c-4b8e-9c6b-3c1f5a520d5c";
    server.put(
        &format!("user-{id}.json"),
        format!(r#"{{"id":"{id}","username":"alice","addr":"192.168.1.10:9000","registered_at":"2025-12-06T18:19:25.123456789Z"}}"#),
    );
    drop(super::drive::node(&server).await);
    let cluster = plan(&server).nodes(1).start().await;
    cluster
        .lead()
        .post("/register", r#"{"username":"alice","addr":"10.9.9.9:1"}"#)
        .await
        .expect_error(409, "user_exists");
    cluster.heartbeat("alice").await;
    let users = cluster.lead().get("/users").await.json();
    assert_eq!((users["count"].as_u64(), users["users"][0]["id"].as_str()), (Some(1), Some(id)), "{users}");
}

/// The drive decides who is first, not the election.
#[tokio::test]
async fn exactly_one_of_20_clients_gets_a_name_through_changes_of_the_leader() {
    let server = DriveServer::start();
    let mut cluster = start(&server).await;
    for round in 0..4 {
        let leader = cluster.leader().await;
        let name = format!("name{round}");
        let mut racing = JoinSet::new();
        for n in 0..20 {
            let (mut client, name) = (Client::new(&cluster, 3, (leader + n) % 3), name.clone());
            racing.spawn(async move { client.register(&name, &format!("10.0.0.{n}:9000")).await });
        }
        if round % 2 == 0 {
            cluster.kill9(leader);
        } else {
            assert_eq!(cluster.sigterm(leader).await.code(), Some(0));
        }
        cluster.leader_after(leader).await;
        cluster.start(leader);
        let outcomes = racing.join_all().await;
        let winners: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Registered(_))).collect();
        let [Outcome::Registered(id)] = winners[..] else { panic!("{name}: {outcomes:?}") };
        let stored = server.contents(&format!("users/{name}/profile.json"));
        assert!(stored.len() == 1 && String::from_utf8_lossy(&stored[0]).contains(id), "{name}: {stored:?}");
        until("the old leader to answer", async || cluster.health(leader).await.is_some()).await;
    }
}
