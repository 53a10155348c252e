//! Table of faults of a store: each fault in each operation of a bucket, through the fault proxy.
//! Each store has a table of its own, and `docs/design/storage.md` shows it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Backend, Bucket, BucketError, CreateOutcome, Folder, Key, ObjectVersion, RetryPolicy};
use rollcall_test_support::fault_proxy::{Answer, Fault, FaultProxy, Rule};
use tokio::task::JoinSet;

/// Operations of a bucket. A write includes the read-back of a refused write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    Create,
    Replace,
    Get,
    List,
    Delete,
}
use Operation::{Create, Delete, Get, List, Replace};

pub(super) const EVERY: &[Operation] = &[Create, Replace, Get, List, Delete];

/// Result of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It succeeds: a retry hides the fault.
    Succeeds,
    /// It fails without a retry, with an error that contains this text.
    FailsAtOnce(&'static str),
    /// It fails at the deadline, with an error that contains this text.
    FailsAtDeadline(&'static str),
}
use Outcome::{FailsAtDeadline, FailsAtOnce, Succeeds};

/// A row of the table.
pub(super) struct Row {
    /// The fault, as the documentation names it.
    pub(super) fault: &'static str,
    /// A rule for any request is tried at each request of an operation.
    pub(super) rule: Rule,
    pub(super) operations: &'static [Operation],
    pub(super) outcome: Outcome,
}

pub(super) fn row(fault: &'static str, operations: &'static [Operation], rule: Rule, outcome: Outcome) -> Row {
    Row { fault, rule, operations, outcome }
}

/// An error page that never ends has this many bytes before it stalls.
const ENDLESS_PAGE_BYTES: usize = 8192;

/// The rows that all stores of Google have.
#[rustfmt::skip]
pub(super) fn common_rows() -> Vec<Row> {
    let once = Rule::once;
    let always = Rule::always;
    let answer = Fault::Answer;
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
        row("503 once", EVERY, once(answer(google(503, "backendError", "busy"))), Succeeds),
        row("503 with `Retry-After: 1`", EVERY,
            once(Fault::Answer(Answer::json(503, "{}").with_header("retry-after", "1"))), Succeeds),
        row("200 with `{}` once", EVERY, once(page("{}")), Succeeds),
        row("200 with `[]` once", EVERY, once(page("[]")), Succeeds),
        row("200 with an error object once", EVERY, once(page(error_object)), Succeeds),
        row("200 with `{}` always", EVERY, always(Fault::Answer(Answer::json(200, "{}"))), FailsAtDeadline("response")),
        row("200 with `[]` always", EVERY, always(Fault::Answer(Answer::json(200, "[]"))), FailsAtDeadline("response")),
        row("200 with an error object always", EVERY,
            always(Fault::Answer(Answer::json(200, error_object))), FailsAtDeadline("response")),
        row("200 with a page of HTML always", EVERY, always(answer(html(200))), FailsAtDeadline("response")),
        row("404 with a page of HTML once", EVERY, once(answer(html(404))), Succeeds),
        row("401 once", EVERY, once(answer(google(401, "authError", "Invalid Credentials"))), Succeeds),
        row("401 always", EVERY, always(answer(google(401, "authError", "Invalid Credentials"))), FailsAtOnce("make a new one")),
        row("403 `rateLimitExceeded` once", EVERY, once(answer(google(403, "rateLimitExceeded", "Slow down"))), Succeeds),
        row("429 once", EVERY, once(answer(google(429, "rateLimitExceeded", "Slow down"))), Succeeds),
        row("429 always", EVERY, always(answer(google(429, "rateLimitExceeded", "The rate limit"))), FailsAtDeadline("raise the project's quota")),
        row("error page of 60 MB once", EVERY, once(Fault::Answer(Answer::html(502, vec![b'x'; 60 << 20]))), Succeeds),
        row("error page without end once", EVERY,
            once(Fault::EndlessBody(Answer::html(502, vec![b'x'; ENDLESS_PAGE_BYTES]))), Succeeds),
        row("error of several lines", EVERY, always(answer(html(502))), FailsAtDeadline("<html> <h1>502</h1> </html>")),
    ]
}

/// A store behind a fault proxy.
pub(super) trait FaultSite: Send + Sync + Sized + 'static {
    /// An empty store.
    fn open() -> impl Future<Output = Self> + Send;
    fn proxy(&self) -> &FaultProxy;
    /// The store under test.
    fn backend(&self) -> Arc<dyn Backend>;
    /// A client of the same store that creates the objects of the test.
    fn writer(&self) -> Arc<dyn Backend>;
    /// The bytes of an object, from the server itself.
    fn stored(&self, key: &Key) -> Option<Bytes>;
    /// Number of requests of an operation without faults.
    fn requests(operation: Operation) -> usize;
}

/// An error object of Google's APIs.
pub(super) fn google(status: u16, reason: &str, message: &str) -> Answer {
    let error =
        serde_json::json!({ "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] });
    Answer::json(status, serde_json::json!({ "error": error }).to_string())
}

/// A page of several lines, as proxies send it.
pub(super) fn html(status: u16) -> Answer {
    Answer::html(status, format!("<html>\n<h1>{status}</h1>\r\n</html>\n"))
}

/// Place of a byte of the object in the body of an upload, from the end: behind it are a line
/// break, the boundary of 41 characters between four dashes, and a line break.
pub(super) const CHANGED_BYTE: usize = 2 + 2 + 41 + 2 + 2 + 1;

const OLD: Bytes = Bytes::from_static(b"the old bytes");
const NEW: Bytes = Bytes::from_static(b"the new bytes");

/// Deadline of an operation that fails at its deadline. Each such row takes as long.
const SHORT_DEADLINE: Duration = Duration::from_secs(4);

/// Deadline of all other operations, for a busy machine.
const LONG_DEADLINE: Duration = Duration::from_secs(12);

/// The bucket of a store, with a closed circuit breaker.
fn bucket(backend: Arc<dyn Backend>, deadline: Duration) -> Bucket {
    let initial_backoff = Duration::from_millis(20);
    Bucket::new(backend, RetryPolicy { deadline, initial_backoff, max_backoff: Duration::from_millis(200) })
}

/// Runs one operation on an object of its own, and compares the result with the one in the table.
/// `inject` makes the fault when the object exists. The error is the difference.
pub(super) async fn run<S: FaultSite>(
    site: &S,
    number: u32,
    operation: Operation,
    outcome: Outcome,
    inject: impl FnOnce(&Key),
) -> Result<(), String> {
    let key = Key::Check(number);
    let version = match operation {
        Create => ObjectVersion("0".into()),
        Replace | Get | List | Delete => {
            match bucket(site.writer(), LONG_DEADLINE).create(&key, OLD).await.expect("no fault yet") {
                CreateOutcome::Created(version) => version,
                CreateOutcome::AlreadyExists(_) => panic!("the object exists already"),
            }
        }
    };
    inject(&key);
    let deadline = if matches!(outcome, FailsAtDeadline(_)) { SHORT_DEADLINE } else { LONG_DEADLINE };
    let bucket = bucket(site.backend(), deadline);
    // Whether the answer of a success is the right one.
    let result = match operation {
        Create => bucket.create(&key, NEW).await.map(|outcome| matches!(outcome, CreateOutcome::Created(_))),
        Replace => bucket.replace_if(&key, &version, NEW).await.map(|replaced| replaced.is_some()),
        Get => bucket.get(&key).await.map(|object| object.is_some_and(|object| object.bytes == OLD)),
        List => bucket.list(&Folder::Checks).await.map(|names| names.contains(&format!("{number:08x}.txt"))),
        Delete => bucket.delete(&key).await.map(|()| true),
    };
    site.proxy().clear();
    let stored = site.stored(&key);
    let expected_after_success = match operation {
        Create | Replace => Some(NEW),
        Get | List => Some(OLD),
        Delete => None,
    };
    match &result {
        Ok(false) => Err("succeeds with a wrong answer".to_owned()),
        Ok(true) if stored != expected_after_success => Err(format!("succeeds, and {stored:?} is stored")),
        Err(_) if ![Some(OLD), Some(NEW), None].contains(&stored) => Err(format!("stores {stored:?}")),
        _ if is_expected(&result, outcome) => Ok(()),
        _ => Err(format!("{result:?}")),
    }
}

/// Whether the result is the one in the table.
fn is_expected<T>(result: &Result<T, BucketError>, outcome: Outcome) -> bool {
    let says = |error: &BucketError, words: &str| {
        let text = error.to_string();
        text.contains(words) && text.lines().count() == 1 && text.len() < 3000
    };
    match (outcome, result) {
        (Succeeds, Ok(_)) => true,
        (FailsAtOnce(words), Err(error @ (BucketError::Unavailable { .. } | BucketError::Unreadable { .. })))
        | (FailsAtDeadline(words), Err(error @ BucketError::TimedOut { .. })) => says(error, words),
        _ => false,
    }
}

/// Number of sites on which the rows of one request of an operation run. Rows that fail at their
/// deadline take long.
const SITES_PER_REQUEST: usize = 4;

/// Checks each row in each of its operations, at each request of the operation.
pub(super) async fn check<S: FaultSite>(table: fn() -> Vec<Row>) {
    let mut sites = JoinSet::new();
    for operation in EVERY {
        for request in 0..S::requests(*operation) {
            for part in 0..SITES_PER_REQUEST {
                sites.spawn(check_part::<S>(table(), *operation, request, part));
            }
        }
    }
    let wrong: Vec<String> = sites.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks one part of the rows at one request of an operation. Returns the differences.
async fn check_part<S: FaultSite>(table: Vec<Row>, operation: Operation, request: usize, part: usize) -> Vec<String> {
    let site = S::open().await;
    let mut wrong = Vec::new();
    for (number, row) in (0..).zip(table).skip(part).step_by(SITES_PER_REQUEST) {
        let is_here = request == 0 || row.rule.is_for_any_request();
        if !row.operations.contains(&operation) || !is_here {
            continue;
        }
        let inject = |_: &Key| {
            site.proxy().inject(Rule::times(request, Fault::Pass));
            site.proxy().inject(row.rule.clone());
        };
        if let Err(difference) = run(&site, number, operation, row.outcome, inject).await {
            wrong.push(format!("{} in {operation:?}, request {request}: {difference}", row.fault));
        }
    }
    wrong
}

/// Checks that the documentation has this row below the heading.
pub(super) fn check_document(heading: &str, fault: &str, operations: &[Operation], outcome: Outcome) {
    const DOCUMENT: &str = include_str!("../../../docs/design/storage.md");
    let (_, section) = DOCUMENT.split_once(&format!("## {heading}\n")).expect("the heading is there");
    let section = section.split("\n## ").next().expect("a text has a first part");
    let operations = if operations == EVERY {
        "all".to_owned()
    } else {
        let names: Vec<String> = operations.iter().map(|operation| format!("{operation:?}").to_lowercase()).collect();
        names.join(", ")
    };
    let result = match outcome {
        Succeeds => "succeeds".to_owned(),
        FailsAtOnce(words) => format!("fails at once: \"{words}\""),
        FailsAtDeadline(words) => format!("fails at the deadline: \"{words}\""),
    };
    let line = format!("| {fault} | {operations} | {result} |");
    assert!(section.contains(&line), "missing in docs/design/storage.md, {heading}: {line}");
}
