//! The store on Google Drive behind the fault proxy. The table of all faults is in
//! [`super::drive_fault_table`].

use std::sync::Arc;

use bytes::Bytes;
use rollcall::storage::{Backend, BackendError, Bucket, DriveBackend, Folder, Key, ObjectVersion};
use rollcall_test_support::drive_server::DriveServer;
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::cluster::until;

use super::failures::{FailingStore, Failure, every_failure};
use super::fault_table::CHANGED_BYTE;
use super::suite::{self, profile, put};

/// A store behind a fault proxy.
struct FailingDrive {
    store: Arc<DriveBackend>,
    proxy: FaultProxy,
    /// The number of requests of the start.
    start: usize,
    server: DriveServer,
    _dir: TempDir,
}

async fn open_failing() -> FailingDrive {
    let server = DriveServer::start();
    let proxy = FaultProxy::start(&server.url());
    let dir = tempfile::tempdir().unwrap();
    let store = DriveBackend::connect(&super::drive::config(&proxy.url(), &dir)).await.expect("the folder can be used");
    let start = proxy.requests().len();
    FailingDrive { store: Arc::new(store), proxy, start, server, _dir: dir }
}

/// An error of the API.
fn refusal(status: u16, reason: &str) -> Answer {
    let error =
        serde_json::json!({ "error": { "code": status, "message": "no\nmore", "errors": [{ "reason": reason }] } });
    Answer::json(status, error.to_string())
}

impl FailingStore for FailingDrive {
    fn bucket(&self) -> Bucket {
        suite::bucket(self.store.clone())
    }

    fn inject(&self, count: usize, failure: Failure) {
        for _ in 0..count {
            self.proxy.inject(Rule::once(match failure {
                Failure::Transient => Fault::Answer(refusal(503, "backendError")),
                Failure::Permanent => Fault::Answer(refusal(403, "insufficientFilePermissions")),
                Failure::LostResponse => Fault::CutResponse,
                Failure::Hang => Fault::Stall,
            }));
        }
    }

    fn calls(&self) -> usize {
        self.proxy.requests().len() - self.start
    }

    fn calls_of_a_refused_create(&self) -> usize {
        // The drive does not say which object has the id.
        2
    }
}

every_failure!(super::drive_faults::open_failing);

/// One call of each operation, directly to the store.
async fn one_of_each(store: &DriveBackend) -> [(&'static str, Option<BackendError>); 5] {
    let version = ObjectVersion("1".into());
    [
        ("create", store.create(&Key::Cluster, Bytes::new()).await.err()),
        ("replace", store.replace_if(&profile("alice"), &version, Bytes::new()).await.err()),
        ("get", store.get(&profile("alice")).await.err()),
        ("list", store.list(&Folder::Users, None).await.err()),
        ("delete", store.delete(&profile("alice")).await.err()),
    ]
}

#[tokio::test]
async fn a_temporary_failure_is_transient_and_costs_one_request() {
    let drive = open_failing().await;
    put(&drive.bucket(), &profile("alice"), b"1").await;
    for fault in [
        Fault::Answer(refusal(403, "userRateLimitExceeded")),
        Fault::Answer(refusal(403, "rateLimitExceeded")),
        Fault::Answer(refusal(429, "rateLimitExceeded")),
        Fault::Answer(refusal(500, "backendError")),
        Fault::Answer(Answer::html(404, "<html>not found</html>")),
        Fault::Answer(Answer::html(302, "").with_header("location", "/")),
        Fault::Cut,
    ] {
        let before = drive.calls();
        drive.proxy.inject(Rule::always(fault.clone()));
        for (operation, error) in one_of_each(&drive.store).await {
            assert!(matches!(error, Some(BackendError::Transient { .. })), "{operation} under {fault:?}: {error:?}");
        }
        drive.proxy.clear();
        assert_eq!(drive.calls() - before, 5, "{fault:?}");
    }
}

#[tokio::test]
async fn the_wait_that_the_drive_asks_for_is_kept() {
    let drive = open_failing().await;
    drive.proxy.inject(Rule::always(Fault::Answer(refusal(429, "rateLimitExceeded").with_header("retry-after", "7"))));
    let error = drive.store.get(&Key::Cluster).await.expect_err("refused");
    assert!(matches!(error, BackendError::Transient { retry_after: Some(wait), .. } if wait.as_secs() == 7));
}

#[tokio::test]
async fn a_write_whose_response_is_lost_at_any_request_takes_effect_once() {
    for method in ["GET", "PATCH"] {
        for fault in [Fault::CutResponse, Fault::Truncate, Fault::Cut, Fault::Answer(refusal(503, "backendError"))] {
            let drive = open_failing().await;
            let bucket = drive.bucket();
            let version = put(&bucket, &profile("alice"), b"1").await;
            drive.proxy.inject(Rule::once(fault.clone()).method(method));
            let replaced = bucket.replace_if(&profile("alice"), &version, "2".into()).await.unwrap();
            let found = bucket.get(&profile("alice")).await.unwrap().unwrap();
            assert_eq!((found.bytes, Some(found.version)), (Bytes::from_static(b"2"), replaced), "{method} {fault:?}");
            drive.proxy.inject(Rule::once(fault.clone()).method("PATCH"));
            bucket.delete(&profile("alice")).await.unwrap();
            drive.proxy.inject(Rule::once(fault.clone()).method("PATCH"));
            put(&bucket, &profile("alice"), b"3").await;
            assert_eq!(
                drive.server.contents("users/alice/profile.json"),
                [Bytes::from_static(b"3")],
                "{method} {fault:?}"
            );
        }
    }
}

/// [`BackendError`] promises it for every error but a transient one.
#[tokio::test]
async fn an_error_that_says_that_nothing_was_written_is_true() {
    let refused = || Rule::always(Fault::Answer(refusal(403, "insufficientFilePermissions")));
    let check = |error: Option<BackendError>, drive: &FailingDrive, before: &[Bytes], request: &str| {
        let is_written = drive.server.contents("users/alice/profile.json") != before;
        let is_promised = !matches!(error, None | Some(BackendError::Transient { .. }));
        assert!(is_written != is_promised, "refused at {request}: {error:?}");
    };
    // A replacement reads, writes, and reads.
    for passed in 0..=3 {
        let drive = open_failing().await;
        let version = put(&drive.bucket(), &profile("alice"), b"1").await;
        drive.proxy.inject(Rule::times(passed, Fault::Pass));
        drive.proxy.inject(refused());
        let error = drive.store.replace_if(&profile("alice"), &version, "2".into()).await.err();
        check(error, &drive, &[Bytes::from_static(b"1")], &format!("request {passed} of a replacement"));
    }
    // A create repairs what was changed on its way.
    let drive = open_failing().await;
    drive.proxy.inject(Rule::once(Fault::CorruptUpload(CHANGED_BYTE)).method("POST"));
    drive.proxy.inject(refused());
    let error = drive.store.create(&profile("alice"), "2".into()).await.err();
    check(error, &drive, &[], "the repair of a create");
}

/// The lease of the leader makes this rare. Only the read-back notices it.
#[tokio::test]
async fn of_two_replacements_by_two_nodes_at_the_same_moment_only_the_later_one_is_acknowledged() {
    let drive = open_failing().await;
    let (other, _other_dir) = super::drive::node(&drive.server).await;
    let key = profile("alice");
    let version = put(&drive.bucket(), &key, b"1").await;
    let may_read_back = Arc::new(Notify::new());
    drive.proxy.inject(Rule::times(2, Fault::Pass));
    drive.proxy.inject(Rule::once(Fault::Hold(Arc::clone(&may_read_back))));
    let later = async {
        until("the first write", async || drive.server.history("users/alice/profile.json").len() == 2).await;
        let read = other.get(&key).await.unwrap().expect("it is there");
        let replaced = other.replace_if(&key, &read.version, "3".into()).await;
        may_read_back.notify_one();
        replaced
    };
    let (first, later) = tokio::join!(drive.store.replace_if(&key, &version, "2".into()), later);
    assert!(later.is_ok(), "{later:?}");
    assert!(matches!(first, Err(BackendError::Precondition)), "{first:?}");
}

#[tokio::test]
async fn a_listing_with_a_failed_page_is_no_listing() {
    let drive = open_failing().await;
    let bucket = drive.bucket();
    for n in 0..7 {
        put(&bucket, &profile(&format!("user{n}")), b"{}").await;
    }
    drive.proxy.inject(Rule::always(Fault::Answer(refusal(403, "forbidden"))).query("pageToken"));
    assert!(bucket.list(&Folder::Users).await.is_err());
    drive.proxy.clear();
    drive.proxy.inject(Rule::once(Fault::Truncate).query("pageToken"));
    assert_eq!(bucket.list(&Folder::Users).await.unwrap().len(), 7);
}

#[tokio::test]
async fn a_start_rides_out_faults_of_every_kind() {
    let server = DriveServer::start();
    let proxy = FaultProxy::start(&server.url());
    let dir = tempfile::tempdir().unwrap();
    for fault in [
        Fault::Cut,
        Fault::CutResponse,
        Fault::Answer(refusal(429, "rateLimitExceeded")),
        Fault::Answer(Answer::json(200, "{}")),
    ] {
        for request in ["capabilities", "mimeType", "generateIds", "uploadType", "pageSize"] {
            proxy.inject(
                Rule::once(fault.clone())
                    .path(if request == "generateIds" { request } else { "" })
                    .query(if request == "generateIds" { "" } else { request }),
            );
        }
    }
    let config = super::drive::config(&proxy.url(), &dir);
    let store = DriveBackend::connect(&config).await.expect("all faults end");
    put(&suite::bucket(Arc::new(store)), &profile("alice"), b"{}").await;
    // A block whose response was lost stays, and is not used.
    assert!(!server.contents(".rollcall-slots-1.json").is_empty());
    proxy.clear();
    let again = DriveBackend::connect(&config).await.expect("the table is the same");
    assert!(again.get(&profile("alice")).await.unwrap().is_some());
}
