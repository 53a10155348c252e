//! Tests of `list-online`, `users`, `images`, `status` and `watch` against running clusters.

use rustix::process::Signal;
use serde_json::json;

use super::shell::{Shell, wait_until_replicated};
use crate::cluster::{Plan, free_port};
use crate::sample_images::png;

#[tokio::test]
async fn lists_come_from_the_leader_for_the_url_of_any_node() {
    let cluster = Plan::quick().start().await;
    let (follower, _) = cluster.follower().await;
    cluster.register("alice", "10.40.6.26:9000").await;
    cluster.register("bob", "10.40.6.26:9001").await;
    cluster.heartbeat("alice").await;
    let image = cluster.upload("alice", &png(8, 8, 1)).await;
    let (shell, url) = (Shell::new(), cluster.url(follower));

    let online = shell.run(&["list-online", "--server", &url, "--json"]).await.code(0).json();
    assert_eq!(online, json!({"online_clients": [{"username": "alice", "addr": "10.40.6.26:9000"}], "count": 1}));
    let table = shell.run(&["list-online", "--server", &url]).await.code(0);
    assert_eq!(table.stdout(), "USERNAME  ADDR\nalice     10.40.6.26:9000\n");
    assert_eq!(table.stderr(), "1 client online\n");

    // The scheme may be left out, and servers come from the environment too.
    let bare = url.trim_start_matches("http://");
    let users = shell.run_with_env(&["users", "--json"], &[("ROLLCALL_SERVER", bare)]).await.code(0).json();
    let rows: Vec<_> =
        users["users"].as_array().expect("users").iter().map(|user| (&user["username"], &user["online"])).collect();
    assert_eq!(rows, [(&json!("alice"), &json!(true)), (&json!("bob"), &json!(false))]);
    let table = shell.run(&["users", "--server", bare]).await.code(0).stdout();
    assert!(table.starts_with("USERNAME  STATUS ") && !table.contains('\u{1b}'), "{table}");

    let images = shell.run(&["images", "--username", "alice", "--server", &url, "--json"]).await.code(0).json();
    assert_eq!(images, json!({"username": "alice", "images": [image], "count": 1}));
    shell.run(&["images", "--username", "nobody", "--server", &url]).await.code(3).error();
}

#[tokio::test]
async fn a_dead_node_among_the_given_servers_does_not_matter() {
    let mut cluster = Plan::quick().start().await;
    cluster.register("alice", "10.0.0.1:9000").await;
    cluster.heartbeat("alice").await;
    let (follower, leader) = cluster.follower().await;
    wait_until_replicated(&cluster, "alice").await;
    cluster.kill9(leader);
    let shell = Shell::new();
    let both = format!("{},{}", cluster.url(leader), cluster.url(follower));
    let online = shell.run(&["list-online", "--server", &both, "--json"]).await.code(0).json();
    assert_eq!(online["count"], 1, "{online}");
}

#[tokio::test]
async fn with_an_unreachable_server_a_command_fails_within_ten_seconds_with_one_line() {
    let shell = Shell::new();
    let url = format!("http://127.0.0.1:{}", free_port());
    for command in [&["list-online"][..], &["start-heartbeat", "--username", "alice"], &["watch"], &["status"]] {
        let now = tokio::time::Instant::now();
        let result = shell.run(&[command, &["--server", &url]].concat()).await.code(4);
        assert!(now.elapsed().as_secs() < 10, "{command:?} took {:?}", now.elapsed());
        if command != ["status"] {
            assert!(result.error().contains(&url), "{}", result.stderr());
            assert_eq!((result.stdout().as_str(), result.stderr().lines().count()), ("", 1), "{}", result.stderr());
        }
    }
}

#[tokio::test]
async fn status_lists_every_node_for_the_url_of_any_node_and_marks_a_dead_one() {
    let mut cluster = Plan::quick().start().await;
    let (follower, leader) = cluster.follower().await;
    let shell = Shell::new();
    let url = cluster.url(follower);
    let status = shell.run(&["status", "--server", &url, "--json"]).await.code(0).json();
    assert_eq!((&status["count"], &status["leader"]), (&json!(3), &cluster.name(leader).into()), "{status}");
    for node in status["nodes"].as_array().expect("nodes") {
        assert_eq!(node["reachable"], true, "{status}");
        assert_eq!(node["is_leader"], node["node"] == cluster.name(leader), "{status}");
        for key in ["api_url", "role", "term", "load", "online_clients_count", "uptime_seconds"] {
            assert!(!node[key].is_null(), "{key}: {status}");
        }
    }
    cluster.kill9(leader);
    let new = cluster.leader_after(leader).await;
    let status = shell.run(&["status", "--server", &url, "--json"]).await.code(0).json();
    let of = |index: usize| {
        let nodes = status["nodes"].as_array().expect("nodes");
        nodes.iter().find(|node| node["node"] == cluster.name(index)).unwrap_or_else(|| panic!("{status}")).clone()
    };
    assert_eq!((&of(leader)["reachable"], &of(new)["is_leader"]), (&json!(false), &json!(true)), "{status}");
    let table = shell.run(&["status", "--server", &url]).await.code(0).stdout();
    assert!(table.starts_with("NODE ") && table.lines().count() == 4, "{table}");

    // One of three nodes is no majority, so there is no leader. The nodes are listed anyway.
    cluster.kill9(new);
    let result = shell.run(&["status", "--server", &cluster.url(3 - leader - new), "--json"]).await;
    // For a moment that node may still name the killed leader.
    if result.json()["leader"].is_null() {
        result.code(4).error();
    }
}

#[tokio::test]
async fn watch_reports_joins_moves_and_leaves_across_a_leader_change() {
    let mut cluster = Plan::quick().env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    for (user, addr) in [("alice", "10.0.0.1:1"), ("bob", "10.0.0.1:2"), ("carol", "10.0.0.1:3")] {
        cluster.register(user, addr).await;
    }
    cluster.heartbeat("alice").await;
    let (follower, leader) = cluster.follower().await;
    let shell = Shell::new();
    let mut watch = shell.start("watch", &["watch", "--server", &cluster.url(follower), "--json"]);
    let is = |event: &'static str, user: &'static str| {
        move |line: &serde_json::Value| line["event"] == event && line["username"] == user
    };
    watch.wait_for_event("the clients that are online already", is("joined", "alice")).await;
    cluster.heartbeat("bob").await;
    watch.wait_for_event("a join", is("joined", "bob")).await;
    cluster.lead().post("/heartbeat", r#"{"username":"alice","addr":"10.0.0.9:9"}"#).await;
    watch.wait_for_event("a move", is("moved", "alice")).await;
    cluster.kill9(leader);
    cluster.leader_after(leader).await;
    cluster.heartbeat("carol").await;
    watch.wait_for_event("a join under the next leader", is("joined", "carol")).await;
    watch.wait_for_event("a leave", is("left", "bob")).await;
    let events = watch.events();
    for user in ["alice", "bob", "carol"] {
        let joins = events.iter().filter(|event| event["event"] == "joined" && event["username"] == user).count();
        assert_eq!(joins, 1, "{user}: {events:?}");
    }
    assert!(events.iter().all(|event| event["at"].is_string()), "{events:?}");
    assert!(watch.stderr().contains("leader changed to"), "{}", watch.stderr());
    watch.process.signal(Signal::INT);
    assert_eq!(watch.process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_command_ends_without_an_error_when_its_reader_closes_the_pipe() {
    let cluster = Plan::quick().nodes(1).start().await;
    let shell = Shell::new();
    let program = env!("CARGO_BIN_EXE_rollcall");
    // The program writes only after the reader has closed the pipe.
    let url = cluster.url(0);
    let script = format!(
        "(sleep 0.3; {program} users --server {url}) | true; echo ${{PIPESTATUS[0]}}; {program} man | head -n 1"
    );
    let output = tokio::process::Command::new("bash").args(["-c", &script]).current_dir(shell.path()).output().await;
    let output = output.expect("bash is there");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.starts_with("0\n"), "{stdout}{stderr}");
    assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{stderr}");
}
