//! `upload` and `download` against live clusters.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::typed::Desk;
use crate::cluster::Plan;
use crate::pictures::png;

/// The files below a directory, with their content.
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
async fn pictures_go_up_and_come_down_as_the_script_puts_them_and_only_once() {
    let cluster = Plan::quick().start().await;
    let (follower, _) = cluster.follower().await;
    let desk = Desk::new();
    let url = cluster.url(follower);
    for (name, shade) in [("a.png", 1), ("b.png", 2)] {
        fs::write(desk.path().join(name), png(8, 8, shade)).expect("the directory is ours");
    }
    desk.types(&["register", "--username", "alice", "--addr", "10.0.0.1:9000", "--server", &url]).await.code(0);
    let uploaded = desk.types(&["upload", "--username", "alice", "a.png", "b.png", "--json"]).await.code(0).json();
    let stored = uploaded["uploaded"].as_array().expect("a list");
    assert_eq!((stored.len(), &stored[1]["file"], &uploaded["failed"]), (2, &json!("b.png"), &json!([])));
    cluster.heartbeat("alice").await;

    let download = ["download", "--out", "out", "--server", &url, "--json"];
    let first = desk.types(&download).await.code(0).json();
    assert_eq!((&first["saved"], &first["already_there"], &first["clients"]), (&json!(2), &json!(0), &json!(1)));
    let mut files = tree(&desk.path().join("out"));
    let info: Value = serde_json::from_slice(&files.remove("alice/info.json").expect("info.json")).expect("JSON");
    assert_eq!(info, json!({"username": "alice", "addr": "10.0.0.1:9000"}));
    let of = |index: usize| format!("alice/{}", stored[index]["filename"].as_str().expect("a name"));
    assert_eq!(files, BTreeMap::from([(of(0), png(8, 8, 1)), (of(1), png(8, 8, 2))]));

    // One is gone and one is spoilt, of the same length: both are fetched again, and nothing else is.
    let path = |index: usize| desk.path().join("out").join(of(index));
    let mut spoilt = png(8, 8, 1);
    *spoilt.last_mut().expect("bytes") ^= 1;
    fs::write(path(0), &spoilt).expect("it is ours");
    let second = desk.types(&download).await.code(0).json();
    assert_eq!((&second["saved"], &second["already_there"]), (&json!(1), &json!(1)), "{second}");
    assert_eq!(fs::read(path(0)).expect("it is there"), png(8, 8, 1));
    let third = desk.types(&download).await.code(0).json();
    assert_eq!((&third["saved"], &third["already_there"], &third["bytes"]), (&json!(0), &json!(2), &json!(0)));
}

#[tokio::test]
async fn what_fails_is_named_and_the_rest_is_done() {
    let cluster = Plan::quick().nodes(1).start().await;
    let (desk, url) = (Desk::new(), cluster.url(0));
    cluster.register("alice", "10.0.0.1:1").await;
    cluster.register("bob", "10.0.0.1:2").await;
    fs::write(desk.path().join("good.png"), png(8, 8, 1)).expect("the directory is ours");
    fs::write(desk.path().join("large.png"), png(200, 200, 1)).expect("the directory is ours");
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
        let typed = desk.types(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await.code(code);
        let json = typed.json();
        assert_eq!(json["uploaded"].as_array().map(Vec::len), Some(good), "{json}");
        assert_eq!(json["failed"].as_array().map(Vec::len), Some(files.len() - good), "{json}");
        assert!(typed.stderr().contains("128x128"), "{}", typed.stderr());
        typed.error();
    }
    desk.types(&["upload", "--username", "nobody", "good.png", "--server", &url]).await.code(3).error();

    for user in ["alice", "bob"] {
        cluster.upload(user, &png(8, 8, 7)).await;
        cluster.heartbeat(user).await;
    }
    // A link in the place of a client's folder leads nowhere.
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(desk.path().join("out")).expect("the directory is ours");
    symlink(elsewhere.path(), desk.path().join("out/bob")).expect("the directory is ours");
    let typed = desk.types(&["download", "--out", "out", "--server", &url, "--json"]).await.code(5);
    let json = typed.json();
    assert_eq!(json["failed"][0]["username"], "bob", "{json}");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("it is ours").count(), 0);
    assert!(desk.path().join("out/alice/info.json").exists());
}

#[tokio::test]
async fn nobody_online_is_nothing_to_download_and_no_failure() {
    let cluster = Plan::quick().nodes(1).start().await;
    let desk = Desk::new();
    let typed = desk.types(&["download", "--server", &cluster.url(0)]).await.code(0);
    assert!(typed.stderr().contains("No clients are online"), "{}", typed.stderr());
    assert!(!desk.path().join("online_clients").exists());
}
