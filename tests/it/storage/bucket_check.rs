//! The check of a bucket: its steps, and `test_firebase` as a process.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use rollcall::storage::bucket_check::{CheckOutcome, check_bucket};
use rollcall::storage::{Backend, GcsBackend, GcsConfig, Key, RetryPolicy};
use rollcall_core::Username;
use tokio::process::Command;

use super::fake_gcs::{BUCKET, FakeGcs, Fault, bucket_name};

/// Requests of each successful step on an empty bucket: create; create and read-back; get; list;
/// list; delete and get.
const REQUESTS: [(&str, usize); 6] =
    [("write", 1), ("refuse a second write", 2), ("read", 1), ("list", 1), ("profiles", 1), ("delete", 2)];

/// Runs the check with short backoffs. Returns the outcome, the steps that succeeded, and the steps
/// that failed with their reasons.
async fn run(fake: &FakeGcs) -> (CheckOutcome, Vec<&'static str>, Vec<(&'static str, String)>) {
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let policy = RetryPolicy { initial_backoff: Duration::from_millis(1), ..RetryPolicy::default() };
    let open = async {
        Ok(Arc::new(GcsBackend::connect(GcsConfig::emulator(&bucket_name(), &fake.url())).await.unwrap()) as _)
    };
    let outcome = check_bucket("credentials", Box::pin(open), policy, 7, |step| match &step.result {
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
    assert_eq!(succeeded, ["credentials", "write", "refuse a second write", "read", "list", "profiles", "delete"]);
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(fake.faults().requests(), REQUESTS.iter().map(|(_, requests)| requests).sum::<usize>());
}

#[tokio::test]
async fn a_failed_step_is_named_with_a_remedy_and_the_object_is_deleted() {
    let mut before = 0;
    for (name, requests) in REQUESTS {
        let fake = FakeGcs::start();
        fake.faults().inject(before, Fault::None);
        fake.faults().inject(1, Fault::Status(403));
        let (outcome, succeeded, failed) = run(&fake).await;
        assert_eq!(outcome, CheckOutcome::Failed, "{name}");
        let [(failed, reason)] = failed.as_slice() else { panic!("{name}: {failed:?}") };
        assert_eq!(*failed, name);
        assert!(reason.contains("Storage Object Admin"), "{reason}");
        assert!(name == "delete" || succeeded.last() == Some(&"delete"), "{succeeded:?}");
        // If the delete itself fails, the error names the object that is left.
        match fake.paths().as_slice() {
            [] => assert_ne!(name, "delete"),
            left => assert!(left == ["checks/00000007.txt"] && reason.contains(&left[0]), "{reason}"),
        }
        before += requests;
    }
}

#[tokio::test]
async fn a_server_that_overwrites_objects_fails_the_check() {
    let fake = FakeGcs::start();
    fake.faults().inject(1, Fault::None);
    fake.faults().inject(1, Fault::Overwrite);
    let (outcome, succeeded, failed) = run(&fake).await;
    assert_eq!((outcome, succeeded), (CheckOutcome::Failed, vec!["credentials", "write", "delete"]));
    assert!(failed[0].1.contains("ifGenerationMatch"), "{failed:?}");
    assert_eq!(fake.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn an_object_whose_write_response_was_lost_is_deleted_too() {
    let fake = FakeGcs::start();
    fake.faults().inject(1, Fault::LoseResponse);
    fake.faults().inject(1, Fault::Status(403));
    let (outcome, succeeded, failed) = run(&fake).await;
    assert_eq!((outcome, succeeded), (CheckOutcome::Failed, vec!["credentials", "delete"]));
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

#[tokio::test]
async fn the_program_reports_a_working_bucket() {
    let fake = FakeGcs::start();
    let (code, text) = test_firebase(&[("FIREBASE_BUCKET", BUCKET), ("STORAGE_EMULATOR_HOST", &fake.url())], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches('✓').count(), 7, "{text}");
    assert!(text.contains(" ms\n") && text.ends_with("The bucket works.\n"), "{text}");
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
    assert_eq!(text.matches('✓').count(), 7, "{text}");
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
    assert!(text.contains("✗ write") && text.contains("Storage Object Admin"), "{text}");

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
        (&[("FIREBASE_BUCKET", "No Bucket")], "is not the name of a bucket"),
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
