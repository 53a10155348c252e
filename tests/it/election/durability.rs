//! No acknowledged registration is lost, whichever node is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::clients::{Client, Outcome};
use crate::cluster::{Cluster, Plan, until};

const ROUNDS: usize = 5;
const WRITERS: usize = 2;
/// Pause between two registrations: at most 100 per second and writer. The test needs kills between
/// registrations, not many registrations.
const REGISTRATION_INTERVAL: Duration = Duration::from_millis(10);
/// Number of registrations that each leader acknowledges before it is killed.
const MIN_REGISTRATIONS: usize = 15;

#[tokio::test]
async fn no_acknowledged_registration_is_lost_when_leaders_are_killed() {
    let mut cluster = Plan::quick().unlimited_registrations().start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let mut client = Client::new(&cluster, 3, writer);
        writers.spawn(async move {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("w{writer}-{n}");
                let outcome = client.register(&name, "10.0.0.1:9000").await;
                let Outcome::Registered(id) = outcome else { panic!("{name} was taken by another client") };
                acknowledged.lock().expect("no panic").insert(name, id);
                sleep(REGISTRATION_INTERVAL).await;
            }
        });
    }
    // A copy, because the writers need the lock while this test waits.
    let snapshot = || acknowledged.lock().expect("no panic").clone();
    for _ in 0..ROUNDS {
        let (leader, before) = (cluster.leader().await, snapshot().len());
        until("registrations under this leader", async || snapshot().len() >= before + MIN_REGISTRATIONS).await;
        cluster.kill9(leader);
        cluster.leader_after(leader).await;
        let acknowledged = snapshot();
        check_all_registered(&cluster, &acknowledged).await;
        cluster.start(leader);
        until("the killed node to answer", async || cluster.health(leader).await.is_some()).await;
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    let acknowledged = snapshot();
    check_all_registered(&cluster, &acknowledged).await;
    for index in 0..3 {
        cluster.kill9(index);
    }
    for index in 0..3 {
        cluster.start(index);
    }
    check_all_registered(&cluster, &acknowledged).await;
    assert!(acknowledged.len() >= ROUNDS * MIN_REGISTRATIONS);
}

async fn check_all_registered(cluster: &Cluster, acknowledged: &BTreeMap<String, String>) {
    let users = cluster.lead().get("/users").await;
    assert_eq!(users.status, 200, "{users}");
    let users = users.json();
    let ids: BTreeMap<&str, &str> = users["users"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|user| Some((user["username"].as_str()?, user["id"].as_str()?)))
        .collect();
    for (name, id) in acknowledged {
        assert_eq!(ids.get(name.as_str()), Some(&id.as_str()), "{name}");
    }
}
