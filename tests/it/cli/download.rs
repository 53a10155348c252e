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
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::{Cluster, Plan, free_port};
use crate::sample_images::png;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/download_online_clients.sh");
const NEEDED: [&str; 4] = ["bash", "curl", "jq", "base64"];

/// Timeout of the script. It waits up to 15 s for a leader, and a busy machine needs more time.
const SCRIPT_TIME: Duration = Duration::from_mins(1);

/// Result of a run: its output, and the directory with its files.
struct Run {
    output: Output,
    dir: TempDir,
}

impl Run {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn check_code(&self, code: i32) {
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = timeout(SCRIPT_TIME, script(dir.path(), url).output()).await.expect("it ends").expect("bash is there");
    Run { output, dir }
}

/// A cluster where alice (two images) and bob (one image) are online, and the expected image files.
async fn with_alice_and_bob(plan: Plan) -> (Cluster, BTreeMap<String, Vec<u8>>) {
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

/// Expected output of the script, as in requirement 004, step 6.
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
    assert!(run.stdout().contains("Client: alice @ (no address)\n  Images: 0\n"), "{}", run.stdout());
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
