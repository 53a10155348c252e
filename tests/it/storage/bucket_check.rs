//! The check of a bucket: its steps, and the program under both of its names.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use rollcall::storage::bucket_check::{CheckOutcome, OpenFuture, check_bucket};
use rollcall::storage::{Backend, GcsBackend, GcsConfig, Key, RetryPolicy};
use rollcall_core::Username;
use rollcall_test_support::s3_server::{Preconditions, S3Server};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::fake_gcs::{BUCKET, FakeGcs, Fault, bucket_name};
use crate::cluster::{Process, until};

/// Requests of each successful step on an empty bucket.
const REQUESTS: [(&str, usize); 10] = [
    ("reach", 1),
    ("write", 1),
    // The refused create is read back.
    ("refuse a second create", 2),
    // Eight reads, eight creates, and seven read-backs.
    ("race of creates", 23),
    ("replace", 2),
    // A read, two replacements with one read-back, a read, and a stale replacement with its
    // read-back.
    ("refuse a stale replace", 7),
    // A create, and two pages.
    ("list over a page border", 3),
    ("read", 1),
    ("profiles", 1),
    // Each of three objects is deleted and read.
    ("delete", 6),
];

/// Number of requests before a step.
fn requests_before(step: &str) -> usize {
    REQUESTS.iter().take_while(|(name, _)| *name != step).map(|(_, requests)| requests).sum()
}

/// Runs the check with short backoffs. Returns the outcome, the steps that succeeded, and the steps
/// that failed with their reasons.
async fn run(fake: &FakeGcs) -> (CheckOutcome, Vec<&'static str>, Vec<(&'static str, String)>) {
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let policy = RetryPolicy { initial_backoff: Duration::from_millis(1), ..RetryPolicy::default() };
    let open = |page_size: Option<usize>| -> OpenFuture<'_> {
        Box::pin(async move {
            let config = GcsConfig::emulator(&bucket_name(), &fake.url()).with_page_size(page_size.unwrap_or(1000));
            Ok(Arc::new(GcsBackend::connect(config).await.unwrap()) as _)
        })
    };
    let outcome = check_bucket(open, policy, 7, &CancellationToken::new(), |step| match &step.result {
        Ok(_) => succeeded.push(step.name),
        Err(reason) => failed.push((step.name, reason.clone())),
    })
    .await;
    (outcome, succeeded, failed)
}

#[tokio::test]
async fn a_working_bucket_passes_every_step_and_is_left_empty() {
    let fake = FakeGcs::start();
    let (outcome, succeeded, failed) = run(&fake).await;
    assert_eq!((outcome, failed), (CheckOutcome::Passed { unreadable_profiles: 0 }, vec![]));
    assert_eq!(succeeded, REQUESTS.map(|(name, _)| name));
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(fake.faults().requests(), REQUESTS.iter().map(|(_, requests)| requests).sum::<usize>());
}

#[tokio::test]
async fn a_failed_step_is_named_with_a_remedy_and_the_objects_are_deleted() {
    for (name, _) in REQUESTS {
        let fake = FakeGcs::start();
        fake.faults().inject(requests_before(name), Fault::None);
        fake.faults().inject(1, Fault::Status(403));
        let (outcome, succeeded, failed) = run(&fake).await;
        assert_eq!(outcome, CheckOutcome::Failed, "{name}");
        let [(failed, reason)] = failed.as_slice() else { panic!("{name}: {failed:?}") };
        assert_eq!(*failed, name);
        assert!(reason.contains("Storage Object Admin"), "{reason}");
        assert!(["reach", "delete"].contains(&name) || succeeded.last() == Some(&"delete"), "{succeeded:?}");
        // If the delete itself fails, the error names the object that is left.
        match fake.paths().as_slice() {
            [] => assert_ne!(name, "delete"),
            left => assert!(left == ["checks/00000007.txt"] && reason.contains(&left[0]), "{reason}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_ignores_a_precondition_fails_the_step_that_needs_it() {
    for (step, requests) in [
        ("refuse a second create", 0),
        // After the eight reads, the second of the eight creates.
        ("race of creates", 9),
        // Of the two replacements after the read, the second one.
        ("refuse a stale replace", 2),
        // The stale replacement.
        ("refuse a stale replace", 5),
    ] {
        let fake = FakeGcs::start();
        fake.faults().inject(requests_before(step) + requests, Fault::None);
        fake.faults().inject(1, Fault::Overwrite);
        let (outcome, succeeded, failed) = run(&fake).await;
        assert_eq!((outcome, succeeded.last()), (CheckOutcome::Failed, Some(&"delete")), "{step}");
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].0 == step && failed[0].1.contains("ifGenerationMatch"), "{failed:?}");
        assert_eq!(fake.paths(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_object_whose_write_response_was_lost_is_deleted_too() {
    let fake = FakeGcs::start();
    fake.faults().inject(requests_before("write"), Fault::None);
    fake.faults().inject(1, Fault::LoseResponse);
    fake.faults().inject(1, Fault::Status(403));
    let (outcome, succeeded, failed) = run(&fake).await;
    assert_eq!((outcome, succeeded), (CheckOutcome::Failed, vec!["reach", "delete"]));
    assert!(failed[0].1.contains("Storage Object Admin"), "{failed:?}");
    assert_eq!(fake.paths(), Vec::<String>::new());
}

/// Runs the program with these environment variables only.
async fn test_firebase(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test_firebase"));
    command.env_clear().envs(variables.iter().copied()).args(arguments).kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.expect("the program starts");
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// The text without the durations of the steps.
fn without_durations(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().filter(|word| word.parse::<u64>().is_err()).collect()).collect()
}

#[tokio::test]
async fn both_names_of_the_program_have_the_same_steps_and_output() {
    let fake = FakeGcs::start();
    let variables = [("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())];
    let (code, text) = test_firebase(&variables, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches('✓').count(), REQUESTS.len(), "{text}");
    assert!(text.contains(" ms\n") && text.ends_with("The storage works.\n"), "{text}");
    assert_eq!(fake.paths(), Vec::<String>::new());

    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::from(crate::cluster::rollcall(dir.path()));
    let output = command.args(["storage", "check"]).envs(variables).output().await.expect("the program starts");
    let other_name = String::from_utf8(output.stdout).unwrap();
    assert_eq!(without_durations(&other_name), without_durations(&text));
}

#[tokio::test]
async fn the_json_document_has_every_step_with_its_error() {
    let fake = FakeGcs::start();
    let variables = [("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())];
    let document = |text: &str| -> Value { serde_json::from_str(text.lines().next().unwrap_or_default()).expect(text) };
    let (code, text) = test_firebase(&variables, &["--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let passed = document(&text);
    let steps = passed["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| step["step"].as_str().unwrap()).collect::<Vec<_>>(), REQUESTS.map(|(n, _)| n));
    assert!(steps.iter().all(|step| step["ok"] == true && step["error"].is_null() && step["ms"].is_u64()), "{text}");
    assert_eq!((&passed["outcome"], &passed["unreadable_profiles"]), (&json!("passed"), &json!([])));

    fake.faults().set_outage(Some(Fault::Status(403)));
    let (code, text) = test_firebase(&variables, &["--json"]).await;
    assert_eq!(code, Some(69), "{text}");
    let failed = document(&text);
    assert_eq!((&failed["outcome"], &failed["steps"][0]["ok"]), (&json!("failed"), &json!(false)));
    assert!(failed["steps"][0]["error"].as_str().unwrap().contains("Storage Object Admin"), "{text}");
}

#[tokio::test]
async fn an_s3_store_passes_every_step_unless_it_ignores_preconditions() {
    let dir = tempfile::tempdir().unwrap();
    for (preconditions, code, words) in
        [(Preconditions::Honoured, 0, "The storage works."), (Preconditions::Ignored, 69, "✗ refuse a second create")]
    {
        let server = S3Server::start(preconditions);
        let mut command = Command::from(crate::cluster::rollcall(dir.path()));
        let output = command.args(["storage", "check"]).envs(server.variables()).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(code) && text.contains(words), "{text}");
        assert_eq!(server.names(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_check_after_the_running_step_and_leaves_no_object() {
    let fake = FakeGcs::start();
    fake.faults().inject(requests_before("race of creates") + 8, Fault::None);
    fake.faults().inject(8, Fault::Slow(Duration::from_millis(500)));
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let mut command = crate::cluster::rollcall(dir.path());
    command.args(["storage", "check"]).env("FIREBASE_BUCKET", BUCKET).env("STORAGE_EMULATOR_HOST", fake.url());
    let mut process = Process::start_without_flag(command, &out, &err);
    // The creates have arrived.
    until("the race", async || fake.faults().requests() >= requests_before("race of creates") + 16).await;
    process.signal(Signal::INT);
    assert_eq!(process.wait().await.code(), Some(5));
    let steps = std::fs::read_to_string(out).unwrap();
    assert!(steps.contains("✓ race of creates") && steps.contains("✓ delete"), "{steps}");
    assert!(!steps.contains("replace") && !steps.contains("works"), "{steps}");
    assert!(std::fs::read_to_string(err).unwrap().contains("error: stopped"));
    assert_eq!(fake.paths(), Vec::<String>::new());
}

/// Profiles that cannot be read, two that can, and one whose address is not shown.
const PROFILES: [(&str, &str); 6] = [
    (
        "alice",
        r#"{"user_id":"0f5b8a52-1111-4222-8333-444455556666","username":"alice","registered_at":"2025-12-06T18:19:25Z"}"#,
    ),
    (
        "mona ali",
        r#"{"id":"0f5b8a52-1111-4222-8333-444455556666","username":"mona ali","registered_at":"2025-12-06T18:19:25Z"}"#,
    ),
    (
        "hidden",
        r#"{"id":"0f5b8a52-1111-4222-8333-444455556666","username":"hidden","registered_at":"2025-12-06T18:19:25Z","addr":"myhost:9000"}"#,
    ),
    ("no-id", r#"{"username":"no-id","registered_at":"2025-12-06T18:19:25Z"}"#),
    (
        "other",
        r#"{"id":"0f5b8a52-1111-4222-8333-444455556666","username":"alice","registered_at":"2025-12-06T18:19:25Z"}"#,
    ),
    ("torn", "{"),
];

fn assert_lists_unreadable_profiles(text: &str) {
    let findings: Vec<&str> = text.lines().filter_map(|line| line.trim_start().strip_prefix("! ")).collect();
    assert!(
        text.contains("      - users/hidden/profile.json: \"addr\" is not shown: \"myhost:9000\" is not IP:PORT\n"),
        "{text}"
    );
    let [no_id, other, torn] = findings.as_slice() else { panic!("{text}") };
    assert_eq!(*no_id, "users/no-id/profile.json: field \"id\" is missing");
    assert_eq!(*other, "users/other/profile.json: it is the profile of \"alice\"");
    assert!(torn.starts_with("users/torn/profile.json: EOF while parsing"), "{torn}");
    assert!(text.contains("works. Repair the 3 listed with !"), "{text}");
}

#[tokio::test]
async fn the_program_lists_profiles_that_cannot_be_read() {
    let fake = FakeGcs::start();
    let gcs = GcsBackend::connect(GcsConfig::emulator(&bucket_name(), &fake.url())).await.unwrap();
    for (name, profile) in PROFILES {
        gcs.create(&Key::Profile(Username::parse(name).unwrap()), profile.into()).await.unwrap();
    }
    let (code, text) = test_firebase(&[("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_lists_unreadable_profiles(&text);
}

/// Runs `rollcall storage check` in a directory.
fn storage_check(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = crate::cluster::rollcall(dir);
    command.args(["storage", "check"]).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

#[test]
fn the_command_checks_a_local_bucket_and_lists_profiles_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = storage_check(dir.path(), &["--data-dir", "missing"]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("there is no directory missing/bucket") && !dir.path().join("missing").exists(), "{text}");
    for (name, profile) in PROFILES {
        let user = dir.path().join("data/bucket/users").join(name);
        std::fs::create_dir_all(&user).unwrap();
        std::fs::write(user.join("profile.json"), profile).unwrap();
    }
    let (code, text) = storage_check(dir.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Checking the local directory data/bucket"), "{text}");
    assert_eq!(text.matches('✓').count(), REQUESTS.len(), "{text}");
    assert_lists_unreadable_profiles(&text);
    std::fs::write(dir.path().join("data/bucket/checks/x"), "").expect("the directory is left");
}

#[tokio::test]
async fn the_program_exits_with_69_if_the_bucket_refuses_or_hangs() {
    let fake = FakeGcs::start();
    let variables = [("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())];
    fake.faults().set_outage(Some(Fault::Status(403)));
    let (code, text) = test_firebase(&variables, &[]).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("✗ reach") && text.contains("Storage Object Admin"), "{text}");

    fake.faults().set_outage(Some(Fault::Hang));
    let (code, text) = test_firebase(&variables, &["--timeout-seconds", "1"]).await;
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("no answer") && text.contains("network"), "{text}");
}

#[tokio::test]
async fn the_program_exits_with_78_if_the_environment_is_invalid() {
    for (variables, word) in [
        (&[][..], "FIREBASE_BUCKET is not set"),
        (&[("FIREBASE_BUCKET", "")], "FIREBASE_BUCKET is not set"),
        (&[("FIREBASE_BUCKET", "No Bucket")], "must be the name of a bucket"),
        (&[("FIREBASE_BUCKET", BUCKET), ("GOOGLE_APPLICATION_CREDENTIALS", "no/key.json")], "no/key.json"),
    ] {
        let (code, text) = test_firebase(variables, &[]).await;
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test]
async fn the_help_names_every_variable_and_exit_status() {
    let (code, text) = test_firebase(&[], &["--help"]).await;
    assert_eq!(code, Some(0));
    for word in ["FIREBASE_BUCKET", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "69", "78"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert_eq!(test_firebase(&[], &["--timeout-seconds", "0"]).await.0, Some(2));
}
