//! Tests of `rollcall peer scan`. All processes of this machine share UDP port 50999, so each test
//! uses unique names and ignores other peers.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::peer_process::{LOOPBACK, PeerProcess};
use crate::cluster::rollcall;

async fn scan(dir: &Path, flags: &[&str]) -> Value {
    let output = tokio::process::Command::from(command(dir, flags)).output().await.expect("the program was built");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn command(dir: &Path, flags: &[&str]) -> Command {
    let mut command = rollcall(dir);
    command.args(["peer", "scan", "--json", "--addresses", LOOPBACK]).args(flags).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn a_peer_of_this_machine_is_found_and_does_not_list_the_scan() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = format!("al{:08x}", rand::random::<u32>());
    let mut al = PeerProcess::start(dir.path(), &name, &["--listen", "127.0.0.1:0", "--lan"]).await;
    let port = al.events()[0]["lan_port"].as_u64().expect("a port");
    let seen = scan(dir.path(), &["--wait", "2"]).await;
    let peers = seen["peers"].as_array().expect("a list");
    let found: Vec<&Value> = peers.iter().filter(|peer| peer["name"] == *name).collect();
    assert!(!found.is_empty(), "{seen}");
    for peer in found {
        assert_eq!((peer["found_by"].as_str(), peer["dialect"].as_str()), (Some("answer"), Some("both")), "{seen}");
        assert!(peer["address"].as_str().is_some_and(|address| address.ends_with(&format!(":{port}"))), "{seen}");
        assert_eq!(peer["mismatched"], false, "{seen}");
    }
    assert_eq!(seen["shared_port"]["refusal"], Value::Null);
    let loopback = |asked: &&Value| asked["to"] == "127.255.255.255";
    let asked = seen["asked"].as_array().expect("a list").iter().find(loopback).expect("loopback is queried");
    assert_eq!(asked["was_heard"], true, "its own query returned: {seen}");
    al.type_line("LIST");
    let is_scan = |uid: &Value| uid.as_str().is_some_and(|uid| uid.starts_with("rollcall-scan@"));
    crate::cluster::until("a list", async || al.count(|event| event["event"] == "list") == 1).await;
    let events = al.quit().await;
    assert!(!events.iter().any(|event| event["event"] == "found" && is_scan(&event["peer"]["uid"])), "{events:?}");
    let list = events.iter().find(|event| event["event"] == "list").expect("waited for");
    assert!(!list["peers"].as_array().expect("a list").iter().any(|peer| is_scan(&peer["uid"])), "{list}");
}

#[tokio::test]
async fn a_scan_without_peers_reports_possible_reasons_and_succeeds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = format!("al{:08x}", rand::random::<u32>());
    let al = PeerProcess::start(dir.path(), &name, &["--listen", "127.0.0.1:0", "--lan"]).await;
    al.quit().await;
    let seen = scan(dir.path(), &["--wait", "1"]).await;
    let peers = seen["peers"].as_array().expect("a list");
    assert!(!peers.iter().any(|peer| peer["name"] == *name), "a peer that has left is not found: {seen}");
    // If a peer of another test answers, there may be no findings.
    let findings = seen["findings"].as_array().expect("a list");
    assert!(!peers.is_empty() || !findings.is_empty(), "missing answers are explained: {seen}");
    assert!(findings.iter().all(|finding| !finding["remedy"].as_str().unwrap_or_default().is_empty()), "{seen}");
}

#[tokio::test]
async fn the_wait_time_is_bounded() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for wrong in ["0", "121", "soon"] {
        let output = command(dir.path(), &["--wait", wrong]).output().expect("the program was built");
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}
