//! Two clients register the same name during elections, and exactly one of them gets it.

use tokio::task::JoinSet;

use super::clients::{Client, Outcome};
use crate::cluster::{Cluster, Plan, until};

const ROUNDS: usize = 8;
const ADDRS: [&str; 2] = ["10.0.0.1:9000", "10.0.0.2:9000"];

#[tokio::test]
async fn exactly_one_of_two_clients_gets_a_name_during_elections() {
    let mut cluster = Plan::quick().start().await;
    for round in 0..ROUNDS {
        let leader = cluster.leader().await;
        let name = format!("name{round}");
        let mut racing = JoinSet::new();
        for (n, addr) in ADDRS.into_iter().enumerate() {
            let (mut client, name) = (Client::new(&cluster, 3, (leader + n + round) % 3), name.clone());
            racing.spawn(async move { (addr, client.register(&name, addr).await) });
        }
        change_leader(&mut cluster, leader, round).await;
        let outcomes = racing.join_all().await;
        check(&cluster, &name, &outcomes).await;
    }
}

/// Changes the leader in a different way each round: by kill or by SIGTERM, at once or a moment
/// after the first requests.
async fn change_leader(cluster: &mut Cluster, leader: usize, round: usize) {
    if round % 2 == 1 {
        // Waiting here lets the clients run, so that their requests are in flight.
        cluster.health(leader).await;
    }
    if round % 4 < 2 {
        cluster.kill9(leader);
    } else {
        assert_eq!(cluster.sigterm(leader).await.code(), Some(0));
    }
    cluster.leader_after(leader).await;
    cluster.start(leader);
    until("the old leader to answer", async || cluster.health(leader).await.is_some()).await;
}

async fn check(cluster: &Cluster, name: &str, outcomes: &[(&str, Outcome)]) {
    let winners: Vec<(&str, &String)> = outcomes
        .iter()
        .filter_map(|(addr, outcome)| if let Outcome::Registered(id) = outcome { Some((*addr, id)) } else { None })
        .collect();
    let [(addr, id)] = winners[..] else { panic!("{name}: {outcomes:?}") };
    let profile =
        std::fs::read(cluster.bucket().join(format!("users/{name}/profile.json"))).expect("the profile is stored");
    let profile: serde_json::Value = serde_json::from_slice(&profile).expect("JSON");
    let text = profile.to_string();
    assert!(text.contains(addr) && text.contains(id), "{name}: {outcomes:?}, but stored is {text}");
    let users = cluster.lead().get(&format!("/users?prefix={name}")).await.json();
    assert_eq!((users["users"][0]["id"].as_str(), users["users"][0]["addr"].as_str()), (Some(id.as_str()), Some(addr)));
}
