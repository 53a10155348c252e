//! A cluster on Google Drive, with the variables of requirement 001.

use std::collections::BTreeMap;

use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER};
use rollcall_test_support::fault_proxy::{Fault, FaultProxy, Rule};
use serde_json::Value;
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

#[tokio::test]
async fn a_node_whose_table_was_lost_exits_with_78_and_names_the_remedy() {
    let server = DriveServer::start();
    drop(super::drive::node(&server).await);
    let mut cluster = plan(&server).nodes(1).start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.kill9(0);
    server.purge(".rollcall-slots-1.json");
    cluster.start(0);
    assert_eq!(cluster.end(0).await.code(), Some(78));
    let log = cluster.stderr(0);
    assert!(log.contains("restore that file from the trash of the drive, or use an empty folder"), "{log}");
    assert!(server.contents(".rollcall-slots-1.json").is_empty(), "no other table was made");
}

/// Clients of a race. Each address has two of them, so that a repeated registration is one, too.
const CLIENTS: usize = 20;

/// The leader of the race ends in a different way each round: by kill or by SIGTERM, at once or
/// while the drive holds back the answer to the create of the name.
const ROUNDS: usize = 8;

/// The drive decides who is first, not the election.
#[tokio::test]
async fn exactly_one_of_20_clients_gets_a_name_through_changes_of_the_leader() {
    let server = DriveServer::start();
    let proxy = FaultProxy::start(&server.url());
    drop(super::drive::node(&server).await);
    let mut cluster = plan(&server).env("DRIVE_EMULATOR_HOST", &proxy.url()).start().await;
    let mut ids = BTreeMap::new();
    for round in 0..ROUNDS {
        let leader = cluster.leader().await;
        let name = format!("name{round}");
        let is_held_back = round % 4 >= 2;
        if is_held_back {
            proxy.inject(Rule::once(Fault::StallResponse).method("POST"));
        }
        let mut racing = JoinSet::new();
        for n in 0..CLIENTS {
            let (mut client, name) = (Client::new(&cluster, 3, (leader + n) % 3), name.clone());
            racing.spawn(async move { client.register(&name, &format!("10.0.0.{}:9000", n / 2)).await });
        }
        if is_held_back {
            until("a create on the drive", async || !history(&server, &name).is_empty()).await;
        }
        if round % 2 == 0 {
            cluster.kill9(leader);
        } else {
            assert_eq!(cluster.sigterm(leader).await.code(), Some(0));
        }
        proxy.clear();
        cluster.leader_after(leader).await;
        cluster.start(leader);
        ids.insert(name.clone(), check_race(&server, &name, &racing.join_all().await));
        until("the old leader to answer", async || cluster.health(leader).await.is_some()).await;
    }
    restart_without_snapshots(&mut cluster).await;
    let mut listed = None;
    // The leader refuses the list until it has read the whole drive.
    until("the list of users", async || {
        let users = cluster.lead().get("/users").await;
        listed = (users.status == 200).then(|| users.json());
        listed.is_some()
    })
    .await;
    let listed = listed.expect("waited for");
    let users = listed["users"].as_array().expect("a list").iter();
    let users: Vec<_> = users.map(|user| (user["username"].as_str(), user["id"].as_str())).collect();
    let expected: Vec<_> = ids.iter().map(|(name, id)| (Some(name.as_str()), Some(id.as_str()))).collect();
    assert_eq!(users, expected, "{listed}");
    for (name, id) in &ids {
        assert_eq!(history(&server, name), [id.as_str()], "{name}");
    }
}

/// The id in each write so far to the profile of a name.
fn history(server: &DriveServer, name: &str) -> Vec<String> {
    let writes = server.history(&format!("users/{name}/profile.json"));
    writes
        .iter()
        .map(|bytes| {
            let profile: Value = serde_json::from_slice(bytes).expect("JSON");
            profile["id"].as_str().expect("an id").to_owned()
        })
        .collect()
}

/// Checks that every acknowledged answer names the only id of the name, and that nobody else got an
/// answer. Returns the id.
fn check_race(server: &DriveServer, name: &str, outcomes: &[Outcome]) -> String {
    let acknowledged: Vec<&String> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Registered(id) = outcome { Some(id) } else { None })
        .collect();
    let [id] = &history(server, name)[..] else { panic!("{name} was written more than once: {outcomes:?}") };
    // Both clients with the address of the winner.
    assert_eq!(acknowledged, [id; 2], "{name}: {outcomes:?}");
    assert_eq!(server.contents(&format!("users/{name}/profile.json")).len(), 1, "{name}");
    id.clone()
}

/// Kills all nodes, and starts them with what the drive alone knows.
async fn restart_without_snapshots(cluster: &mut Cluster) {
    for index in 0..3 {
        cluster.kill9(index);
        // A node that was killed early has none.
        let _ = std::fs::remove_file(cluster.node_dir(index).join("snapshot"));
    }
    (0..3).for_each(|index| cluster.start(index));
    cluster.leader().await;
}
