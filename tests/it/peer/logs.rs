//! The log of a real peer, with standard error in a file.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::person::Person;
use crate::cluster::{Process, rollcall, until};

/// Starts a peer that knows these addresses, and a registry that is not there.
fn start(dir: &Path, peers: &str, level: Option<&str>, format: &str) -> Process {
    let mut command = rollcall(dir);
    for variable in rollcall::peer::settings::variables().chain(["RUST_LOG"]) {
        command.env_remove(variable);
    }
    command.args(["peer", "--name", "alice", "--no-lan", "--listen", "127.0.0.1:0"]);
    command.args(["--peers", peers, "--registry", "http://127.0.0.1:1"]);
    // As its friend's, whom a longer silence would make end the link.
    command.env("P2P_HEARTBEAT_INTERVAL", "1s").env("P2P_HEARTBEAT_TIMEOUT", "2s");
    // The flag and the variable, each once.
    command.args(["--log-format", format]);
    if let Some(level) = level {
        command.env("P2P_LOG_LEVEL", level);
    }
    Process::start_plain(command, &dir.join("out"), &dir.join("log"))
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

#[tokio::test]
async fn a_log_of_json_has_one_object_a_line_with_what_an_operator_looks_for() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let friend = Person::start(dir.path(), "friend", &["--no-lan", "--listen", "127.0.0.1:0"]).await;
    let (there, id) = (friend.listens_at(), friend.events()[0]["id"].clone());
    let mut peer = start(dir.path(), &format!("127.0.0.1:1,{there}"), None, "json");
    let lines = || -> Vec<Value> {
        let text = log(dir.path());
        // The last line may be half written.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    };
    let find =
        |message: &str| lines().into_iter().find(|line| line["message"].as_str().unwrap_or("").contains(message));
    until("both failures", async || find("dial failed").is_some() && find("registry does not help").is_some()).await;
    let failed = find("dial failed").expect("waited for");
    assert_eq!((&failed["level"], &failed["address"]), (&"INFO".into(), &"127.0.0.1:1".into()), "{failed}");
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("refused")), "{failed}");
    assert!(failed["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{failed}");
    let away = find("registry does not help").expect("waited for");
    assert!(away["level"] == "WARN" && away["reason"].as_str().is_some_and(|why| !why.is_empty()), "{away}");
    until("a link", async || find("linked").is_some()).await;
    let linked = find("linked").expect("waited for");
    assert_eq!((&linked["peer"], &linked["dialled"], linked["address"].as_str()), (&id, &true.into(), Some(&*there)));
    friend.quits().await;
    until("its end", async || find("unlinked").is_some()).await;
    let unlinked = find("unlinked").expect("waited for");
    assert_eq!((&unlinked["peer"], &unlinked["link"]), (&id, &linked["link"]));
    assert_eq!(unlinked["reason"], "the other end ended it");
    peer.signal(Signal::TERM);
    assert!(peer.end().await.success());
}

#[tokio::test]
async fn the_log_says_as_much_as_its_level_allows() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peer = start(dir.path(), "127.0.0.1:1", Some("warn"), "text");
    until("a warning", async || log(dir.path()).contains(" WARN ")).await;
    peer.signal(Signal::TERM);
    assert!(peer.end().await.success());
    let text = log(dir.path());
    assert!(!text.contains(" INFO ") && text.lines().count() == 1, "{text}");
    assert!(text.contains(" reason=\""), "{text}");
}
