//! Tests of `download_online_clients.sh` against running clusters.
//!
//! The script needs bash, curl, jq and base64. If one is missing, the test fails and names it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::{Cluster, Plan, free_port};
use crate::sample_images::png;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/download_online_clients.sh");
const NEEDED: [&str; 4] = ["bash", "curl", "jq", "base64"];

/// Timeout of the script. It waits up to 15 s for a leader, and a busy machine needs more time.
const SCRIPT_TIME: Duration = Duration::from_mins(1);

/// Result of a run: its output, and the directory with its files.
pub(super) struct Run {
    pub(super) output: Output,
    dir: TempDir,
}

impl Run {
    pub(super) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    pub(super) fn check_code(&self, code: i32) {
        assert_eq!(self.output.status.code(), Some(code), "{}{}", self.stdout(), self.stderr());
    }

    /// Files below `online_clients` with their contents.
    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.dir.path().join("online_clients");
        let mut files = BTreeMap::new();
        for user in fs::read_dir(&root).into_iter().flatten() {
            let user = user.expect("readable").path();
            for file in fs::read_dir(user).expect("a folder for each client") {
                let path = file.expect("readable").path();
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                files.insert(name, fs::read(&path).expect("readable"));
            }
        }
        files
    }
}

/// Path of an installed program. Panics with the install command if it is missing.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("{program} is missing: this test runs download_online_clients.sh; install with: sudo apt-get install bash curl jq coreutils")
    })
}

fn script(dir: &Path, url: &str) -> Command {
    for program in NEEDED {
        find(program);
    }
    let mut command = Command::new(find("bash"));
    command.arg(SCRIPT).arg(url).current_dir(dir).env_remove("OUTPUT_DIR").stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn download(url: &str) -> Run {
    download_in_locale(url, "C").await
}

/// A server that answers like a leader with these online clients. Dropping the set stops it.
async fn fake_leader(clients: Value) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let list = json!({"online_clients": clients}).to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let is_list = request[..read].starts_with(b"GET /discover_with_images ");
            let body = if is_list { list.as_str() } else { r#"{"is_leader":true}"# };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + body).as_bytes()).await;
        }
    });
    (url, tasks)
}

/// Runs the script with this file of certificate authorities.
pub(super) async fn download_with_authority(url: &str, authority: Option<&Path>) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = script(dir.path(), url);
    command.env_remove("ROLLCALL_CA").envs(authority.map(|path| ("ROLLCALL_CA", path)));
    let output = timeout(SCRIPT_TIME, command.output()).await.expect("it ends").expect("bash is there");
    Run { output, dir }
}

/// Runs the script in this locale.
async fn download_in_locale(url: &str, locale: &str) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = script(dir.path(), url);
    command.env("LC_ALL", locale);
    let output = timeout(SCRIPT_TIME, command.output()).await.expect("it ends").expect("bash is there");
    Run { output, dir }
}

/// A cluster where alice (two images) and bob (one image) are online, and the expected image files.
pub(super) async fn with_alice_and_bob(plan: Plan) -> (Cluster, BTreeMap<String, Vec<u8>>) {
    let cluster = plan.start().await;
    let mut files = BTreeMap::new();
    for (user, addr, shades) in [("alice", "10.40.6.26:9000", &[1, 2][..]), ("bob", "10.40.6.26:9001", &[3])] {
        cluster.register(user, addr).await;
        for shade in shades {
            let image = png(128, 100, *shade);
            files.insert(format!("{user}/{}", cluster.upload(user, &image).await), image);
        }
        cluster.heartbeat(user).await;
    }
    (cluster, files)
}

#[track_caller]
fn check_tree(run: &Run, images: &BTreeMap<String, Vec<u8>>) {
    let mut tree = run.tree();
    for (user, addr) in [("alice", "10.40.6.26:9000"), ("bob", "10.40.6.26:9001")] {
        let info: Value =
            serde_json::from_slice(&tree.remove(&format!("{user}/info.json")).expect("info.json")).expect("JSON");
        assert_eq!(info, json!({"username": user, "addr": addr}));
    }
    assert_eq!(&tree, images);
}

/// Expected output of the script: the one of requirement 004, step 6, and the totals.
fn documented_output(leader: &str, images: &BTreeMap<String, Vec<u8>>) -> String {
    let names: Vec<&str> = images.keys().filter_map(|path| path.split('/').nth(1)).collect();
    format!(
        "\
===================================
Downloading Online Clients & Images
===================================
Leader: {leader}
Output: ./online_clients

Fetching data from {leader}/discover_with_images...

Client: alice @ 10.40.6.26:9000
  Images: 2
    ✓ {}
    ✓ {}

Client: bob @ 10.40.6.26:9001
  Images: 1
    ✓ {}

===================================
Download complete!
Files saved to: ./online_clients/
===================================
Total: 2 clients, 3 images
",
        names[0], names[1], names[2]
    )
}

#[tokio::test]
async fn the_script_prints_the_documented_output_and_saves_the_files() {
    let (cluster, images) = with_alice_and_bob(Plan::documented()).await;
    let leader = cluster.url(cluster.leader().await);
    let run = download(&leader).await;
    run.check_code(0);
    assert_eq!(run.stdout(), documented_output(&leader, &images));
    assert_eq!(run.stderr(), "");
    check_tree(&run, &images);
}

#[tokio::test]
async fn with_the_url_of_a_follower_the_script_contacts_the_leader() {
    let (cluster, images) = with_alice_and_bob(Plan::documented()).await;
    let (follower, leader) = cluster.follower().await;
    let run = download(&cluster.url(follower)).await;
    run.check_code(0);
    assert_eq!(run.stdout(), documented_output(&cluster.url(leader), &images));
    check_tree(&run, &images);
}

#[tokio::test]
async fn the_script_waits_for_an_election_to_end() {
    let (mut cluster, images) = with_alice_and_bob(Plan::documented()).await;
    let (follower, leader) = cluster.follower().await;
    cluster.kill9(leader);
    let follower = cluster.url(follower);
    let running = download(&follower);
    let heartbeats = async {
        cluster.leader_after(leader).await;
        cluster.heartbeat("alice").await;
        cluster.heartbeat("bob").await;
    };
    let (run, ()) = tokio::join!(running, heartbeats);
    run.check_code(0);
    // The script may ask the new leader before the first heartbeat reaches it.
    if run.stdout().contains("Download complete!") {
        let mut found = run.tree();
        found.retain(|name, _| !name.ends_with("info.json"));
        assert!(found.iter().all(|(name, bytes)| images.get(name) == Some(bytes)), "{}", run.stdout());
    } else {
        assert!(run.stdout().contains("No clients are online"), "{}", run.stdout());
    }
    let again = download(&follower).await;
    again.check_code(0);
    check_tree(&again, &images);
}

#[tokio::test]
async fn the_script_succeeds_if_no_client_is_online() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.register("alice", "10.40.6.26:9000").await;
    cluster.upload("alice", &png(8, 8, 1)).await;
    let run = download(&cluster.url(0)).await;
    run.check_code(0);
    assert!(run.stdout().contains("No clients are online"), "{}", run.stdout());
    assert!(run.tree().is_empty());
}

#[tokio::test]
async fn a_client_without_images_and_address_gets_a_folder() {
    let cluster = Plan::quick().nodes(1).start().await;
    cluster.lead().post("/register", r#"{"username":"alice"}"#).await;
    cluster.heartbeat("alice").await;
    let run = download(&cluster.url(0)).await;
    run.check_code(0);
    assert!(run.stdout().contains("Client: alice @ (no address)\n  Images: 0\n    (no images)\n"), "{}", run.stdout());
    assert!(run.stdout().ends_with("\nTotal: 1 client, 0 images\n"), "{}", run.stdout());
    let tree = run.tree();
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["alice/info.json"]);
    let info: Value = serde_json::from_slice(&tree["alice/info.json"]).expect("JSON");
    assert_eq!(info, json!({"username": "alice", "addr": ""}));
}

#[tokio::test]
async fn without_a_reachable_node_the_script_fails_with_one_error_line() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let run = download(&url).await;
    run.check_code(1);
    let stderr = run.stderr();
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(matches!(errors[..], [error] if error.contains(&url)), "{stderr}");
    assert!(run.tree().is_empty());
}

#[tokio::test]
async fn a_missing_jq_is_reported_with_the_install_command() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).expect("the directory is ours");
    for program in
        ["bash", "curl", "base64", "mktemp", "rm", "cat", "head", "tr", "awk", "sleep", "mkdir", "mv", "chmod"]
    {
        symlink(find(program), bin.join(program)).expect("the directory is ours");
    }
    let output = script(dir.path(), "http://127.0.0.1:9").env("PATH", &bin).output().await.expect("bash is there");
    let run = Run { output, dir };
    run.check_code(1);
    let stderr = run.stderr();
    assert!(stderr.starts_with("error: missing: jq;") && stderr.contains("apt-get install"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// A client of a fake leader, whose images have the bytes `image`.
fn client(name: impl Into<Value>, images: &[&str]) -> Value {
    let images: Vec<Value> = images.iter().map(|name| json!({"filename": name, "data": "aW1hZ2U="})).collect();
    json!({"username": name.into(), "addr": "", "images": images})
}

#[tokio::test]
async fn every_valid_name_is_saved_in_every_locale() {
    let longest = ("é".repeat(127) + "x", "a".repeat(124) + ".png");
    let users = [
        "mona ali",
        "Zoë",
        "محمد",
        "日本語",
        "😀",
        " a ",
        "-rf",
        "--help",
        "...",
        ".ssh",
        "a'b\"c",
        "a\\b",
        "$(touch x)",
        "*",
        "!",
        "(",
        &longest.0,
    ];
    let images = [
        "1733511234-a1b2c3d4.png",
        "1733511235-e5f6g7h8.PNG",
        "1733511234-550e8400-e29b-41d4-a716-446655440000.jpg",
        "photo.JpEg",
        "-x.webp",
        "a..png",
        &longest.1,
    ];
    let (url, _server) = fake_leader(users.iter().map(|user| client(*user, &images)).collect()).await;
    for locale in ["C", "C.UTF-8"] {
        let run = download_in_locale(&url, locale).await;
        run.check_code(0);
        let tree = run.tree();
        for user in users {
            let info: Value = serde_json::from_slice(&tree[&format!("{user}/info.json")]).expect("JSON");
            assert_eq!(info, json!({"username": user, "addr": ""}));
            for image in images {
                assert_eq!(tree[&format!("{user}/{image}")], b"image", "{user}/{image}");
            }
        }
        assert_eq!(tree.len(), users.len() * (images.len() + 1), "{locale}");
        let total = format!("\nTotal: {} clients, {} images\n", users.len(), users.len() * images.len());
        assert!(run.stdout().ends_with(&total), "{}", run.stdout());
        assert!(run.stdout().contains("\nClient: mona ali @ (no address)\n  Images: 7\n"), "{}", run.stdout());
    }
}

#[tokio::test]
async fn a_name_that_is_no_safe_path_segment_is_refused_in_every_locale() {
    let long = ("é".repeat(128), "a".repeat(125) + ".png");
    let users = ["", ".", "..", "a/b", "/etc", "../x", "a\nb", "a\u{1f}b", "a\u{7f}b", "a\u{85}b", "a\0b", &long.0];
    let images = [
        "",
        ".png",
        "..png",
        "a/b.png",
        "../x.png",
        "a.gif",
        "a.png\n",
        "a b.png",
        "é.png",
        "info.json",
        "a.png.txt",
        "png",
        &long.1,
    ];
    let clients = users.iter().map(|user| client(*user, &["1.png"])).chain([
        client(Value::Null, &["1.png"]),
        client(7, &["1.png"]),
        client("carol", &images),
    ]);
    let (url, _server) = fake_leader(clients.collect()).await;
    for locale in ["C", "C.UTF-8"] {
        let run = download_in_locale(&url, locale).await;
        run.check_code(1);
        assert_eq!(run.tree().keys().collect::<Vec<_>>(), ["carol/info.json"], "{locale}");
        let outside = fs::read_dir(run.dir.path()).expect("readable").count();
        assert_eq!(outside, 1, "only online_clients was made");
        assert_eq!(run.stdout().matches("refused: this is no username").count(), users.len() + 2, "{}", run.stdout());
        assert_eq!(run.stdout().matches("refused: this is no image name").count(), images.len(), "{}", run.stdout());
    }
}

#[tokio::test]
async fn hidden_characters_of_names_and_addresses_are_not_printed() {
    let hostile = "e\u{202e}vil";
    let mut clients = vec![client(hostile, &["1.png"])];
    clients[0]["addr"] = "1.2.3.4\u{1b}[2J".into();
    let (url, _server) = fake_leader(clients.into()).await;
    let run = download(&url).await;
    run.check_code(0);
    assert!(run.stdout().contains("Client: e?vil @ 1.2.3.4?[2J\n"), "{}", run.stdout());
    assert_eq!(run.tree()[&format!("{hostile}/1.png")], b"image");
}

#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link() {
    let (url, _server) = fake_leader(json!([client("alice", &["1.png"]), client("mona ali", &["1.png"])])).await;
    let (dir, elsewhere) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let output = dir.path().join("online_clients");
    fs::create_dir_all(output.join("alice")).expect("the directory is ours");
    fs::write(elsewhere.path().join("theirs"), "theirs").expect("the directory is ours");
    symlink(elsewhere.path().join("theirs"), output.join("alice/1.png")).expect("the directory is ours");
    symlink(elsewhere.path(), output.join("mona ali")).expect("the directory is ours");
    let run = script(dir.path(), &url).output().await.expect("bash is there");
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(fs::read_to_string(elsewhere.path().join("theirs")).expect("readable"), "theirs");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 1);
    assert_eq!(fs::read(output.join("alice/1.png")).expect("readable"), b"image");
}
