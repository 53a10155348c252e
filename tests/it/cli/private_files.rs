//! Permissions of the files of a node, and warnings about secrets that others can read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::cluster::{Plan, until};
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
    // The snapshot is written at an orderly end.
    assert!(cluster.sigterm(0).await.success());
    let written = modes(&data);
    let named = |name: &str| written.iter().any(|(path, _)| path.ends_with(name));
    for name in ["lock", "snapshot", "ballot.json", ".lock", "profile.json", "tokens.json"] {
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
