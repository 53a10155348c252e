//! Tests of `upload` and `download` against running clusters.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::shell::Shell;
use crate::cluster::Plan;
use crate::sample_images::png;

/// Files below a directory with their contents.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for user in fs::read_dir(root).into_iter().flatten() {
        let user = user.expect("readable").path();
        for file in fs::read_dir(user).expect("a folder for each client") {
            let path = file.expect("readable").path();
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            files.insert(name, fs::read(&path).expect("readable"));
        }
    }
    files
}

#[tokio::test]
async fn images_are_uploaded_and_downloaded_once_into_the_folders_that_the_script_uses() {
    let cluster = Plan::quick().start().await;
    let (follower, _) = cluster.follower().await;
    let shell = Shell::new();
    let url = cluster.url(follower);
    for (name, shade) in [("a.png", 1), ("b.png", 2)] {
        fs::write(shell.path().join(name), png(8, 8, shade)).expect("the directory is ours");
    }
    shell.run(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", "--server", &url]).await.code(0);
    let uploaded = shell.run(&["upload", "--username", "alice", "a.png", "b.png", "--json"]).await.code(0).json();
    let stored = uploaded["uploaded"].as_array().expect("a list");
    assert_eq!((stored.len(), &stored[1]["file"], &uploaded["failed"]), (2, &json!("b.png"), &json!([])));
    cluster.heartbeat("alice").await;

    let download = ["download", "--out", "out", "--server", &url, "--json"];
    let first = shell.run(&download).await.code(0).json();
    assert_eq!((&first["saved"], &first["already_there"], &first["clients"]), (&json!(2), &json!(0), &json!(1)));
    let mut files = tree(&shell.path().join("out"));
    let info: Value = serde_json::from_slice(&files.remove("alice/info.json").expect("info.json")).expect("JSON");
    assert_eq!(info, json!({"username": "alice", "addr": "10.0.0.1:9000"}));
    let of = |index: usize| format!("alice/{}", stored[index]["filename"].as_str().expect("a name"));
    assert_eq!(files, BTreeMap::from([(of(0), png(8, 8, 1)), (of(1), png(8, 8, 2))]));

    // Only the file with the same length but another content is downloaded again.
    let path = |index: usize| shell.path().join("out").join(of(index));
    let mut changed = png(8, 8, 1);
    *changed.last_mut().expect("bytes") ^= 1;
    fs::write(path(0), &changed).expect("the directory is ours");
    let second = shell.run(&download).await.code(0).json();
    assert_eq!((&second["saved"], &second["already_there"]), (&json!(1), &json!(1)), "{second}");
    assert_eq!(fs::read(path(0)).expect("it is there"), png(8, 8, 1));
    let third = shell.run(&download).await.code(0).json();
    assert_eq!((&third["saved"], &third["already_there"], &third["bytes"]), (&json!(0), &json!(2), &json!(0)));
}

#[tokio::test]
async fn a_failed_file_is_named_and_the_other_files_are_processed() {
    let cluster = Plan::quick().nodes(1).start().await;
    let (shell, url) = (Shell::new(), cluster.url(0));
    cluster.register("alice", "10.0.0.1:1").await;
    cluster.register("bob", "10.0.0.1:2").await;
    fs::write(shell.path().join("good.png"), png(8, 8, 1)).expect("the directory is ours");
    fs::write(shell.path().join("large.png"), png(200, 200, 1)).expect("the directory is ours");
    let upload = |files: &[&'static str]| {
        [&["upload", "--username", "alice", "--json", "--server"][..], &[url.as_str()], files]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    for (files, code, good) in
        [(&["good.png", "large.png", "none.png"][..], 5, 1), (&["large.png", "none.png"], 1, 0), (&["large.png"], 1, 0)]
    {
        let arguments = upload(files);
        let result = shell.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.code(code);
        let json = result.json();
        assert_eq!(json["uploaded"].as_array().map(Vec::len), Some(good), "{json}");
        assert_eq!(json["failed"].as_array().map(Vec::len), Some(files.len() - good), "{json}");
        assert!(result.stderr().contains("128x128"), "{}", result.stderr());
        result.error();
    }
    shell.run(&["upload", "--username", "nobody", "good.png", "--server", &url]).await.code(3).error();

    for user in ["alice", "bob"] {
        cluster.upload(user, &png(8, 8, 7)).await;
        cluster.heartbeat(user).await;
    }
    // A symbolic link in place of a client's folder is not followed.
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(shell.path().join("out")).expect("the directory is ours");
    symlink(elsewhere.path(), shell.path().join("out/bob")).expect("the directory is ours");
    let result = shell.run(&["download", "--out", "out", "--server", &url, "--json"]).await.code(5);
    let json = result.json();
    assert_eq!(json["failed"][0]["username"], "bob", "{json}");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("the directory is ours").count(), 0);
    assert!(shell.path().join("out/alice/info.json").exists());
}

#[tokio::test]
async fn a_download_succeeds_without_files_if_no_client_is_online() {
    let cluster = Plan::quick().nodes(1).start().await;
    let shell = Shell::new();
    let result = shell.run(&["download", "--server", &cluster.url(0)]).await.code(0);
    assert!(result.stderr().contains("No clients are online"), "{}", result.stderr());
    assert!(!shell.path().join("online_clients").exists());
}
