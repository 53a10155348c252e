//! Table of faults of Cloud Storage, through the fault proxy; see [`super::fault_table`].

use std::sync::Arc;

use bytes::Bytes;
use rollcall::storage::{Backend, GcsBackend, GcsConfig, Key};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

use super::fake_gcs::{FakeGcs, bucket_name};
use super::fault_table::Operation::{self, Create, Get, Replace};
use super::fault_table::Outcome::{FailsAtDeadline, FailsAtOnce, Succeeds};
use super::fault_table::{CHANGED_BYTE, EVERY, FaultSite, Row, check, check_document, common_rows, google, html, row};

const WRITES: &[Operation] = &[Create, Replace];

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let always = Rule::always;
    let answer = Fault::Answer;
    let mut rows = common_rows();
    rows.extend([
        row("503 always", EVERY, always(answer(google(503, "backendError", "busy"))), FailsAtDeadline("status.cloud.google.com")),
        row("404 with a page of HTML always", EVERY, always(answer(html(404))), FailsAtDeadline("no answer of Cloud Storage")),
        row("302 to another page", EVERY,
            always(Fault::Answer(Answer::html(302, "").with_header("location", "http://127.0.0.1:1/"))),
            FailsAtDeadline("no answer of Cloud Storage")),
        row("404, the bucket does not exist", EVERY,
            always(answer(google(404, "notFound", "The specified bucket does not exist."))), FailsAtOnce("check FIREBASE_BUCKET")),
        row("403 `forbidden`", EVERY,
            always(answer(google(403, "forbidden", "a@b.com does not have storage.objects.create access to the object."))),
            FailsAtOnce("Storage Object Admin")),
        row("403, billing account closed", EVERY,
            always(answer(google(403, "accountDisabled", "The billing account for the owning project is disabled in state closed"))),
            FailsAtOnce("open the billing account")),
        row("400, requester pays", EVERY,
            always(answer(google(400, "userProjectMissing", "Bucket is a requester pays bucket but no user project provided."))),
            FailsAtOnce("turn off Requester Pays")),
        row("upload changed on its way once", WRITES, Rule::once(Fault::CorruptUpload(CHANGED_BYTE)), Succeeds),
        row("every upload changed on its way", WRITES,
            always(Fault::CorruptUpload(CHANGED_BYTE)), FailsAtDeadline("changed on its way")),
        row("download changed on its way once", &[Get], Rule::once(Fault::CorruptDownload), Succeeds),
        row("every download changed on its way", &[Get], always(Fault::CorruptDownload), FailsAtDeadline("checksum")),
    ]);
    rows
}

/// A bucket behind a proxy. Each row of the table uses another object of it.
struct Site {
    fake: FakeGcs,
    proxy: FaultProxy,
    backend: Arc<GcsBackend>,
}

impl FaultSite for Site {
    async fn open() -> Self {
        let fake = FakeGcs::start();
        let proxy = FaultProxy::start(&fake.url());
        let config = GcsConfig::emulator(&bucket_name(), &proxy.url());
        let backend = GcsBackend::connect(config).await.expect("it needs no credentials");
        Self { fake, proxy, backend: Arc::new(backend) }
    }

    fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend) as _
    }

    fn writer(&self) -> Arc<dyn Backend> {
        self.backend()
    }

    fn stored(&self, key: &Key) -> Option<Bytes> {
        self.fake.bytes(&key.path())
    }

    fn requests(_: Operation) -> usize {
        1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_operation_has_the_result_of_the_table() {
    check::<Site>(table).await;
}

#[test]
fn the_documentation_shows_the_table() {
    for Row { fault, operations, outcome, .. } in table() {
        check_document("Faults of Cloud Storage", fault, operations, outcome);
    }
}
