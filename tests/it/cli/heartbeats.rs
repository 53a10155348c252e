//! Tests of `start-heartbeat` against running clusters.

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use super::shell::{RunningCommand, Shell, wait_until_replicated};
use crate::cluster::{Cluster, Plan, until};

/// Pause between two reads of the list of online users.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

async fn online(cluster: &Cluster) -> Vec<String> {
    let json = cluster.lead().get("/discovery/online").await.json();
    json["online"].as_array().expect("names").iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

fn is_leader_change(event: &Value) -> bool {
    event["event"] == "leader_changed"
}

async fn wait_until_online(running: &RunningCommand) {
    running.wait_for_event("its first heartbeat", |event| event["event"] == "online").await;
}

#[tokio::test]
async fn a_user_stays_online_while_three_leaders_are_killed() {
    let mut cluster = Plan::quick().env("HEARTBEAT_TTL_SECONDS", "4").start().await;
    let (follower, _) = cluster.follower().await;
    let shell = Shell::new();
    let url = cluster.url(follower);
    shell.run(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", "--server", &url]).await.code(0);
    let mut alice = shell.start("alice", &["start-heartbeat", "--username", "alice", "--server", &url, "--json"]);
    wait_until_online(&alice).await;
    for kill in 1..=3 {
        let leader = cluster.leader().await;
        wait_until_replicated(&cluster, "alice").await;
        cluster.kill9(leader);
        let mut polls = 0;
        // This is two TTLs. A user without heartbeats goes offline after one.
        let deadline = Instant::now() + Duration::from_secs(8);
        while Instant::now() < deadline {
            let answer = cluster.lead().get("/discovery/online").await;
            // A new leader may reject the request at first, but its list must never be wrong.
            if answer.status == 200 {
                assert_eq!(
                    answer.json()["online"],
                    serde_json::json!(["alice"]),
                    "after kill {kill}: {}",
                    alice.stdout()
                );
                polls += 1;
            }
            sleep(POLL_INTERVAL).await;
        }
        assert!(polls > 20, "the list was read only {polls} times");
        cluster.start(leader);
        until("the return of the killed node", async || cluster.health(leader).await.is_some()).await;
    }
    let changes = alice.events().into_iter().filter(is_leader_change).count();
    assert!(changes >= 3, "{}", alice.stdout());
    alice.process.signal(Signal::TERM);
    assert_eq!(alice.process.wait().await.code(), Some(0));
    assert_eq!(alice.events().last().expect("events")["event"], "stopped");
    until("alice to leave the list", async || online(&cluster).await.is_empty()).await;
}

#[tokio::test]
async fn an_unreachable_registry_is_reported_once_and_so_is_its_return() {
    let mut cluster = Plan::quick().nodes(1).env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    let shell = Shell::new();
    let url = cluster.url(0);
    let arguments = ["start-heartbeat", "--username", "alice", "--server", &url, "--interval", "1", "--json"];
    let mut alice = shell.start("alice", &arguments);
    wait_until_online(&alice).await;
    cluster.kill9(0);
    alice.wait_for_event("the report that no node answers", |event| event["event"] == "unreachable").await;
    cluster.start(0);
    alice.wait_for_event("the report that the registry answers again", |event| event["event"] == "back").await;
    let events = alice.events();
    assert_eq!(events.iter().filter(|event| event["event"] == "unreachable").count(), 1, "{events:?}");
    assert!(events.iter().all(|event| event["username"] == "alice" && event["at"].is_string()), "{events:?}");
    alice.process.signal(Signal::INT);
    assert_eq!(alice.process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn servers_and_port_come_from_the_registration_and_auto_finds_the_local_address() {
    let cluster = Plan::quick().nodes(1).start().await;
    let shell = Shell::new();
    shell
        .run(&["register", "--username", "alice", "--addr", "10.9.9.9:9000", "--server", &cluster.url(0)])
        .await
        .code(0);
    let alice = shell.start("alice", &["start-heartbeat", "--username", "alice", "--addr", "auto", "--json"]);
    wait_until_online(&alice).await;
    let list = cluster.lead().get("/discover").await.json();
    assert_eq!(list["online_clients"][0]["addr"], "127.0.0.1:9000", "{list}");
}

#[tokio::test]
async fn the_exit_code_is_3_for_an_unknown_user_and_2_for_a_wrong_flag() {
    let cluster = Plan::quick().nodes(1).start().await;
    let shell = Shell::new();
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
        shell.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.code(code);
    }
    shell.run(&["users", "--server", "ftp://x"]).await.code(2);
    shell.run_with_env(&["users"], &[("ROLLCALL_SERVER", "ftp://x")]).await.code(2).error();
}
