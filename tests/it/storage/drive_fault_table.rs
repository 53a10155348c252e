//! Table of faults of Google Drive, through the fault proxy; see [`super::fault_table`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Backend, DriveBackend, Key, MAX_OBJECT_BYTES};
use rollcall_test_support::drive_server::{DriveServer, FolderState};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};
use tempfile::TempDir;

use super::drive::{config, node};
use super::fault_table::Operation::{self, Create, Delete, Get, List, Replace};
use super::fault_table::Outcome::{self, FailsAtDeadline, FailsAtOnce, Succeeds};
use super::fault_table::{
    CHANGED_BYTE, EVERY, FaultSite, Row, check, check_document, common_rows, google, html, row, run,
};

const HEADING: &str = "Faults of Google Drive";

/// A part of every request but that for the bytes of a file.
const DESCRIPTION: &str = "fields=";

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let once = Rule::once;
    let always = Rule::always;
    let answer = Fault::Answer;
    let refused = |reason: &str| answer(google(403, reason, "The request is refused."));
    let no_revision = Fault::ChangedText("headRevisionId", "headRevision");
    let other_md5 = Fault::ChangedText("\"md5Checksum\":\"", "\"md5Checksum\":\"0");
    let other_id = Fault::ChangedText("\"id\":\"", "\"id\":\"0");
    let incomplete = Fault::ChangedText("\"incompleteSearch\":false", "\"incompleteSearch\":true");
    let no_kind = Fault::ChangedText("drive#fileList", "");
    let large = Answer::json(200, vec![b' '; MAX_OBJECT_BYTES + 1]);
    let busy = || google(503, "backendError", "busy");
    let mut rows = common_rows();
    rows.extend([
        row("503 always", EVERY, always(answer(busy())), FailsAtDeadline("google.com/appsstatus")),
        row("409 with a page of HTML once", EVERY, once(answer(html(409))), Succeeds),
        row("404 with a page of HTML always", EVERY, always(answer(html(404))), FailsAtDeadline("no answer of Google Drive")),
        row("302 to another page", EVERY,
            always(answer(Answer::html(302, "").with_header("location", "http://127.0.0.1:1/"))),
            FailsAtDeadline("no answer of Google Drive")),
        row("404, the shared drive is not found", EVERY,
            always(answer(google(404, "notFound", "Shared drive not found: 0A"))), FailsAtOnce("check SHARED_DRIVE_ID")),
        row("403 `userRateLimitExceeded` once", EVERY, once(refused("userRateLimitExceeded")), Succeeds),
        row("403 `rateLimitExceeded` always", EVERY, always(refused("rateLimitExceeded")), FailsAtDeadline("raise the project's quota")),
        row("403 `userRateLimitExceeded` always", EVERY, always(refused("userRateLimitExceeded")), FailsAtDeadline("raise the project's quota")),
        row("403 `dailyLimitExceeded` always", EVERY, always(refused("dailyLimitExceeded")), FailsAtDeadline("raise the project's quota")),
        row("429 with `Retry-After: 1`", EVERY,
            once(answer(google(429, "rateLimitExceeded", "Slow down").with_header("retry-after", "1"))), Succeeds),
        row("403 `storageQuotaExceeded`", EVERY, always(refused("storageQuotaExceeded")), FailsAtOnce("a service account has no storage of its own")),
        row("403 `teamDriveFileLimitExceeded`", EVERY, always(refused("teamDriveFileLimitExceeded")), FailsAtOnce("500,000 items")),
        row("403 `numChildrenInNonRootLimitExceeded`", EVERY, always(refused("numChildrenInNonRootLimitExceeded")), FailsAtOnce("500,000 items")),
        row("403 `insufficientFilePermissions`", EVERY, always(refused("insufficientFilePermissions")), FailsAtOnce("as Content manager")),
        row("403 `accessNotConfigured`", EVERY, always(refused("accessNotConfigured")), FailsAtOnce("turn on the Google Drive API")),
        row("403, another reason", EVERY, always(refused("somethingNew")), FailsAtOnce("look up the reason")),
        row("400", EVERY, always(answer(google(400, "invalid", "Invalid Value"))), FailsAtOnce("this is a bug in Rollcall")),
        row("400 for a page token", &[List],
            always(answer(google(400, "invalid", "Invalid Value"))).query("pageToken"), FailsAtOnce("this is a bug in Rollcall")),
        row("no revision in an answer once", EVERY, once(no_revision.clone()), Succeeds),
        row("no revision in any answer", &[Create, Replace, Get, Delete],
            always(no_revision).query(DESCRIPTION), FailsAtDeadline("revision")),
        row("an answer about another file once", EVERY, once(other_id.clone()), Succeeds),
        row("every answer about another file", &[Create, Replace, Get, Delete],
            always(other_id).query(DESCRIPTION), FailsAtDeadline("another file")),
        row("a wrong checksum in an answer once", EVERY, once(other_md5.clone()), Succeeds),
        row("a wrong checksum in every answer", &[Create, Replace, Get],
            always(other_md5).query(DESCRIPTION), FailsAtDeadline("checksum")),
        row("200 with more than 4 MiB once", &[Create, Replace, List, Delete], once(Fault::Replace(large.clone())), Succeeds),
        row("the bytes of a file are more than 4 MiB", &[Get], always(answer(large)).query("alt=media"), FailsAtOnce("larger than")),
        row("`incompleteSearch` once", &[List], once(incomplete.clone()), Succeeds),
        row("`incompleteSearch` always", &[List], always(incomplete), FailsAtDeadline("no complete listing")),
        row("a listing without `kind` always", &[List], always(no_kind), FailsAtDeadline("no complete listing")),
        row("upload changed on its way once", &[Create], once(Fault::CorruptUpload(CHANGED_BYTE)).method("POST"), Succeeds),
        row("update changed on its way once", &[Replace], once(Fault::CorruptUpload(CHANGED_BYTE)).method("PATCH"), Succeeds),
        row("download changed on its way once", &[Get], once(Fault::CorruptDownload).query("alt=media"), Succeeds),
        row("every download changed on its way", &[Get],
            always(Fault::CorruptDownload).query("alt=media"), FailsAtDeadline("checksum")),
    ]);
    rows
}

/// A folder behind a proxy. Each row of the table uses another object of it.
struct Site {
    server: DriveServer,
    proxy: FaultProxy,
    /// This node has not seen the objects of [`Self::writer`].
    backend: Arc<DriveBackend>,
    writer: Arc<DriveBackend>,
    _dirs: [TempDir; 2],
}

impl FaultSite for Site {
    async fn open() -> Self {
        let server = DriveServer::start();
        let proxy = FaultProxy::start(&server.url());
        let (writer, writer_dir) = node(&server).await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let backend = DriveBackend::connect(&config(&proxy.url(), &dir)).await.expect("the folder can be used");
        // A listing has a second page.
        for number in 0..4 {
            writer.create(&Key::Check(1000 + number), Bytes::from_static(b"x")).await.expect("no fault yet");
        }
        Self { server, proxy, backend: Arc::new(backend), writer, _dirs: [writer_dir, dir] }
    }

    fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend) as _
    }

    fn writer(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.writer) as _
    }

    fn stored(&self, key: &Key) -> Option<Bytes> {
        let mut files = self.server.contents(&key.path());
        assert!(files.len() <= 1, "{key} is stored twice");
        // A deleted object is an empty file.
        files.pop().filter(|bytes| !bytes.is_empty())
    }

    fn requests(operation: Operation) -> usize {
        match operation {
            Create => 1,
            // The file is looked for, and described.
            Replace => 4,
            Get | List | Delete => 2,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_operation_has_the_result_of_the_table() {
    check::<Site>(table).await;
}

/// A row about a state of the drive, which no single answer can show.
struct StateRow {
    state: &'static str,
    change: fn(&DriveServer, &str),
    operations: &'static [Operation],
    outcome: Outcome,
}

fn state_table() -> [StateRow; 4] {
    [
        StateRow {
            state: "the folder is gone, or the account may not see it any more",
            change: |server, _| server.set_folder(FolderState::Missing),
            operations: EVERY,
            outcome: FailsAtOnce("REGISTERED_USERS_FOLDER_ID"),
        },
        StateRow {
            state: "the account may only read",
            change: |server, _| server.set_folder(FolderState::ReadOnly),
            operations: &[Create, Replace, Delete],
            outcome: FailsAtOnce("as Content manager"),
        },
        StateRow {
            state: "the file is in the trash",
            change: |server, path| server.trash(path),
            operations: &[Replace],
            outcome: FailsAtOnce("restore it"),
        },
        StateRow {
            state: "the file is in the trash",
            change: |server, path| server.trash(path),
            operations: &[Get, List],
            outcome: Succeeds,
        },
    ]
}

#[tokio::test]
async fn every_operation_in_every_state_of_the_drive_has_the_result_of_the_table() {
    for StateRow { state, change, operations, outcome } in state_table() {
        for operation in operations {
            let site = Site::open().await;
            // The node has seen the folder long ago.
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(11)).await;
            tokio::time::resume();
            let result = run(&site, 1, *operation, outcome, |key| change(&site.server, &key.path())).await;
            assert_eq!(result, Ok(()), "{state}, {operation:?}");
        }
    }
}

#[test]
fn the_documentation_shows_the_table() {
    for Row { fault, operations, outcome, .. } in table() {
        check_document(HEADING, fault, operations, outcome);
    }
    for StateRow { state, operations, outcome, .. } in state_table() {
        check_document(HEADING, state, operations, outcome);
    }
}
