//! `rollcall storage copy` as a process: between local directories, and to a Cloud Storage.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rollcall_test_support::s3_server::{BUCKET as S3_BUCKET, Preconditions, S3Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake_gcs::{BUCKET, FakeGcs, Fault};
use crate::cluster::{Process, copy_dir, rollcall, until};

pub(super) const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bucket-004/users");

/// Users in the larger source. Enough that a copy of it can be interrupted.
pub(super) const USERS: usize = 60;

/// Files below a directory, by their path.
pub(super) fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below it").to_string_lossy().into_owned();
                files.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    files
}

/// The objects of users in a local bucket.
pub(super) fn users_of(bucket: &Path) -> BTreeMap<String, Vec<u8>> {
    tree(&bucket.join("users"))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("the directory is ours");
    fs::write(path, bytes).expect("the directory is ours");
}

fn profile(name: &str, id: usize, password_version: u32) -> String {
    json!({
        "id": format!("0f5b8a52-1111-4222-8333-{id:012}"), "username": name,
        "registered_at": "2025-12-06T18:19:25Z", "password_version": password_version,
    })
    .to_string()
}

/// A directory with the bucket `from`: the fixture, and the objects of a cluster.
pub(super) fn source() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bucket = dir.path().join("from");
    copy_dir(Path::new(FIXTURE), &bucket.join("users"));
    for internal in ["cluster.json", "nodes/10.0.0.1:8080.json", "secrets/tokens.json", "checks/00000001.txt"] {
        write(&bucket.join(internal), internal);
    }
    dir
}

/// A directory with the bucket `from`: many users, each with a profile and an image.
pub(super) fn large_source() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for number in 0..USERS {
        let user = dir.path().join("from/users").join(format!("user{number}"));
        write(&user.join("profile.json"), profile(&format!("user{number}"), number, 0));
        write(&user.join("images/1733511234-a1b2c3d4.png"), vec![1; number]);
    }
    dir
}

/// Requests of the check of preconditions with which a copy to Cloud Storage begins: eight reads,
/// eight creates and the read-backs of seven, two replacements and the read-back of one, a read and
/// a deletion.
const CHECK_REQUESTS: usize = 8 + 8 + 7 + 2 + 1 + 1 + 1;

/// Runs a copy in a directory. Returns its exit code, the JSON document, and standard error.
async fn copy(dir: &Path, to: &str, arguments: &[&str], fake: Option<&FakeGcs>) -> (Option<i32>, Value, String) {
    let mut command = tokio::process::Command::from(rollcall(dir));
    command.args(["storage", "copy", "--json", "--from", "local:from", "--to", to]).args(arguments).kill_on_drop(true);
    if let Some(fake) = fake {
        command.env("STORAGE_EMULATOR_HOST", fake.url());
    }
    let Output { status, stdout, stderr } = command.output().await.expect("the program starts");
    let stderr = String::from_utf8(stderr).unwrap();
    (status.code(), serde_json::from_slice(&stdout).unwrap_or_default(), stderr)
}

/// Checks the counts of a JSON document that are not zero.
#[track_caller]
pub(super) fn assert_counts(document: &Value, expected: &[(&str, usize)]) {
    let names = ["created", "replaced", "unchanged", "newer_in_target", "ignored", "conflicts", "failed"];
    let counts: Vec<_> = names.into_iter().map(|name| (name, document[name].as_u64())).collect();
    let found: Vec<_> = counts.into_iter().filter(|(_, count)| *count != Some(0)).collect();
    let expected: Vec<_> = expected.iter().map(|(name, count)| (*name, u64::try_from(*count).ok())).collect();
    assert_eq!(found, expected, "{document}");
}

#[tokio::test]
async fn users_and_images_are_copied_byte_for_byte_and_nothing_of_the_cluster() {
    let dir = source();
    let (code, document, stderr) = copy(dir.path(), "local:to/bucket", &[], None).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 5)]);
    assert_eq!((&document["users"], &document["end"]), (&json!(2), &json!("complete")));
    assert!(stderr.contains("The last pass needs stopped nodes"), "{stderr}");
    assert!(!dir.path().join("from/.tmp").exists(), "a source is opened for reading only");
    let to = dir.path().join("to/bucket");
    assert_eq!(users_of(&to), tree(Path::new(FIXTURE)));
    assert!(tree(&to).keys().all(|path| path.starts_with("users/")), "{:?}", tree(&to).keys());

    let (code, document, _) = copy(dir.path(), "local:to/bucket", &[], None).await;
    assert_eq!(code, Some(0));
    assert_counts(&document, &[("unchanged", 5)]);
    assert_eq!(document["bytes"], 0);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let dir = source();
    let before = tree(dir.path());
    let (code, planned, stderr) = copy(dir.path(), "local:to", &["--dry-run"], None).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&planned, &[("created", 5)]);
    assert!(tree(dir.path()) == before && !dir.path().join("to").exists());

    let fake = FakeGcs::start();
    let (code, planned, stderr) = copy(dir.path(), &format!("gcs:{BUCKET}"), &["--dry-run"], Some(&fake)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&planned, &[("created", 5)]);
    assert!(tree(dir.path()) == before && fake.paths().is_empty());
    assert!(!stderr.contains("last pass"), "{stderr}");

    fs::create_dir(dir.path().join("to")).unwrap();
    let (code, planned, stderr) = copy(dir.path(), "local:to", &["--dry-run"], None).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&planned, &[("created", 5)]);
    for bucket in ["from", "to"] {
        let names: Vec<_> = fs::read_dir(dir.path().join(bucket)).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(names.iter().all(|entry| entry.file_name() != ".tmp" && entry.file_name() != ".lock"), "{names:?}");
    }
}

#[tokio::test]
async fn a_conflict_is_reported_and_not_overwritten_and_a_greater_revision_replaces_a_smaller_one() {
    let dir = tempfile::tempdir().unwrap();
    let user = |bucket: &str, name: &str| dir.path().join(bucket).join("users").join(name).join("profile.json");
    for (name, source, target) in [
        ("changed", profile("changed", 1, 2), profile("changed", 1, 1)),
        ("later", profile("later", 2, 1), profile("later", 2, 2)),
        ("twice", profile("twice", 3, 1), profile("twice", 3, 1) + " "),
        ("other", profile("other", 4, 1), profile("other", 5, 0)),
    ] {
        write(&user("from", name), source);
        write(&user("to", name), target);
    }
    write(&dir.path().join("from/users/other/images/1.png"), "image of the user in the source");
    let before = users_of(&dir.path().join("to"));
    let (code, document, stderr) = copy(dir.path(), "local:to", &[], None).await;
    assert_eq!(code, Some(5), "{stderr}");
    assert_counts(&document, &[("replaced", 1), ("newer_in_target", 1), ("conflicts", 2)]);
    let mut objects: Vec<_> =
        document["conflict_list"].as_array().unwrap().iter().map(|row| row["object"].as_str().unwrap()).collect();
    objects.sort_unstable();
    assert_eq!(objects, ["users/other/profile.json", "users/twice/profile.json"]);
    for object in objects {
        assert!(stderr.contains(&format!("! {object}: not overwritten")), "{stderr}");
    }
    let mut after = users_of(&dir.path().join("to"));
    assert_eq!(
        after.insert("changed/profile.json".to_owned(), before["changed/profile.json"].clone()),
        Some(profile("changed", 1, 2).into_bytes())
    );
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_copy_that_was_killed_continues_where_it_was() {
    let (dir, fake) = (large_source(), FakeGcs::start());
    fake.faults().set_outage(Some(Fault::Slow(Duration::from_millis(20))));
    let to = format!("gcs:{BUCKET}");
    let mut command = rollcall(dir.path());
    command.args(["storage", "copy", "--from", "local:from", "--to", &to]).env("STORAGE_EMULATOR_HOST", fake.url());
    let process = Process::start_without_flag(command, &dir.path().join("out"), &dir.path().join("err"));
    until("a part of the copy", async || fake.paths().len() >= USERS / 2).await;
    process.kill();
    fake.faults().set_outage(None);
    // A request of the killed process may still be running.
    let before = fake.paths().len();
    assert!(before < 2 * USERS, "the copy was killed too late");

    let (code, document, stderr) = copy(dir.path(), &to, &[], Some(&fake)).await;
    assert_eq!(code, Some(0), "{stderr}");
    let (created, unchanged) = (document["created"].as_u64().unwrap(), document["unchanged"].as_u64().unwrap());
    assert_eq!(created + unchanged, u64::try_from(2 * USERS).unwrap(), "{document}");
    assert!(unchanged >= u64::try_from(before).unwrap() && created > 0, "{before} before, {document}");
    let expected: Vec<_> = users_of(&dir.path().join("from")).into_keys().map(|path| format!("users/{path}")).collect();
    assert_eq!(fake.paths(), expected);
    assert_eq!(fake.media_type("users/user1/profile.json").as_deref(), Some("application/json"));

    // The other direction gives the same files.
    let mut command = rollcall(dir.path());
    command.args(["storage", "copy", "--from", &to, "--to", "local:back"]).env("STORAGE_EMULATOR_HOST", fake.url());
    let output = tokio::process::Command::from(command).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(users_of(&dir.path().join("back")), users_of(&dir.path().join("from")));
}

#[tokio::test]
async fn a_copy_to_s3_below_a_prefix_and_back_gives_the_same_files() {
    let (dir, server) = (source(), S3Server::start(Preconditions::Honoured));
    let s3 = format!("s3:{S3_BUCKET}/team/é");
    for (from, to) in [("local:from", s3.as_str()), (s3.as_str(), "local:back")] {
        let mut command = tokio::process::Command::from(rollcall(dir.path()));
        command.args(["storage", "copy", "--from", from, "--to", to]).envs(server.variables());
        // The locator names the store, and not this setting.
        command.env_remove("S3_BUCKET").env("FIREBASE_BUCKET", BUCKET);
        let output = command.output().await.expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(users_of(&dir.path().join("back")), tree(Path::new(FIXTURE)));
    let names: Vec<_> = tree(Path::new(FIXTURE)).into_keys().map(|path| format!("team/é/users/{path}")).collect();
    assert_eq!(server.names(), names);
}

#[tokio::test]
async fn ctrl_c_ends_a_copy_with_what_was_done_and_the_next_one_continues() {
    let (dir, fake) = (large_source(), FakeGcs::start());
    fake.faults().set_outage(Some(Fault::Slow(Duration::from_millis(20))));
    let to = format!("gcs:{BUCKET}");
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let mut command = rollcall(dir.path());
    command.args(["storage", "copy", "--json", "--from", "local:from", "--to", &to]);
    let mut process = Process::start_without_flag(
        {
            command.env("STORAGE_EMULATOR_HOST", fake.url());
            command
        },
        &out,
        &err,
    );
    until("a part of the copy", async || fake.paths().len() >= USERS / 2).await;
    process.signal(Signal::INT);
    assert_eq!(process.wait().await.code(), Some(5));
    let stopped: Value = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    let created = usize::try_from(stopped["created"].as_u64().unwrap()).unwrap();
    assert_eq!((&stopped["end"], created), (&json!("stopped"), fake.paths().len()), "every object is whole");
    assert!(created < 2 * USERS && fs::read_to_string(err).unwrap().contains("copy again to continue"));

    fake.faults().set_outage(None);
    let (code, document, stderr) = copy(dir.path(), &to, &[], Some(&fake)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_counts(&document, &[("created", 2 * USERS - created), ("unchanged", created)]);
}

#[tokio::test]
async fn a_damaged_write_is_detected() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), FakeGcs::start());
    write(&dir.path().join("from/users/alice/profile.json"), profile("alice", 1, 0));
    assert_eq!(copy(dir.path(), &format!("gcs:{BUCKET}"), &[], Some(&fake)).await.0, Some(0));
    write(&dir.path().join("from/users/alice/images/1.png"), "image");
    // The profile and the image are read before the image is written.
    fake.faults().inject(CHECK_REQUESTS + 2, Fault::None);
    fake.faults().inject(1, Fault::DamageObjects);
    let (code, document, stderr) = copy(dir.path(), &format!("gcs:{BUCKET}"), &[], Some(&fake)).await;
    assert_eq!(code, Some(5), "{stderr}");
    assert_counts(&document, &[("unchanged", 1), ("failed", 1)]);
    assert!(stderr.contains("✗ users/alice/images/1.png: it was damaged: SHA-256 "), "{stderr}");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_named_and_the_others_are_copied() {
    let dir = source();
    let vera = dir.path().join("from/users/vera/images");
    // Larger than any object of Rollcall.
    fs::File::create(vera.join("2.png")).unwrap().set_len(5 << 20).unwrap();
    write(&vera.join("notes.txt"), "not an image");
    let (code, document, stderr) = copy(dir.path(), "local:to", &[], None).await;
    assert_eq!(code, Some(5), "{stderr}");
    assert_counts(&document, &[("created", 5), ("ignored", 1), ("failed", 1)]);
    for line in ["✗ users/vera/images/2.png: ", "- users/vera/images/notes.txt: ignored"] {
        assert!(stderr.contains(line), "no {line:?} in {stderr}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_ends_the_copy_with_69() {
    let (dir, fake) = (large_source(), FakeGcs::start());
    fake.faults().set_outage(Some(Fault::Status(403)));
    let to = format!("gcs:{BUCKET}");
    let (code, _, stderr) = copy(dir.path(), &to, &[], Some(&fake)).await;
    assert!(code == Some(69) && stderr.contains("error: cannot use the target: "), "{stderr}");
    assert!(stderr.contains("Storage Object Admin") && !stderr.contains("last pass"), "{stderr}");

    let (code, document, stderr) = copy(dir.path(), &to, &["--dry-run"], Some(&fake)).await;
    assert_eq!(code, Some(69), "{stderr}");
    assert_eq!((&document["failed"], &document["users"]), (&json!(USERS), &json!(USERS)));
    assert_eq!(document["failed_list"].as_array().unwrap().len(), USERS);
    // Three failures are printed, and the others with the same cause are counted.
    assert_eq!(stderr.matches("✗ users/user").count(), 3, "{stderr}");
    let rest = format!("✗ {} more failed for the same cause as users/user", USERS - 3);
    assert!(stderr.contains(&rest) && !stderr.contains("last pass"), "{stderr}");
}

#[tokio::test]
async fn a_target_that_ignores_preconditions_is_refused_before_the_first_object() {
    let (dir, server) = (source(), S3Server::start(Preconditions::Ignored));
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::from(rollcall(dir.path()));
        command.args(["storage", "copy", "--from", "local:from", "--to", &format!("s3:{S3_BUCKET}")]).args(arguments);
        let output = command.envs(server.variables()).env_remove("S3_BUCKET").output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = run(&[]).await;
    assert!(code == Some(78) && stderr.contains("it ignores preconditions"), "{code:?} {stderr}");
    // A dry run writes no object of a check.
    assert_eq!(run(&["--dry-run"]).await.0, Some(0));
    assert_eq!(server.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_source_or_target_is_refused_before_anything_is_written() {
    let (dir, server) = (source(), S3Server::start(Preconditions::Honoured));
    let s3 = |prefix: &str| format!("s3:{S3_BUCKET}{prefix}");
    fs::create_dir(dir.path().join("empty")).unwrap();
    std::os::unix::fs::symlink("from", dir.path().join("link")).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::from(rollcall(dir.path()));
        command.envs(server.variables()).env_remove("S3_BUCKET");
        let output = command.args(["storage", "copy"]).args(arguments).output().await.unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for (from, to, code, words) in [
        ("local:from", "local:./from", 2, "are the same store"),
        ("local:from", "local:link", 2, "are the same store"),
        ("local:from", "local:link/users", 2, "one of them contains the other"),
        ("local:from", "local:from/new/bucket", 2, "one of them contains the other"),
        ("local:from/users", "local:to/../from", 2, "one of them contains the other"),
        (&s3("/p"), &s3("/p/users"), 2, "one of them contains the other"),
        (&s3("/p"), &s3(""), 2, "one of them contains the other"),
        (&s3("/p"), &s3("/p"), 2, "are the same store"),
        ("local:empty", "local:to", 78, "has no users: the local directory empty; name the directory of the bucket"),
        (&s3("/none"), "local:to", 78, "check the bucket and the prefix"),
        (&s3("/p"), &s3("/p-2"), 78, "check the bucket and the prefix"),
        (
            "local:from",
            "from",
            2,
            "give local:PATH, gcs:BUCKET, s3:BUCKET[/PREFIX], azure:CONTAINER[/PREFIX] or drive:",
        ),
        ("local:from", "gcs:a/b/c", 78, "--to: firebase_bucket is \"a/b/c\""),
        ("s3:x", "local:to", 78, "--from: s3_bucket is \"x\""),
        ("local:missing", "local:to", 78, "there is no directory missing; name the directory of the bucket"),
        ("local:from", "gcs:your-project.firebasestorage.app", 78, "credentials/firebase-storage.json"),
    ] {
        let (found, stderr) = run(&["--from", from, "--to", to]).await;
        assert!(found == Some(code) && stderr.contains(words), "{found:?} {stderr}");
    }
    assert!(!dir.path().join("to").exists() && !dir.path().join("missing").exists());
    assert_eq!(server.names(), Vec::<String>::new());
    let (code, help) = run(&["--help"]).await;
    assert!(code == Some(0) && help.contains("the last pass needs stopped nodes"), "{help}");
}
