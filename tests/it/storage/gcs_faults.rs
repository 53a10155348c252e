//! Table of faults of Cloud Storage: each fault in each operation of a bucket, through the fault
//! proxy. `docs/design/storage.md` shows the same table.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rollcall::storage::{
    Bucket, BucketError, CreateOutcome, Folder, GcsBackend, GcsConfig, Key, ObjectVersion, RetryPolicy,
};

use super::fake_gcs::{FakeGcs, bucket_name};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};

/// Operations of a bucket. A write includes the read-back of a refused write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operation {
    Create,
    Replace,
    Get,
    List,
    Delete,
}
use Operation::{Create, Delete, Get, List, Replace};

const EVERY: &[Operation] = &[Create, Replace, Get, List, Delete];
const WRITES: &[Operation] = &[Create, Replace];

/// Result of an operation.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It succeeds: a retry hides the fault.
    Succeeds,
    /// It fails without a retry, with an error that contains this text.
    FailsAtOnce(&'static str),
    /// It fails at the deadline, with an error that contains this text.
    FailsAtDeadline(&'static str),
}
use Outcome::{FailsAtDeadline, FailsAtOnce, Succeeds};

/// A row of the table.
struct Row {
    /// The fault, as the documentation names it.
    fault: &'static str,
    rules: Vec<Rule>,
    operations: &'static [Operation],
    outcome: Outcome,
}

/// An error object of Google's APIs.
fn google(status: u16, reason: &str, message: &str) -> Fault {
    let error =
        serde_json::json!({ "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] });
    Fault::Answer(Answer::json(status, serde_json::json!({ "error": error }).to_string()))
}

fn html(status: u16) -> Fault {
    Fault::Answer(Answer::html(status, format!("<html>\n<h1>{status}</h1>\r\n</html>\n")))
}

fn huge_page() -> Answer {
    Answer::html(502, vec![b'x'; 60 << 20])
}

const ENDLESS_PAGE_BYTES: usize = 8192;

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let row = |fault, operations, rule, outcome| Row { fault, rules: vec![rule], operations, outcome };
    let once = Rule::once;
    let always = Rule::always;
    let page = |body: &'static str| Fault::Replace(Answer::json(200, body));
    let error_object = r#"{"error":{"code":500,"message":"internal"}}"#;
    vec![
        row("one stalled request", EVERY, once(Fault::Stall), Succeeds),
        row("one lost response", EVERY, once(Fault::StallResponse), Succeeds),
        row("connection closed before the request", EVERY, once(Fault::Cut), Succeeds),
        row("connection closed after the request", EVERY, once(Fault::CutResponse), Succeeds),
        row("truncated body", EVERY, once(Fault::Truncate), Succeeds),
        row("every request stalls", EVERY, always(Fault::Stall), FailsAtDeadline("no answer within")),
        row("every connection closed", EVERY, always(Fault::Cut), FailsAtDeadline("network")),
        row("503 once", EVERY, once(google(503, "backendError", "busy")), Succeeds),
        row("503 with `Retry-After: 1`", EVERY,
            once(Fault::Answer(Answer::json(503, "{}").with_header("retry-after", "1"))), Succeeds),
        row("503 always", EVERY, always(google(503, "backendError", "busy")), FailsAtDeadline("status.cloud.google.com")),
        row("200 with `{}` once", EVERY, once(page("{}")), Succeeds),
        row("200 with `[]` once", EVERY, once(page("[]")), Succeeds),
        row("200 with an error object once", EVERY, once(page(error_object)), Succeeds),
        row("200 with `{}` always", EVERY, always(Fault::Answer(Answer::json(200, "{}"))), FailsAtDeadline("response")),
        row("200 with `[]` always", EVERY, always(Fault::Answer(Answer::json(200, "[]"))), FailsAtDeadline("response")),
        row("200 with an error object always", EVERY,
            always(Fault::Answer(Answer::json(200, error_object))), FailsAtDeadline("response")),
        row("200 with a page of HTML always", EVERY, always(html(200)), FailsAtDeadline("response")),
        row("404 with a page of HTML once", EVERY, once(html(404)), Succeeds),
        row("404 with a page of HTML always", EVERY, always(html(404)), FailsAtDeadline("no answer of Cloud Storage")),
        row("302 to another page", EVERY,
            always(Fault::Answer(Answer::html(302, "").with_header("location", "http://127.0.0.1:1/"))),
            FailsAtDeadline("no answer of Cloud Storage")),
        row("404, the bucket does not exist", EVERY,
            always(google(404, "notFound", "The specified bucket does not exist.")), FailsAtOnce("check FIREBASE_BUCKET")),
        row("401 once", EVERY, once(google(401, "authError", "Invalid Credentials")), Succeeds),
        row("401 always", EVERY, always(google(401, "authError", "Invalid Credentials")), FailsAtOnce("make a new one")),
        row("403 `rateLimitExceeded` once", EVERY, once(google(403, "rateLimitExceeded", "Slow down")), Succeeds),
        row("429 once", EVERY, once(google(429, "rateLimitExceeded", "Slow down")), Succeeds),
        row("429 always", EVERY, always(google(429, "rateLimitExceeded", "The rate limit")), FailsAtDeadline("raise the project's quota")),
        row("403 `forbidden`", EVERY,
            always(google(403, "forbidden", "a@b.com does not have storage.objects.create access to the object.")),
            FailsAtOnce("Storage Object Admin")),
        row("403, billing account closed", EVERY,
            always(google(403, "accountDisabled", "The billing account for the owning project is disabled in state closed")),
            FailsAtOnce("open the billing account")),
        row("400, requester pays", EVERY,
            always(google(400, "userProjectMissing", "Bucket is a requester pays bucket but no user project provided.")),
            FailsAtOnce("turn off Requester Pays")),
        row("error page of 60 MB once", EVERY, once(Fault::Answer(huge_page())), Succeeds),
        row("error page without end once", EVERY,
            once(Fault::EndlessBody(Answer::html(502, vec![b'x'; ENDLESS_PAGE_BYTES]))), Succeeds),
        row("error of several lines", EVERY, always(html(502)), FailsAtDeadline("<html> <h1>502</h1> </html>")),
        row("upload changed on its way once", WRITES, once(Fault::CorruptUpload(CHANGED_BYTE)), Succeeds),
        row("every upload changed on its way", WRITES,
            always(Fault::CorruptUpload(CHANGED_BYTE)), FailsAtDeadline("changed on its way")),
        row("download changed on its way once", &[Get], once(Fault::CorruptDownload), Succeeds),
        row("every download changed on its way", &[Get], always(Fault::CorruptDownload), FailsAtDeadline("checksum")),
    ]
}

/// Place of a byte of the object in the body of an upload, from the end: behind it are a line
/// break, the boundary of 41 characters between four dashes, and a line break.
const CHANGED_BYTE: usize = 2 + 2 + 41 + 2 + 2 + 1;

const OLD: Bytes = Bytes::from_static(b"the old bytes");
const NEW: Bytes = Bytes::from_static(b"the new bytes");

/// A bucket behind a proxy. Each row of the table uses another object of it.
struct Site {
    fake: FakeGcs,
    proxy: FaultProxy,
    backend: Arc<GcsBackend>,
}

impl Site {
    async fn open() -> Self {
        let fake = FakeGcs::start();
        let proxy = FaultProxy::start(&fake.url());
        let config = GcsConfig::emulator(&bucket_name(), &proxy.url());
        let backend = GcsBackend::connect(config).await.expect("it needs no credentials");
        Self { fake, proxy, backend: Arc::new(backend) }
    }

    /// The bucket with a closed circuit breaker.
    fn bucket(&self) -> Bucket {
        let policy = RetryPolicy {
            deadline: Duration::from_secs(4),
            initial_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_millis(200),
        };
        Bucket::new(Arc::clone(&self.backend) as _, policy)
    }

    fn stored(&self, key: &Key) -> Option<Bytes> {
        self.fake.bytes(&key.path())
    }

    /// Runs one operation with the faults of the row, on an object of its own. The error of the
    /// outer result names a success that is not true, or other bytes that are stored.
    async fn run(&self, number: u32, row: &Row, operation: Operation) -> Result<Result<(), BucketError>, String> {
        let (bucket, key) = (self.bucket(), Key::Check(number));
        let version = match operation {
            Create => ObjectVersion("0".into()),
            Replace | Get | List | Delete => match bucket.create(&key, OLD).await.expect("no fault yet") {
                CreateOutcome::Created(version) => version,
                CreateOutcome::AlreadyExists(_) => panic!("the object exists already"),
            },
        };
        row.rules.iter().for_each(|rule| self.proxy.inject(rule.clone()));
        // Whether the answer of a success is the right one.
        let result = match operation {
            Create => bucket.create(&key, NEW).await.map(|outcome| matches!(outcome, CreateOutcome::Created(_))),
            Replace => bucket.replace_if(&key, &version, NEW).await.map(|replaced| replaced.is_some()),
            Get => bucket.get(&key).await.map(|object| object.is_some_and(|object| object.bytes == OLD)),
            List => bucket.list(&Folder::Checks).await.map(|names| names.contains(&format!("{number:08x}.txt"))),
            Delete => bucket.delete(&key).await.map(|()| true),
        };
        self.proxy.clear();
        let stored = self.stored(&key);
        let expected_after_success = match operation {
            Create | Replace => Some(NEW),
            Get | List => Some(OLD),
            Delete => None,
        };
        match result {
            Ok(false) => Err("succeeds with a wrong answer".to_owned()),
            Ok(true) if stored != expected_after_success => Err(format!("succeeds, and {stored:?} is stored")),
            Ok(true) => Ok(Ok(())),
            Err(_) if ![Some(OLD), Some(NEW), None].contains(&stored) => Err(format!("stores {stored:?}")),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Whether the result is the one in the table.
fn is_expected(result: &Result<(), BucketError>, outcome: Outcome) -> bool {
    let says = |error: &BucketError, words: &str| {
        let text = error.to_string();
        text.contains(words) && text.lines().count() == 1 && text.len() < 3000
    };
    match (outcome, result) {
        (Succeeds, Ok(())) => true,
        (FailsAtOnce(words), Err(error @ BucketError::Unavailable { .. }))
        | (FailsAtDeadline(words), Err(error @ BucketError::TimedOut { .. })) => says(error, words),
        _ => false,
    }
}

/// Number of sites on which the rows of one operation run. Rows that fail at their deadline take
/// long.
const SITES_PER_OPERATION: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_in_every_operation_has_the_result_of_the_table() {
    let table = table();
    let check = async |operation: Operation, part: usize| {
        let site = Site::open().await;
        let mut wrong = Vec::new();
        for (number, row) in table.iter().enumerate().filter(|(number, _)| number % SITES_PER_OPERATION == part) {
            if !row.operations.contains(&operation) {
                continue;
            }
            let result = site.run(u32::try_from(number).expect("few rows"), row, operation).await;
            match result {
                Ok(result) if is_expected(&result, row.outcome) => {}
                Ok(result) => wrong.push(format!("{} in {operation:?}: {result:?}", row.fault)),
                Err(untrue) => wrong.push(format!("{} in {operation:?}: {untrue}", row.fault)),
            }
        }
        wrong
    };
    let sites = EVERY.iter().flat_map(|operation| (0..SITES_PER_OPERATION).map(move |part| (*operation, part)));
    let wrong: Vec<String> =
        join_all(sites.map(|(operation, part)| check(operation, part))).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documentation_shows_the_table() {
    const DOCUMENT: &str = include_str!("../../../docs/design/storage.md");
    for row in table() {
        let operations = match row.operations {
            [Get] => "get",
            [Create, Replace] => "create, replace",
            _ => "all",
        };
        let result = match row.outcome {
            Succeeds => "succeeds".to_owned(),
            FailsAtOnce(words) => format!("fails at once: \"{words}\""),
            FailsAtDeadline(words) => format!("fails at the deadline: \"{words}\""),
        };
        let line = format!("| {} | {operations} | {result} |", row.fault);
        assert!(DOCUMENT.contains(&line), "missing in docs/design/storage.md: {line}");
    }
}
