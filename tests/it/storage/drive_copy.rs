//! `rollcall storage copy` from and to Google Drive.

use std::path::Path;

use rollcall_test_support::drive_server::{DRIVE, DriveServer, FOLDER, FolderState};
use serde_json::Value;
use tokio::process::Command;

use super::copy::{FIXTURE, USERS, assert_counts, large_source, source, tree, users_of};
use super::drive::node;
use super::suite::{bucket, profile, put};
use crate::cluster::{Process, rollcall, until};

/// The locator of the folder.
fn folder() -> String {
    format!("drive:{DRIVE}/{FOLDER}")
}

/// The arguments and the environment of a copy. The locator names the folder, and not the settings.
fn command(dir: &Path, server: &DriveServer, from: &str, to: &str) -> std::process::Command {
    let mut command = rollcall(dir);
    command.args(["storage", "copy", "--json", "--from", from, "--to", to]).env("DRIVE_EMULATOR_HOST", server.url());
    command
}

/// Runs a copy. Returns its exit code, the JSON document, and standard error.
async fn copy(dir: &Path, server: &DriveServer, from: &str, to: &str, more: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::from(command(dir, server, from, to));
    let output = command.args(more).kill_on_drop(true).output().await.expect("the program starts");
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), document, String::from_utf8(output.stderr).unwrap())
}

/// A server whose folder has a slot table, so that no copy waits for one.
async fn server_with_table() -> DriveServer {
    let server = DriveServer::start();
    drop(node(&server).await);
    server
}

/// The writes among the requests since the first `count`.
fn writes(server: &DriveServer, count: usize) -> Vec<String> {
    server.requests().split_off(count).into_iter().filter(|request| !request.starts_with("GET ")).collect()
}

#[tokio::test]
async fn a_copy_to_a_drive_and_back_gives_the_same_files_and_a_second_pass_copies_nothing() {
    let (dir, server) = (source(), server_with_table().await);
    let (code, document, stderr) = copy(dir.path(), &server, "local:from", &folder(), &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 5)]);
    let (code, document, stderr) = copy(dir.path(), &server, "local:from", &folder(), &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("unchanged", 5)]);

    let count = server.requests().len();
    let (code, document, stderr) = copy(dir.path(), &server, &folder(), "local:back", &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 5)]);
    assert_eq!(users_of(&dir.path().join("back")), tree(Path::new(FIXTURE)));
    assert_eq!(writes(&server, count), Vec::<String>::new(), "a source is read only");
    assert!(!dir.path().join("data").exists(), "a copy keeps no slot table on this machine");
}

#[tokio::test]
async fn a_copy_to_a_drive_that_was_killed_continues_where_it_was() {
    let (dir, server) = (large_source(), server_with_table().await);
    let users = || server.names().into_iter().filter(|name| name.starts_with("users/")).collect::<Vec<_>>();
    // The quota makes the copy slow enough to be killed in the middle.
    server.limit_requests(100);
    let to = folder();
    let process = Process::start_without_flag(
        command(dir.path(), &server, "local:from", &to),
        &dir.path().join("out"),
        &dir.path().join("err"),
    );
    until("a part of the copy", async || users().len() >= USERS / 4).await;
    process.kill();
    server.limit_requests(usize::MAX);
    let before = users().len();
    assert!(before < 2 * USERS, "the copy was killed too late");

    let (code, document, stderr) = copy(dir.path(), &server, "local:from", &to, &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let count = |name: &str| usize::try_from(document[name].as_u64().unwrap()).unwrap();
    assert_eq!(count("created") + count("unchanged"), 2 * USERS, "{document}");
    assert!(count("unchanged") >= before && count("created") > 0, "{before} before, {document}");
    let names: Vec<_> = users_of(&dir.path().join("from")).into_keys().map(|path| format!("users/{path}")).collect();
    assert_eq!(users(), names, "each object has one file");
}

#[tokio::test]
async fn a_folder_of_programs_of_requirement_001_is_a_source_and_stays_as_it_is() {
    let server = DriveServer::start();
    let ids = ["6f1f5a52-0d5c-4b8e-9c6b-3c1f5a520d5c", "6f1f5a52-0d5c-4b8e-9c6b-3c1f5a520d5d"];
    let json = |id: &str, name: &str| {
        format!(r#"{{"id":"{id}","username":"{name}","addr":"10.0.0.1:9000","registered_at":"2025-12-06T18:19:25Z"}}"#)
    };
    let profiles = [("alice", json(ids[0], "alice")), ("bob", json(ids[1], "bob"))];
    for ((_, profile), id) in profiles.iter().zip(ids) {
        server.put(&format!("user-{id}.json"), profile.clone());
    }
    // Reading needs no right to write.
    server.set_folder(FolderState::ReadOnly);
    let dir = tempfile::tempdir().unwrap();
    let (code, document, stderr) = copy(dir.path(), &server, &folder(), "local:to", &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 2)]);
    for (name, profile) in profiles {
        let copied = std::fs::read(dir.path().join("to/users").join(name).join("profile.json")).unwrap();
        assert_eq!(String::from_utf8(copied).unwrap(), profile);
    }
    assert_eq!(server.names(), ids.map(|id| format!("user-{id}.json")));
    assert_eq!(writes(&server, 0), Vec::<String>::new());
}

#[tokio::test]
async fn a_dry_run_to_a_drive_writes_nothing() {
    let (dir, server) = (source(), DriveServer::start());
    let (code, document, stderr) = copy(dir.path(), &server, "local:from", &folder(), &["--dry-run"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 5)]);
    assert_eq!((server.names(), writes(&server, 0)), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_wrong_folder_is_refused_before_anything_is_written() {
    let (dir, server) = (source(), server_with_table().await);
    let other = format!("drive:{DRIVE}/1Another-Folder");
    for (from, to, code, words) in [
        (folder(), folder(), 2, "are the same store"),
        (folder(), format!("drive:0AnotherDrive/{FOLDER}"), 2, "are the same store"),
        (folder(), "local:to".to_owned(), 78, "has no users: the folder"),
        ("local:from".to_owned(), format!("drive:{DRIVE}"), 2, "its folder is missing"),
        ("local:from".to_owned(), "drive:x/y".to_owned(), 78, "--to: shared_drive_id is \"x\""),
        ("local:from".to_owned(), other.clone(), 78, "there is no folder 1Another-Folder"),
        (other, "local:to".to_owned(), 78, "there is no folder 1Another-Folder"),
    ] {
        let (found, _, stderr) = copy(dir.path(), &server, &from, &to, &[]).await;
        assert!(found == Some(code) && stderr.contains(words), "{found:?} {stderr}");
    }
    assert!(!dir.path().join("to").exists());
    assert_eq!(server.names(), [".rollcall-slots-1.json"]);
}

/// Without the table no object is found, and the copy would be a part.
#[tokio::test]
async fn a_source_that_has_lost_its_slot_table_is_refused() {
    let server = DriveServer::start();
    let (store, _dir) = node(&server).await;
    put(&bucket(store), &profile("alice"), b"{}").await;
    server.purge(".rollcall-slots-1.json");
    let dir = tempfile::tempdir().unwrap();
    let (code, _, stderr) = copy(dir.path(), &server, &folder(), "local:to", &[]).await;
    assert!(code == Some(78) && stderr.contains("has lost its slot table"), "{code:?} {stderr}");
}
