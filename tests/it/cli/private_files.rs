//! Permissions of the files of a node, and warnings about secrets that others can read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use tokio::process::Command;

use crate::cluster::{Plan, rollcall, until};
use crate::sample_images::png;

/// All files and directories below `dir`, and `dir` itself, with their modes.
fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mode = |path: &Path| fs::symlink_metadata(path).map_or(0, |found| found.mode() & 0o777);
    let mut found = vec![(dir.to_owned(), mode(dir))];
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(modes(&path));
        } else {
            found.push((path.clone(), mode(&path)));
        }
    }
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test]
async fn the_files_of_a_node_are_private_and_those_of_earlier_versions_become_private_at_its_start() {
    let mut cluster = Plan::quick().nodes(1).start().await;
    cluster.leader().await;
    cluster.register("alice", "127.0.0.1:9000").await;
    cluster.upload("alice", &png(8, 8, 1)).await;
    let data = cluster.dir().join("data");
    // A thread makes the ballast after the start. The snapshot is written at an orderly end.
    let ballast = cluster.node_dir(0).join("ballast");
    until("the ballast", async || ballast.exists()).await;
    assert!(cluster.sigterm(0).await.success());
    let written = modes(&data);
    let named = |name: &str| written.iter().any(|(path, _)| path.ends_with(name));
    for name in ["lock", "snapshot", "ballot.json", "ballast", ".lock", "profile.json", "tokens.json"] {
        assert!(named(name), "{name} in {written:?}");
    }
    let wide: Vec<_> = written.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(wide.is_empty(), "{wide:?}");

    let node_dir = cluster.node_dir(0);
    let mut all: Vec<PathBuf> = ["lock", "snapshot", "ballot.json"].iter().map(|name| node_dir.join(name)).collect();
    all.extend([node_dir, cluster.bucket().join(".lock")]);
    for path in &all {
        set_mode(path, if path.is_dir() { 0o755 } else { 0o644 });
    }
    cluster.start(0);
    cluster.leader().await;
    for path in &all {
        let mode = fs::metadata(path).expect("it exists").mode() & 0o077;
        assert_eq!(mode, 0, "{}", path.display());
    }
}

#[tokio::test]
async fn a_node_warns_once_about_a_cluster_key_file_that_others_can_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("cluster.key");
    fs::write(&key, "0123456789abcdef0123456789abcdef\n").expect("writable");
    let path = key.display().to_string();
    for (mode, warnings) in [(0o644, 1), (0o600, 0)] {
        set_mode(&key, mode);
        let cluster = Plan::quick().nodes(1).env("ROLLCALL_CLUSTER_KEY_FILE", &path).start().await;
        cluster.leader().await;
        let count = || cluster.stderr(0).matches(&format!("chmod 600 {path}")).count();
        until("the log of the start", async || count() == warnings).await;
        assert_eq!(count(), warnings, "{mode:o}");
    }
}

/// Nothing listens on this port.
const NOBODY: &str = "http://127.0.0.1:1";

/// Checks a store whose credentials are in `file`, and returns the log.
async fn check_storage(file: &Path, variables: &[(&str, &str)], file_variable: &str) -> String {
    let mut command = Command::from(rollcall(file.parent().expect("it is in a directory")));
    command.args(["storage", "check"]).envs(variables.iter().copied()).env(file_variable, file);
    let output = command.output().await.expect("the program starts");
    assert!(!output.status.success(), "there is no store");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test]
async fn a_command_warns_about_a_credentials_file_of_google_aws_or_azure_that_others_can_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = [("exposed", 0o644), ("private", 0o600)].map(|(name, mode)| {
        let file = dir.path().join(name);
        // It is a token, and no key file of Google. So no request goes to Google.
        fs::write(&file, "token").expect("writable");
        set_mode(&file, mode);
        (file, mode)
    });
    let google = [("FIREBASE_BUCKET", "test-bucket")];
    let drive = [("SHARED_DRIVE_ID", "drive"), ("REGISTERED_USERS_FOLDER_ID", "folder")];
    let aws = [
        ("S3_BUCKET", "test-bucket"),
        ("S3_ENDPOINT", NOBODY),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/a"),
        ("AWS_ENDPOINT_URL_STS", NOBODY),
    ];
    let azure = [
        ("AZURE_CONTAINER", "container"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ENDPOINT", NOBODY),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_AUTHORITY_HOST", NOBODY),
    ];
    let stores = [
        (&google[..], "GOOGLE_APPLICATION_CREDENTIALS"),
        (&drive, "GOOGLE_CREDENTIALS"),
        (&aws, "AWS_WEB_IDENTITY_TOKEN_FILE"),
        (&azure, "AZURE_FEDERATED_TOKEN_FILE"),
    ];
    // A check of a store that nobody reaches takes ten seconds, so they run at once.
    let checks = stores.iter().flat_map(|store| files.iter().map(move |file| (store, file)));
    let checks = checks.map(async |((variables, name), (file, mode))| {
        let log = check_storage(file, variables, name).await;
        let warnings = log.matches(&format!("chmod 600 {}", file.display())).count();
        // The check opens a store again for its step with pages.
        assert_eq!(warnings > 0, *mode == 0o644, "{name} {mode:o}: {log}");
    });
    join_all(checks).await;
}
