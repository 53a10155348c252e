//! Tests with real peer processes that are linked in a mesh on loopback.

use std::fs;

use super::peer_process::PeerProcess;
use crate::cluster::{Plan, Process, rollcall, until};

const MESH: [&str; 3] = ["--no-lan", "--listen", "127.0.0.1:0"];

async fn start_linked(dir: &std::path::Path, name: &str, first: &str, more: &[&str]) -> PeerProcess {
    let flags: Vec<&str> = MESH.iter().copied().chain(["--peers", first]).chain(more.iter().copied()).collect();
    PeerProcess::start(dir, name, &flags).await
}

#[tokio::test]
async fn two_peers_chat_and_the_last_message_is_delivered() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let mut bob = start_linked(dir.path(), "bob", &alice.mesh_addr(), &[]).await;
    alice.wait_for_peers(1).await;
    bob.wait_for_peers(1).await;
    alice.type_line("hello bob");
    let from = bob.wait_for_post("hello bob").await;
    assert!(from["uid"].as_str().is_some_and(|uid| uid.starts_with("alice@")), "{from}");
    bob.type_line("PROFILE Bob the Builder | building");
    until("a profile", async || alice.count(|event| event["event"] == "profile") == 1).await;
    bob.type_line("DM alice psst");
    until("a direct message", async || alice.count(|event| event["event"] == "direct" && event["text"] == "psst") == 1)
        .await;
    // The last message is delivered, although the peer ends immediately after it.
    bob.type_line("good night");
    bob.quit().await;
    let from = alice.wait_for_post("good night").await;
    assert_eq!(from["display_name"], "Bob the Builder");
    until("the event that bob is lost", async || alice.count(|event| event["event"] == "lost") == 1).await;
    assert_eq!(alice.post_count("hello bob"), 0, "a peer's own post is not returned to it");
}

#[tokio::test]
async fn six_peers_that_know_one_address_receive_each_post_exactly_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peers = vec![PeerProcess::start(dir.path(), "p0", &MESH).await];
    let first = peers[0].mesh_addr();
    for index in 1..6 {
        peers.push(start_linked(dir.path(), &format!("p{index}"), &first, &[]).await);
    }
    for peer in &mut peers {
        peer.wait_for_peers(5).await;
    }
    for round in 0..50 {
        for peer in &mut peers {
            let line = format!("round {round} of {}", peer.name);
            peer.type_line(&line);
        }
    }
    until("all posts at all peers", async || {
        peers.iter().all(|peer| peer.count(|event| event["event"] == "post") >= 250)
    })
    .await;
    for peer in &peers {
        for other in peers.iter().filter(|other| other.name != peer.name) {
            for round in 0..50 {
                assert_eq!(peer.post_count(&format!("round {round} of {}", other.name)), 1);
            }
        }
        assert_eq!(peer.count(|event| event["event"] == "post"), 250);
    }
}

#[tokio::test]
async fn a_burst_larger_than_the_send_queue_reaches_all_readers() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hub = PeerProcess::start(dir.path(), "hub", &MESH).await;
    // Author and reader have one link each, to the hub, so the hub forwards all messages.
    let one_link = dir.path().join("one_link.yaml");
    fs::write(&one_link, "max_connections: 1").expect("written");
    let config = ["--config", one_link.to_str().expect("a path")];
    let mut author = start_linked(dir.path(), "author", &hub.mesh_addr(), &config).await;
    let mut reader = start_linked(dir.path(), "reader", &hub.mesh_addr(), &config).await;
    author.wait_for_peers(1).await;
    reader.wait_for_peers(1).await;
    // The messages have 3 MB together, and a send queue holds 1 MB.
    let padding = "x".repeat(4_000);
    for number in 0..800 {
        author.type_line(&format!("{number} {padding}"));
    }
    let post_count = |peer: &PeerProcess| peer.count(|event| event["event"] == "post");
    until("all 800 messages", async || post_count(&hub) == 800 && post_count(&reader) == 800).await;
    for peer in [&hub, &reader] {
        assert_eq!(peer.count(|event| event["event"] == "lost"), 0, "{} lost no peer", peer.name);
    }
}

#[tokio::test]
async fn a_killed_peer_gets_the_missed_posts_and_no_duplicates() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let first = alice.mesh_addr();
    let mut bob = start_linked(dir.path(), "bob", &first, &[]).await;
    let carol = start_linked(dir.path(), "carol", &first, &["--dir", "carol"]).await;
    alice.wait_for_peers(2).await;
    bob.wait_for_peers(2).await;
    alice.type_line("before");
    carol.wait_for_post("before").await;
    let archive = dir.path().join("carol/history.jsonl");
    until("the archive", async || fs::read_to_string(&archive).is_ok_and(|text| text.contains("before"))).await;
    let id = carol.events()[0]["id"].clone();
    carol.kill();
    alice.wait_for_peers(1).await;
    alice.type_line("meanwhile 1");
    bob.type_line("meanwhile 2");
    alice.wait_for_post("meanwhile 2").await;
    let mut carol = start_linked(dir.path(), "carol", &first, &["--dir", "carol"]).await;
    assert_eq!(carol.events()[0]["id"], id);
    carol.wait_for_post("meanwhile 1").await;
    carol.wait_for_post("meanwhile 2").await;
    alice.type_line("after");
    carol.wait_for_post("after").await;
    let texts = ["before", "meanwhile 1", "meanwhile 2", "after"];
    assert_eq!(texts.map(|text| carol.post_count(text)), [0, 1, 1, 1]);
    carol.type_line("HISTORY");
    until("the history", async || {
        let is_whole = |event: &serde_json::Value| event["messages"].as_array().is_some_and(|said| said.len() == 4);
        carol.count(|event| event["event"] == "history" && is_whole(event)) == 1
    })
    .await;
}

#[tokio::test]
async fn peers_find_each_other_through_the_registry_and_continue_without_it() {
    let mut cluster = Plan::quick().start().await;
    cluster.leader().await;
    let urls: Vec<String> = (0..3).map(|index| cluster.url(index)).collect();
    let urls = urls.join(",");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let flags: Vec<&str> = MESH.iter().copied().chain(["--registry", &urls]).collect();
    let mut peers = Vec::new();
    for name in ["alice", "bob", "carol"] {
        peers.push(PeerProcess::start(dir.path(), name, &flags).await);
    }
    for peer in &mut peers {
        peer.wait_for_peers(2).await;
    }
    for index in 0..3 {
        cluster.kill9(index);
    }
    for peer in &mut peers {
        let line = format!("{} goes on", peer.name);
        peer.type_line(&line);
    }
    for peer in &peers {
        for name in ["alice", "bob", "carol"].iter().filter(|name| **name != peer.name) {
            peer.wait_for_post(&format!("{name} goes on")).await;
        }
    }
}

#[tokio::test]
async fn a_name_with_a_password_needs_it_and_the_log_says_how_to_give_it() {
    let cluster = Plan::quick().nodes(1).start().await;
    let url = cluster.url(0);
    let registration = r#"{"username":"carol","password":"secret","addr":"10.0.0.1:9000"}"#;
    assert_eq!(cluster.lead().post("/register", registration).await.status, 201);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let start = |password: Option<&str>, log: &str| {
        let mut command = rollcall(dir.path());
        command.args(["peer", "--name", "carol", "--registry", &url]).args(MESH);
        command.envs(password.map(|password| ("ROLLCALL_PASSWORD", password)));
        Process::start_without_flag(command, &dir.path().join("out"), &dir.path().join(log))
    };
    let log = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap_or_default();
    for (password, file, why) in [(None, "without", "is protected by a password"), (Some("wrong"), "wrong", "is wrong")]
    {
        let _carol = start(password, file);
        until("the remedy in the log", async || log(file).contains("--password-file or ROLLCALL_PASSWORD")).await;
        let line = log(file).lines().find(|line| line.contains(" WARN ")).expect("waited for").to_owned();
        assert!(line.contains(why) && !line.contains("secret"), "{line}");
        assert!(!log(file).contains("registered"), "{}", log(file));
    }
    assert_eq!(cluster.lead().get("/discovery/online").await.json()["online"], serde_json::json!([]));
    let _carol = start(Some("secret"), "right");
    until("carol to be online", async || {
        cluster.lead().get("/discovery/online").await.json()["online"] == serde_json::json!(["carol"])
    })
    .await;
    assert!(!log("right").contains(" WARN "), "{}", log("right"));

    let mut command = rollcall(dir.path());
    let refused =
        command.args(["peer", "--name", "carol", "--password", "secret"]).args(MESH).output().expect("it was built");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && stderr.contains("--registry"), "{stderr}");
}

#[tokio::test]
async fn a_password_for_a_name_without_one_causes_a_warning() {
    let cluster = Plan::quick().nodes(1).start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(cluster.lead().post("/register", r#"{"username":"olga","addr":"10.0.0.1:9000"}"#).await.status, 201);
    let log = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let start = |name: &str| {
        let mut command = rollcall(dir.path());
        command.args(["peer", "--name", name, "--registry", &cluster.url(0)]).args(MESH);
        command.env("ROLLCALL_PASSWORD", "secret");
        Process::start_without_flag(command, &dir.path().join("out"), &dir.path().join(name))
    };
    let (_open, _new) = (start("olga"), start("nora"));
    until("both registrations", async || ["olga", "nora"].iter().all(|name| log(name).contains(" registered "))).await;
    until("the warning", async || log("olga").contains("has no password at the registry")).await;
    assert!(
        !log("nora").contains(" WARN "),
        "the password protects a new name, so there is no warning: {}",
        log("nora")
    );
}

#[tokio::test]
async fn a_peer_restarted_at_another_port_waits_for_its_earlier_entry_without_a_warning() {
    let cluster = Plan::quick().nodes(1).env("HEARTBEAT_TTL_SECONDS", "3").start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = cluster.url(0);
    let start = |log: &str| {
        let mut command = rollcall(dir.path());
        command.args(["peer", "--name", "dora", "--registry", &url]).args(MESH);
        Process::start_without_flag(command, &dir.path().join("out"), &dir.path().join(log))
    };
    let log = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap_or_default();
    let first = start("first");
    until("the first run", async || log("first").contains(" registered ")).await;
    first.kill();
    let _second = start("second");
    until("the second run", async || log("second").contains(" registered ")).await;
    assert!(log("second").contains("an earlier run") && !log("second").contains(" WARN "), "{}", log("second"));
}
