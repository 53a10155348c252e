//! `rollcall storage check` on Google Drive: what it finds out about a drive, and what nodes do
//! then.

use rollcall::storage::{Backend, BackendError, Key};
use rollcall_test_support::drive_server::{DriveServer, IfMatch};
use serde_json::Value;
use tokio::process::Command;

use super::drive::node;
use super::suite::{self, profile, put};

const HONOURED: &str = "version 2 of the API honours If-Match: nodes that start from now on replace profiles with it";
const READ_BACK: &str = "nodes replace profiles by reading back";

/// Runs the program. Returns its exit code and its output.
async fn check(server: &DriveServer, arguments: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::from(crate::cluster::rollcall(dir.path()));
    command.args(["storage", "check"]).args(arguments).envs(server.variables()).kill_on_drop(true);
    let output = command.output().await.expect("the program starts");
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// Finds the facts with a new node.
async fn facts(server: &DriveServer, number: u32) -> Result<Vec<String>, BackendError> {
    let (store, _dir) = node(server).await;
    store.probe().expect("a drive has open questions").find_facts(&Key::Check(number)).await
}

/// Whether a node that starts now replaces profiles with `If-Match`.
async fn uses_if_match(server: &DriveServer) -> bool {
    let (store, _dir) = node(server).await;
    let bucket = suite::bucket(store);
    let version = match bucket.get(&profile("alice")).await.unwrap() {
        Some(found) => found.version,
        None => put(&bucket, &profile("alice"), b"1").await,
    };
    let count = server.recorded().len();
    bucket.replace_if(&profile("alice"), &version, format!("write {count}").into()).await.unwrap().expect("current");
    server.recorded().split_off(count).iter().any(|request| request.if_match.is_some())
}

#[tokio::test]
async fn the_check_prints_what_it_found_out_and_what_nodes_will_do() {
    let server = DriveServer::start();
    drop(node(&server).await);
    let (code, text) = check(&server, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let step = text.split("✓ open questions").nth(1).expect("a step").split("  ✓").next().unwrap();
    let lines: Vec<_> = step.lines().filter(|line| line.starts_with("      - ")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, words) in lines.iter().zip(["check again in some days", "a second create answers 409", HONOURED]) {
        assert!(line.contains(words), "{line}");
    }
    let kept: Vec<_> = server.names().into_iter().filter(|name| !name.starts_with("checks/")).collect();
    assert_eq!(kept, [".rollcall-slots-1.json"]);
    let objects = suite::bucket(node(&server).await.0).list(&rollcall::storage::Folder::Checks).await.unwrap();
    assert_eq!(objects, Vec::<String>::new());

    server.advance_days(12);
    let (code, text) = check(&server, &["--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let document: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let age = document["facts"][0].as_str().unwrap();
    assert!(age.contains("reserved on 2026-01-01 was used on 2026-01-13 and works"), "{age}");
    assert_eq!(document["steps"][1]["step"], "open questions");
}

#[tokio::test]
async fn a_node_replaces_with_if_match_only_after_a_check_has_found_that_it_works() {
    let server = DriveServer::start();
    assert!(!uses_if_match(&server).await, "nobody has checked");
    for (number, (if_match, expected)) in [
        (IfMatch::Honoured, HONOURED),
        (IfMatch::Ignored, READ_BACK),
        (IfMatch::Honoured, HONOURED),
        (IfMatch::NotFound, READ_BACK),
    ]
    .into_iter()
    .enumerate()
    {
        server.set_if_match(if_match);
        let facts = facts(&server, u32::try_from(number).unwrap()).await.expect("the drive can be used");
        assert!(facts[2].contains(expected), "{if_match:?}: {facts:?}");
        assert_eq!(uses_if_match(&server).await, if_match == IfMatch::Honoured, "{if_match:?}");
    }
}

/// A drive may change an etag some time after a write, so one refusal decides nothing.
#[tokio::test]
async fn a_drive_that_refuses_every_etag_is_asked_three_times() {
    let server = DriveServer::start();
    server.set_if_match(IfMatch::Refused);
    let facts = facts(&server, 0).await.expect("the drive can be used");
    assert!(facts[2].contains("a current etag is refused") && facts[2].contains(READ_BACK), "{facts:?}");
    assert_eq!(server.requests().iter().filter(|request| request.starts_with("PUT ")).count(), 3);
}

#[tokio::test]
async fn a_drive_whose_reserved_ids_give_no_protection_fails_the_check() {
    let server = DriveServer::start();
    drop(node(&server).await);
    server.accept_ids_again();
    let (code, text) = check(&server, &[]).await;
    assert!(code == Some(69) && text.contains("✗ open questions"), "{text}");
    assert!(text.contains("do not use this drive: two creates with one reserved id succeeded"), "{text}");

    let server = DriveServer::start();
    drop(node(&server).await);
    server.expire_reserved_ids();
    let (code, text) = check(&server, &[]).await;
    assert!(code == Some(69) && text.contains("✗ open questions"), "{text}");
    assert!(text.contains("how long such an id is valid") && !text.contains("✓ write"), "{text}");
}
