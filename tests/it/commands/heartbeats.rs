//! `start-heartbeat` against live clusters.

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use super::typed::{Desk, Running, is_known_to_all};
use crate::cluster::{Cluster, Plan, until};

/// Between two looks at the list, while the user must never be away from it.
const LOOK: Duration = Duration::from_millis(50);

async fn online(cluster: &Cluster) -> Vec<String> {
    let json = cluster.lead().get("/discovery/online").await.json();
    json["online"].as_array().expect("names").iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn is_leader_change(event: &Value) -> bool {
    event["event"] == "leader_changed"
}

async fn is_online(running: &Running) {
    running.tells("its first heartbeat", |event| event["event"] == "online").await;
}

#[tokio::test]
async fn a_user_stays_on_the_list_through_three_leader_kills() {
    let mut cluster = Plan::quick().env("HEARTBEAT_TTL_SECONDS", "4").start().await;
    let (follower, _) = cluster.follower().await;
    let desk = Desk::new();
    let url = cluster.url(follower);
    desk.types(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", "--server", &url]).await.code(0);
    let mut alice = desk.starts("alice", &["start-heartbeat", "--username", "alice", "--server", &url, "--json"]);
    is_online(&alice).await;
    for kill in 1..=3 {
        let leader = cluster.leader().await;
        is_known_to_all(&cluster, "alice").await;
        cluster.kill9(leader);
        let mut looks = 0;
        // Two times to live: a user who sends nothing would be gone long before.
        let until_then = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until_then {
            let answer = cluster.lead().get("/discovery/online").await;
            // The list of a leader that is just beginning may be refused, but never be wrong.
            if answer.status == 200 {
                assert_eq!(
                    answer.json()["online"],
                    serde_json::json!(["alice"]),
                    "after kill {kill}: {}",
                    alice.stdout()
                );
                looks += 1;
            }
            sleep(LOOK).await;
        }
        assert!(looks > 20, "the list was seen {looks} times only");
        cluster.start(leader);
        until("the return of the killed node", async || cluster.health(leader).await.is_some()).await;
    }
    let changes = alice.events().into_iter().filter(is_leader_change).count();
    assert!(changes >= 3, "{}", alice.stdout());
    alice.process.signal(Signal::TERM);
    assert_eq!(alice.process.wait().await.code(), Some(0));
    assert_eq!(alice.events().last().expect("events")["event"], "stopped");
    until("its end on the list", async || online(&cluster).await.is_empty()).await;
}

#[tokio::test]
async fn it_says_that_it_cannot_reach_anybody_and_when_it_is_back() {
    let mut cluster = Plan::quick().nodes(1).env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let desk = Desk::new();
    let url = cluster.url(0);
    let arguments = ["start-heartbeat", "--username", "alice", "--server", &url, "--interval", "1", "--json"];
    let mut alice = desk.starts("alice", &arguments);
    is_online(&alice).await;
    cluster.kill9(0);
    alice.tells("that nobody answers", |event| event["event"] == "unreachable").await;
    cluster.start(0);
    alice.tells("that it is back", |event| event["event"] == "back").await;
    let events = alice.events();
    assert_eq!(events.iter().filter(|event| event["event"] == "unreachable").count(), 1, "{events:?}");
    assert!(events.iter().all(|event| event["username"] == "alice" && event["at"].is_string()), "{events:?}");
    alice.process.signal(Signal::INT);
    assert_eq!(alice.process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn it_takes_servers_and_port_from_the_registration_and_finds_its_own_address() {
    let cluster = Plan::quick().nodes(1).start().await;
    let desk = Desk::new();
    desk.types(&["register", "--username", "alice", "--addr", "10.9.9.9:9000", "--server", &cluster.url(0)])
        .await
        .code(0);
    let alice = desk.starts("alice", &["start-heartbeat", "--username", "alice", "--addr", "auto", "--json"]);
    is_online(&alice).await;
    let list = cluster.lead().get("/discover").await.json();
    assert_eq!(list["online_clients"][0]["addr"], "127.0.0.1:9000", "{list}");
}

#[tokio::test]
async fn whoever_is_not_registered_is_told_so_with_3_and_a_wrong_flag_with_2() {
    let cluster = Plan::quick().nodes(1).start().await;
    let desk = Desk::new();
    let url = cluster.url(0);
    let beat = |more: &[&'static str]| {
        [&["start-heartbeat", "--server", &url][..], more].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    for (more, code) in [
        (&["--username", "nobody"][..], 3),
        (&["--username", "../x"], 2),
        (&["--username", "a", "--interval", "0"], 2),
        (&["--username", "a", "--addr", "nonsense"], 2),
        (&["--username", "a", "--addr", "auto"], 2),
        (&[], 2),
    ] {
        let arguments = beat(more);
        desk.types(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.code(code);
    }
    desk.types(&["users", "--server", "ftp://x"]).await.code(2);
    desk.types_with(&["users"], &[("ROLLCALL_SERVER", "ftp://x")]).await.code(2).error();
}
