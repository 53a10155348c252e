//! Clusters of three nodes on real servers: normal operation, races and restarts.

use futures_util::future::join_all;
use rollcall_test_support::cluster::{Cluster, Plan, until};
use rollcall_test_support::sample_images::png;

use crate::servers::{AZURE_ACCOUNT, AZURE_KEY, azurite, moto, new_bucket, new_container};

/// Number of users for a listing of several pages. A page of a listing has 1000 names.
const MANY_USERS: usize = 1200;

/// Number of clients that register one name at the same time.
const RACING_CLIENTS: usize = 50;

fn with_variables(variables: &[(&str, &str)]) -> Plan {
    variables.iter().fold(Plan::quick(), |plan, (name, value)| plan.env(name, value))
}

async fn on_s3() -> Plan {
    with_variables(&[
        ("S3_BUCKET", &format!("s3://{}/nodes/", new_bucket().await)),
        ("S3_ENDPOINT", moto()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ])
}

async fn on_azure() -> Plan {
    with_variables(&[
        ("AZURE_CONTAINER", &format!("{}/nodes", new_container().await)),
        ("AZURE_STORAGE_ENDPOINT", &format!("{}/{AZURE_ACCOUNT}", azurite())),
        ("AZURE_STORAGE_ACCOUNT", AZURE_ACCOUNT),
        ("AZURE_STORAGE_KEY", AZURE_KEY),
    ])
}

/// Generates a test of each behaviour below on each store.
macro_rules! on_every_store {
    ($($behaviour:ident),* $(,)?) => {
        mod s3 {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour(super::on_s3().await.start().await).await;
                }
            )*
        }
        mod azure {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    super::$behaviour(super::on_azure().await.start().await).await;
                }
            )*
        }
    };
}

on_every_store! {
    users_and_images_survive_a_killed_leader_and_a_full_restart,
    of_fifty_clients_that_register_one_name_one_succeeds,
    all_of_many_users_are_listed,
}

async fn users_and_images_survive_a_killed_leader_and_a_full_restart(mut cluster: Cluster) {
    let id = cluster.register("alice", "10.0.0.1:9000").await;
    let picture = png(64, 64, 5);
    let name = cluster.upload("alice", &picture).await;
    let old = cluster.leader().await;
    cluster.kill9(old);
    cluster.leader_after(old).await;
    cluster.register("bob", "10.0.0.2:9000").await;
    assert_eq!(cluster.lead().get(&format!("/image/alice/{name}")).await.body, picture);

    for index in cluster.running().collect::<Vec<_>>() {
        cluster.kill9(index);
    }
    // Without the snapshots of the nodes: everything comes from the store.
    for index in 0..3 {
        let _ = std::fs::remove_file(cluster.node_dir(index).join("snapshot"));
        cluster.start(index);
    }
    let mut users = serde_json::Value::Null;
    until("both users after the restart", async || {
        let answer = cluster.lead().get("/users").await;
        users = if answer.status == 200 { answer.json() } else { serde_json::Value::Null };
        users["count"] == 2
    })
    .await;
    assert_eq!((&users["users"][0]["username"], &users["users"][0]["id"]), (&"alice".into(), &id.into()));
    assert_eq!(cluster.lead().get(&format!("/image/alice/{name}")).await.body, picture);
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await.expect_error(409, "user_exists");
}

async fn of_fifty_clients_that_register_one_name_one_succeeds(cluster: Cluster) {
    cluster.leader().await;
    for round in 0..3 {
        let register = |client: usize| {
            let body = format!(r#"{{"username":"name{round}","addr":"10.0.0.1:{}"}}"#, 9000 + client);
            let cluster = &cluster;
            async move { cluster.lead().post("/register", body).await.status }
        };
        let answers = join_all((0..RACING_CLIENTS).map(register)).await;
        // 200 goes to a client whose first answer was "not the leader", after the write: the
        // harness repeated its request at the next leader.
        let winners = answers.iter().filter(|status| matches!(**status, 200 | 201)).count();
        let losers = answers.iter().filter(|status| **status == 409).count();
        assert_eq!((winners, losers), (1, RACING_CLIENTS - 1), "{answers:?}");
    }
}

async fn all_of_many_users_are_listed(mut cluster: Cluster) {
    let numbers: Vec<usize> = (0..MANY_USERS).collect();
    for some in numbers.chunks(20) {
        join_all(some.iter().map(|number| {
            let name = format!("user{number:04}");
            let cluster = &cluster;
            async move { cluster.register(&name, "10.0.0.1:9000").await }
        }))
        .await;
    }
    for index in 0..3 {
        cluster.kill9(index);
    }
    for index in 0..3 {
        let _ = std::fs::remove_file(cluster.node_dir(index).join("snapshot"));
        cluster.start(index);
    }
    until("all users", async || {
        let answer = cluster.lead().get("/users").await;
        answer.status == 200 && answer.json()["count"] == MANY_USERS
    })
    .await;
}
