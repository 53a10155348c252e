//! Mesh tests with Python peers, which behave as the existing programs of requirement 003. Such a
//! peer reads only timestamps of RFC 3339, takes each read of at most 4096 bytes as one message,
//! sends no heartbeats, ends a silent connection, and forgets an id when one of two connections
//! with it ends.
//!
//! Its reader loses messages by itself: those that arrive together in one read. Our peer pauses
//! between its writes, but on a busy machine the reader may be late. The tests tell such a loss
//! from others by the `broken` event of the read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::start;
use crate::cluster::until;
use crate::peer::json_process::JsonProcess;
use crate::peer::lan_processes::unique;
use crate::peer::peer_process::PeerProcess;

pub(super) const MESH: [&str; 3] = ["--no-lan", "--listen", "127.0.0.1:0"];

pub(super) fn id(number: u32) -> String {
    format!("{number:032x}")
}

fn is_message(event: &Value, kind: &str) -> bool {
    event["event"] == "message" && event["message"]["type"] == kind
}

/// Starts a Python peer that often checks for silent connections, and links it to our peer.
async fn start_checking(ours: &PeerProcess, number: u32) -> JsonProcess {
    let (id, addr) = (id(number), ours.mesh_addr());
    let other = start("mesh.py", &["--id", &id, "--peer", &addr, "--check", "0.5", "--timeout", "5"]).await;
    other.wait_for_event("a link", |event| event["event"] == "linked").await;
    other
}

/// Starts a Python peer and links it to our peer.
async fn start_linked(ours: &PeerProcess, number: u32) -> JsonProcess {
    let mut other = start("mesh.py", &["--id", &id(number)]).await;
    other.type_line(&format!("dial {}", ours.mesh_addr()));
    let our_id = ours.events()[0]["id"].clone();
    let link = other.wait_for_event("a greeting", |event| event["event"] == "linked").await;
    assert_eq!(link["id"], our_id);
    other
}

#[tokio::test]
async fn a_peer_without_heartbeats_chats_in_both_directions_and_is_not_timed_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ours = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let mut other = start_linked(&ours, 0xa1).await;
    other.type_line("chat hello from there");
    assert_eq!(ours.wait_for_post("hello from there").await["uid"], id(0xa1));
    other.type_line("again");
    ours.type_line("hello from here");
    let chat = other.wait_for_event("a chat", |event| is_message(event, "chat")).await;
    assert_eq!(
        (&chat["message"]["payload"], &chat["message"]["sender_id"]),
        (&"hello from here".into(), &ours.events()[0]["id"])
    );
    // A message that fits into one read arrives in one read. Our peer does not send a longer one to
    // this peer, and tells its user so.
    let long = unique(&"x".repeat(3_800));
    ours.type_line(&long);
    let chat = other.wait_for_event("a long chat", |event| event["message"]["payload"] == *long).await;
    assert!(chat["bytes"].as_u64().is_some_and(|bytes| bytes < 4096), "{chat}");
    ours.type_line(&"y".repeat(5_000));
    let is_refusal = |event: &Value| {
        let names_it = |why: &str| why.contains("not sent to") && why.contains("000000");
        event["event"] == "refused" && event["why"].as_str().is_some_and(names_it)
    };
    until("a warning", async || ours.count(is_refusal) == 1).await;
    // Five heartbeats take longer than the interval and the timeout, which are three seconds
    // together.
    until("heartbeats", async || other.count(|event| is_message(event, "heartbeat")) >= 5).await;
    assert_eq!(other.count(|event| event["event"] == "unlinked"), 0);
    assert_eq!(ours.count(|event| event["event"] == "lost"), 0);
    assert_eq!(ours.post_count("hello from there"), 1, "the repeated message is not shown");
    let types: Vec<Value> = other.events().into_iter().map(|event| event["message"]["type"].clone()).collect();
    let is_known =
        |kind: &Value| kind.is_null() || ["chat", "heartbeat", "peer_list"].contains(&kind.as_str().unwrap_or(""));
    assert!(types.iter().all(is_known), "{types:?}");
}

/// The texts that a Python peer got, and those that it lost because another message was in the same
/// read. Each text is between `<` and `>`.
fn texts(peer: &JsonProcess) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut got, mut merged) = (BTreeSet::new(), BTreeSet::new());
    for event in peer.events() {
        if is_message(&event, "chat") {
            got.insert(event["message"]["payload"].as_str().expect("a text").to_owned());
        } else if event["event"] == "broken" && event["messages"].as_u64() > Some(1) {
            let read = event["text"].as_str().expect("a text");
            let starts = read.match_indices('<').filter_map(|(at, _)| read[at..].split_inclusive('>').next());
            merged.extend(starts.map(str::to_owned));
        }
    }
    (got, merged)
}

/// Checks that a Python peer got each text, or lost it in a read with several messages.
pub(super) async fn wait_until_read(peer: &JsonProcess, wanted: &[String]) {
    let missing = || {
        let (got, merged) = texts(peer);
        wanted.iter().find(|text| !got.contains(*text) && !merged.contains(*text)).cloned()
    };
    until(&format!("all texts at {}", peer.name), async || missing().is_none()).await;
}

#[tokio::test]
async fn a_burst_of_200_lines_reaches_a_foreign_peer_whole_and_costs_no_connection() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ours = PeerProcess::start_with(dir.path(), "alice", &MESH, &[]).await;
    let mut other = start_checking(&ours, 0xa2).await;
    ours.wait_for_peers(1).await;
    let lines: Vec<String> = (0..200).map(|number| format!("<text {number}>")).collect();
    for line in &lines {
        ours.type_line(line);
    }
    wait_until_read(&other, &lines).await;
    let (got, _) = texts(&other);
    assert!(got.len() >= 150, "{} of 200 were read; the others shared a read", got.len());
    // The heartbeats did not wait behind the burst: about four seconds have passed.
    assert!(other.count(|event| is_message(event, "heartbeat")) >= 2);
    assert_eq!(other.count(|event| event["event"] == "unlinked"), 0);
    other.type_line("burst 30");
    for number in [0, 13, 29] {
        ours.wait_for_post(&format!("burst {number}")).await;
    }
    assert_eq!(ours.count(|event| event["event"] == "post"), 30);
}

#[tokio::test]
async fn with_the_default_intervals_a_foreign_peer_finds_no_silent_connection() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = PeerProcess::start_with(dir.path(), "alice", &MESH, &[]).await;
    let other = start_checking(&ours, 0xa3).await;
    until("heartbeats", async || other.count(|event| is_message(event, "heartbeat")) >= 5).await;
    assert_eq!(other.count(|event| event["event"] == "unlinked"), 0);
    assert_eq!(other.count(|event| event["event"] == "broken" && event["messages"] == 1), 0);
}

#[tokio::test]
async fn a_foreign_peer_with_two_connections_is_not_forgotten_by_it_and_chats() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ours = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let mut other = start_linked(&ours, 0xa4).await;
    other.type_line(&format!("dial {}", ours.mesh_addr()));
    other.wait_for_event("a second connection", |event| event["connections"] == 2).await;
    other.type_line("chat <on the second>");
    ours.wait_for_post("<on the second>").await;
    ours.type_line("<to the newest>");
    wait_until_read(&other, &["<to the newest>".to_owned()]).await;
    // Each connection gets heartbeats.
    until("heartbeats", async || other.count(|event| is_message(event, "heartbeat")) >= 5).await;
    assert_eq!(other.count(|event| event["event"] == "unlinked" || event["event"] == "ignored"), 0);
}

#[tokio::test]
async fn a_foreign_peer_that_has_dialled_ours_is_not_linked_again_at_an_address_from_gossip() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ours = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let mut other = start_linked(&ours, 0xa5).await;
    other.type_line(&format!("peer_list {}", json!([other.ready_field("listen")])));
    other.wait_for_event("a look at the address", |event| event["event"] == "ungreeted").await;
    other.type_line("chat <still here>");
    ours.wait_for_post("<still here>").await;
    ours.type_line("<here too>");
    wait_until_read(&other, &["<here too>".to_owned()]).await;
    assert_eq!(other.count(|event| event["event"] == "linked"), 1);
    assert_eq!(other.count(|event| event["event"] == "unlinked" || event["event"] == "ignored"), 0);
}

#[tokio::test]
async fn peer_lists_and_chat_reach_another_python_peer_through_ours() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut ours = PeerProcess::start(dir.path(), "alice", &MESH).await;
    let far = start("mesh.py", &["--id", &id(0xb2)]).await;
    let mut near = start_linked(&ours, 0xb1).await;
    near.type_line(&format!("peer_list {}", json!([far.ready_field("listen"), "nonsense", "0.0.0.0:1"])));
    far.wait_for_event("a link", |event| event["event"] == "linked").await;
    until("both Python peers in the list", async || {
        ours.type_line("LIST");
        let lists = ours.events();
        let last = lists.iter().rfind(|event| event["event"] == "list");
        last.is_some_and(|list| list["peers"].as_array().is_some_and(|peers| peers.len() == 2))
    })
    .await;
    // The list is the last of the first messages. Nothing is in the read of the chat then.
    let is_list = |event: &Value| is_message(event, "peer_list") || event["event"] == "broken";
    far.wait_for_event("a list", is_list).await;
    near.type_line("chat pass it on");
    let passed = far.wait_for_event("the chat", |event| is_message(event, "chat")).await;
    assert_eq!(
        (&passed["message"]["sender_id"], &passed["message"]["payload"]),
        (&id(0xb1).into(), &"pass it on".into())
    );
    near.type_line("again");
    near.type_line("chat and this");
    far.wait_for_event("the next message", |event| event["message"]["payload"] == "and this").await;
    assert_eq!(far.count(|event| event["message"]["payload"] == "pass it on" || event["event"] == "repeated"), 1);
    assert_eq!(near.count(|event| event["event"] == "repeated"), 0, "chat is not returned to its sender");
    // A later peer gets the addresses of the others, as a JSON array in a string.
    let mut late = start_linked(&ours, 0xb3).await;
    let mut listed = None;
    until("a list", async || {
        listed = late.find(|event| is_message(event, "peer_list"));
        if listed.is_none() {
            // On a busy machine one read may have returned the list together with the first
            // heartbeat, and the Python peer lost both.
            late.type_line(&format!("dial {}", ours.mesh_addr()));
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        listed.is_some()
    })
    .await;
    let payload = listed.expect("waited for")["message"]["payload"].as_str().expect("a text").to_owned();
    let places: Vec<String> = serde_json::from_str(&payload).expect("an array in a text");
    assert_eq!(places, [far.ready_field("listen")]);
}

#[tokio::test]
async fn our_peer_dials_a_python_peer_again_after_its_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = start("mesh.py", &["--id", &id(0xc1)]).await;
    let place = first.ready_field("listen");
    let flags: Vec<&str> = MESH.iter().copied().chain(["--peers", &place]).collect();
    let mut ours = PeerProcess::start(dir.path(), "alice", &flags).await;
    first.wait_for_event("a link", |event| event["event"] == "linked").await;
    drop(first);
    let mut second = start("mesh.py", &["--id", &id(0xc1), "--listen", &place]).await;
    second.wait_for_event("a link", |event| event["event"] == "linked").await;
    second.type_line("chat back again");
    ours.wait_for_post("back again").await;
    ours.type_line("welcome");
    second.wait_for_event("the answer", |event| event["message"]["payload"] == "welcome").await;
}
