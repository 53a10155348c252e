//! Tests that every kind of store must pass: how a bucket handles injected failures.

use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Bucket, BucketError, CreateOutcome, Key, RetryPolicy};
use tokio::time::Instant;

/// A failure of one call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// The call fails. A retry may succeed.
    Transient,
    /// The call fails, and every retry would fail.
    Permanent,
    /// The call takes effect, but its response is lost.
    LostResponse,
    /// The call never returns.
    Hang,
}

/// A bucket whose store fails on demand.
pub(super) trait FailingStore {
    fn bucket(&self) -> Bucket;
    /// Injects a failure into each of the next `count` calls.
    fn inject(&self, count: usize, failure: Failure);
    /// The number of calls to the store so far.
    fn calls(&self) -> usize;
    /// The number of calls by which a create finds an object.
    fn calls_of_a_refused_create(&self) -> usize {
        1
    }
}

/// Generates a test of each behaviour below. `$open()` returns a future. Its output is an empty
/// [`FailingStore`].
macro_rules! every_failure {
    ($open:path) => {
        crate::storage::failures::every_failure! { $open =>
            a_transient_failure_is_retried, a_permanent_failure_is_not_retried, a_call_ends_at_its_deadline,
            one_stalled_call_costs_one_attempt,
            a_create_succeeds_although_its_response_was_lost, a_replacement_succeeds_although_its_response_was_lost,
            a_refused_write_stays_refused_if_the_response_was_lost, an_outage_is_an_error_and_no_write_takes_effect,
        }
    };
    ($open:path => $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                crate::storage::failures::$behaviour(&$open().await).await;
            }
        )*
    };
}
pub(super) use every_failure;

const KEY: Key = Key::Cluster;
/// More attempts than a call makes.
const ANY_NUMBER: usize = 1000;
const OURS: Bytes = Bytes::from_static(b"ours");
const OTHERS: Bytes = Bytes::from_static(b"another's");

pub(super) async fn a_transient_failure_is_retried(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(2, Failure::Transient);
    assert!(matches!(bucket.create(&KEY, OURS).await, Ok(CreateOutcome::Created(_))));
    store.inject(2, Failure::Transient);
    assert_eq!(bucket.get(&KEY).await.unwrap().expect("the object exists").bytes, OURS);
    store.inject(2, Failure::Transient);
    bucket.delete(&KEY).await.expect("the third attempt succeeds");
    assert_eq!(store.calls(), 9);
}

pub(super) async fn a_permanent_failure_is_not_retried(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(1, Failure::Permanent);
    assert!(matches!(bucket.create(&KEY, OURS).await, Err(BucketError::Unavailable { .. })));
    assert_eq!(store.calls(), 1);
    assert_eq!(bucket.get(&KEY).await.unwrap(), None);
}

pub(super) async fn a_call_ends_at_its_deadline(store: &impl FailingStore) {
    let deadline = Duration::from_millis(100);
    let bucket = store.bucket().with_retry_policy(RetryPolicy::with_deadline(deadline));
    let start = Instant::now();
    store.inject(ANY_NUMBER, Failure::Hang);
    let error = bucket.create(&KEY, OURS).await.expect_err("the store does not respond");
    assert!(matches!(error, BucketError::TimedOut { deadline_ms: 100, .. }), "{error}");
    // A long limit for a busy machine. Without a deadline the call would never return.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

pub(super) async fn one_stalled_call_costs_one_attempt(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(1, Failure::Hang);
    assert!(matches!(bucket.create(&KEY, OURS).await, Ok(CreateOutcome::Created(_))), "the next attempt succeeds");
}

pub(super) async fn a_create_succeeds_although_its_response_was_lost(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(1, Failure::LostResponse);
    let CreateOutcome::Created(version) = bucket.create(&KEY, OURS).await.unwrap() else {
        panic!("the bucket reports its own object as another's")
    };
    assert_eq!(store.calls(), 2 + store.calls_of_a_refused_create(), "one attempt, one refused attempt and one read");
    let object = bucket.get(&KEY).await.unwrap().expect("the object exists");
    assert_eq!((object.bytes, object.version), (OURS, version));
}

pub(super) async fn a_replacement_succeeds_although_its_response_was_lost(store: &impl FailingStore) {
    let bucket = store.bucket();
    let CreateOutcome::Created(first) = bucket.create(&KEY, OTHERS).await.unwrap() else {
        panic!("the object exists already")
    };
    store.inject(1, Failure::LostResponse);
    let second = bucket.replace_if(&KEY, &first, OURS).await.unwrap().expect("the version was current");
    let object = bucket.get(&KEY).await.unwrap().expect("the object exists");
    assert_eq!((object.bytes, object.version), (OURS, second));
}

pub(super) async fn a_refused_write_stays_refused_if_the_response_was_lost(store: &impl FailingStore) {
    let bucket = store.bucket();
    let CreateOutcome::Created(_) = bucket.create(&KEY, OTHERS).await.unwrap() else {
        panic!("the object exists already")
    };
    store.inject(1, Failure::LostResponse);
    let CreateOutcome::AlreadyExists(found) = bucket.create(&KEY, OURS).await.unwrap() else {
        panic!("the object of another writer was replaced")
    };
    assert_eq!(found.bytes, OTHERS);
    store.inject(1, Failure::LostResponse);
    let stale = rollcall::storage::ObjectVersion("7".into());
    assert_eq!(bucket.replace_if(&KEY, &stale, OURS).await.unwrap(), None);
}

pub(super) async fn an_outage_is_an_error_and_no_write_takes_effect(store: &impl FailingStore) {
    let bucket = store.bucket();
    let short = bucket.with_retry_policy(RetryPolicy::one_attempt(Duration::from_secs(20)));
    store.inject(1, Failure::Transient);
    assert!(matches!(short.create(&KEY, OURS).await, Err(BucketError::TimedOut { .. })));
    assert_eq!(store.calls(), 1);
    assert_eq!(bucket.get(&KEY).await.unwrap(), None);
}
