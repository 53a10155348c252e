//! A node that cannot start prints one error line with the remedy, and exits with the documented
//! code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rollcall_test_support::certificates::test_certificate;
use rollcall_test_support::drive_server::{DriveServer, FolderState};
use rollcall_test_support::s3_server::{Preconditions, S3Server};
use tempfile::TempDir;

use crate::cluster::{Plan, Process, free_port, rollcall};
use crate::storage::fake_gcs::{BUCKET, FakeGcs, Fault};

const CONFIG: &str = include_str!("../../../config.toml");

/// Runs a node that must exit by itself; returns its exit code and its standard error.
async fn run(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = rollcall(dir);
    command.args(arguments).env("API_PORT", free_port().to_string()).env("ROLLCALL_API_BIND", "127.0.0.1");
    command.envs(variables.iter().copied());
    let (out, err) = (dir.join("out"), dir.join("err"));
    let _ = fs::remove_file(&err);
    let status = Process::start(command, &out, &err).wait().await;
    (status.code(), fs::read_to_string(err).expect("the file of standard error"))
}

/// Checks the exit code, and that the one error line contains all the words.
#[track_caller]
fn check((code, stderr): &(Option<i32>, String), expected: i32, words: &[&str]) {
    assert_eq!(*code, Some(expected), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("not one error line: {stderr}") };
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A directory with the configuration of a cluster of one node, and the node's name.
fn cluster_of_one(extra: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = format!("127.0.0.1:{}", free_port());
    let config = format!("this_node = \"{node}\"\npeers = [\"{node}\"]\n{extra}");
    fs::write(dir.path().join("config.toml"), config).expect("the directory is ours");
    (dir, node)
}

#[tokio::test]
async fn a_wrong_configuration_exits_with_78_and_names_the_line_and_the_remedy() {
    let rows: [(&str, &[&str]); 7] = [
        (
            "heartbeat_intervall_ms = 5\n",
            &["config.toml:3", "heartbeat_intervall_ms", "did you mean heartbeat_interval_ms?"],
        ),
        ("storage_timeout_ms = \"x\"\n", &["config.toml:3", "storage_timeout_ms", "but must be"]),
        ("election_timeout_min_ms = 6000\n", &["config.toml:3", "6000", "5000"]),
        ("heartbeat_interval_ms = 2000\n", &["config.toml:3", "2000", "3000"]),
        ("peers = [\n", &["config.toml", "TOML"]),
        ("load_source = \"moon\"\n", &["config.toml:3", "moon", "cpu"]),
        ("firebase_bucket = \"gs://x\"\n", &["config.toml:3", "gs://x", "the name of a bucket"]),
    ];
    for (line, words) in rows {
        let (dir, _) = cluster_of_one(line);
        check(&run(dir.path(), &[], &[]).await, 78, words);
        assert!(!dir.path().join("data").exists(), "no file is created before the configuration is valid");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_served_exits_with_78() {
    let (dir, _) = cluster_of_one("tls_cert = \"node.pem\"\ntls_key = \"node-key.pem\"\n");
    check(&run(dir.path(), &[], &[]).await, 78, &["cannot read the tls_cert node.pem", "put the file there"]);
    let (made, other) = (test_certificate(|_| ()), test_certificate(|_| ()));
    made.write(dir.path(), "node");
    other.write(dir.path(), "other");
    let mixed = [("ROLLCALL_TLS_KEY", "other-key.pem")];
    check(&run(dir.path(), &[], &mixed).await, 78, &["other-key.pem does not belong", "node.pem"]);
    check(&run(dir.path(), &[], &[("ROLLCALL_TLS_KEY", "node.pem")]).await, 78, &["tls_key node.pem holds no usable"]);
    let plain = [("ROLLCALL_API_URL", "http://localhost:3000")];
    check(&run(dir.path(), &[], &plain).await, 78, &["ROLLCALL_API_URL", "begin it with https://"]);
    assert!(!dir.path().join("data").exists(), "no file is created before the configuration is valid");
    let (dir, _) = cluster_of_one("tls_cert = \"node.pem\"\n");
    check(&run(dir.path(), &[], &[]).await, 78, &["config.toml:3", "tls_cert is set", "ROLLCALL_TLS_KEY"]);
}

#[tokio::test]
async fn a_node_that_is_not_in_peers_or_twice_in_peers_exits_with_78() {
    let (dir, node) = cluster_of_one("");
    let ended = run(dir.path(), &["--this-node", "127.0.0.1:9"], &[]).await;
    check(&ended, 78, &["--this-node", "127.0.0.1:9", &node, "peers"]);
    let twice = format!("{node},{node}");
    check(&run(dir.path(), &["--peers", &twice], &[]).await, 78, &["--peers", &node]);
}

#[tokio::test]
async fn a_missing_configuration_exits_with_78_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(&run(dir.path(), &[], &[]).await, 78, &["config.toml", "--config", "rollcall demo"]);
    check(&run(dir.path(), &["--config", "elsewhere.toml"], &[]).await, 78, &["elsewhere.toml", "--config"]);
}

#[tokio::test]
async fn a_wrong_flag_exits_with_2_and_suggests_the_right_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (code, stderr) = run(dir.path(), &["--confg", "config.toml"], &[]).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--config"), "{stderr}");
}

#[tokio::test]
async fn a_port_in_use_exits_with_71_and_names_the_setting() {
    let (dir, node) = cluster_of_one("");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    check(&run(dir.path(), &["--api-port", &port], &[]).await, 71, &[&port, "API_PORT"]);
    let election = TcpListener::bind(&node).expect("it was free");
    check(&run(dir.path(), &[], &[]).await, 71, &[&node, "--this-node"]);
    drop(election);
    check(&run(dir.path(), &[], &[("ROLLCALL_API_BIND", "192.0.2.1")]).await, 71, &["192.0.2.1", "API"]);
}

#[tokio::test]
async fn a_second_process_of_a_node_exits_with_78_and_does_not_disturb_the_first() {
    let cluster = Plan::quick().start().await;
    let leader = cluster.leader().await;
    let term = cluster.health(leader).await.expect("it answers")["term"].clone();
    let ended = run(cluster.dir(), &["--config", "config.toml", "--this-node", &cluster.name(leader)], &[]).await;
    check(&ended, 78, &["another process is this node already", "--this-node"]);
    let health = cluster.health(leader).await.expect("it answers");
    assert_eq!((&health["is_leader"], &health["term"]), (&serde_json::json!(true), &term));
}

#[tokio::test]
async fn a_bucket_without_credentials_exits_with_78_and_names_the_file() {
    let (dir, _) = cluster_of_one("");
    let bucket = ("FIREBASE_BUCKET", "your-project.firebasestorage.app");
    let ended = run(dir.path(), &[], &[bucket]).await;
    check(&ended, 78, &["credentials/firebase-storage.json", "GOOGLE_APPLICATION_CREDENTIALS"]);
    let ended = run(dir.path(), &[], &[bucket, ("GOOGLE_APPLICATION_CREDENTIALS", "keys/other.json")]).await;
    check(&ended, 78, &["keys/other.json", "GOOGLE_APPLICATION_CREDENTIALS"]);
    fs::write(dir.path().join("torn.json"), "{\"type\": \"service_acc").expect("the directory is ours");
    let ended = run(dir.path(), &[], &[bucket, ("GOOGLE_APPLICATION_CREDENTIALS", "torn.json")]).await;
    check(&ended, 78, &["torn.json"]);
}

#[tokio::test]
async fn a_malformed_private_key_exits_with_78_and_never_appears_in_the_output() {
    const PEM: &str = include_str!("../../fixtures/private_key.pem");
    let (dir, _) = cluster_of_one("");
    let key_file = |private_key: &str| {
        serde_json::json!({
            "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key_id": "1",
            "private_key": private_key, "project_id": "your-project",
        })
        .to_string()
    };
    let body: String = PEM.lines().filter(|line| !line.starts_with("-----")).collect();
    for content in [
        key_file(&PEM.replace('\n', "\\n")),
        key_file(&PEM.replace('\n', "")),
        key_file(&PEM.replace('\n', " ")),
        key_file(&PEM[..PEM.len() / 2]),
        key_file(&format!("\u{feff}{PEM}")),
        key_file(PEM).replace("\\n", "\n"),
        PEM.to_owned(),
    ] {
        fs::write(dir.path().join("key.json"), &content).expect("the directory is ours");
        let variables = [("FIREBASE_BUCKET", "your-project"), ("GOOGLE_APPLICATION_CREDENTIALS", "key.json")];
        let ended = run(dir.path(), &[], &variables).await;
        check(&ended, 78, &["key.json", "Generate new private key"]);
        let output = ended.1 + &fs::read_to_string(dir.path().join("out")).expect("the file of standard output");
        // Parts of the key, and its first bytes and those of the file as numbers.
        let parts = body.as_bytes().chunks(16).map(|part| std::str::from_utf8(part).expect("ASCII"));
        for part in parts.chain(["45, 45, 45, 45", "48, 130, 4", "77, 73, 73"]) {
            assert!(!output.contains(part), "{part} in {output}");
        }
    }
}

#[tokio::test]
async fn a_folder_of_google_drive_that_cannot_be_used_exits_with_78() {
    let (dir, _) = cluster_of_one("");
    let server = DriveServer::start();
    server.set_folder(FolderState::ReadOnly);
    let [drive, folder, host] = server.variables();
    let variables = [(drive.0, &*drive.1), (folder.0, &folder.1), (host.0, &host.1)];
    check(&run(dir.path(), &[], &variables).await, 78, &["may not write into the folder", "Content manager"]);
    let missing = [(drive.0, &*drive.1)];
    check(&run(dir.path(), &[], &missing).await, 78, &["registered_users_folder_id", "REGISTERED_USERS_FOLDER_ID"]);
    let two = [(folder.0, &*folder.1), ("FIREBASE_BUCKET", "your-project.firebasestorage.app")];
    check(&run(dir.path(), &[], &two).await, 78, &["two storages", "registered_users_folder_id"]);
    let google = [(drive.0, &*drive.1), (folder.0, &folder.1)];
    check(&run(dir.path(), &[], &google).await, 78, &["credentials/service-account.json", "GOOGLE_CREDENTIALS"]);
}

#[tokio::test]
async fn an_unreachable_storage_exits_with_69_and_says_how_to_check_it() {
    let (dir, _) = cluster_of_one("");
    let unused_addr = format!("127.0.0.1:{}", free_port());
    let variables = [
        ("FIREBASE_BUCKET", "your-project.firebasestorage.app"),
        ("STORAGE_EMULATOR_HOST", unused_addr.as_str()),
        ("ROLLCALL_STORAGE_TIMEOUT_MS", "1000"),
    ];
    check(&run(dir.path(), &[], &variables).await, 69, &["cluster.json", "rollcall storage check"]);
}

#[tokio::test]
async fn a_storage_that_ignores_preconditions_exits_with_78_and_gets_no_cluster() {
    let (dir, _) = cluster_of_one("");
    let fake = FakeGcs::start();
    fake.faults().set_outage(Some(Fault::Overwrite));
    let variables = [("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())];
    check(&run(dir.path(), &[], &variables).await, 78, &["8 of 8 creates", "do not use this store"]);
    assert_eq!(fake.paths(), Vec::<String>::new());

    let server = S3Server::start(Preconditions::Ignored);
    let variables = server.variables();
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    check(&run(dir.path(), &[], &variables).await, 78, &["S3 bucket", "8 of 8 creates", "do not use this store"]);
    assert_eq!(server.names(), Vec::<String>::new());
}

#[tokio::test]
async fn an_unusable_data_directory_exits_with_78() {
    let (dir, _) = cluster_of_one("");
    fs::write(dir.path().join("data"), "a file").expect("the directory is ours");
    check(&run(dir.path(), &[], &[]).await, 78, &["data", "--data-dir"]);
}

/// The configuration file in the repository is valid without changes.
#[test]
fn the_example_configuration_is_valid() {
    let load = |text: &str| {
        rollcall::config::Config::load(Some(("config.toml", text)), &|_| None, &rollcall::config::Flags::default())
    };
    assert!(load(CONFIG).is_ok());
    assert!(load(&CONFIG.replace("peers = ", "pears = ")).is_err(), "the test detects an invalid file");
}
