//! What a bucket makes of a store that fails: the same for every kind that can be made to fail.

use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Bucket, BucketError, CreateOutcome, Key, RetryPolicy};
use tokio::time::Instant;

/// What can befall a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// It fails, and works when tried again.
    Transient,
    /// It fails, and no try will work.
    Permanent,
    /// It takes effect, and its answer is lost.
    LostResponse,
    /// It never answers.
    Hang,
}

/// A bucket whose store fails on demand.
pub(super) trait FailingStore {
    fn bucket(&self) -> Bucket;
    /// Lets this befall each of the next `count` calls.
    fn inject(&self, count: usize, failure: Failure);
    /// The calls that have reached the store.
    fn calls(&self) -> usize;
}

/// Makes a module's tests of all failures below; `$open()` is a future of a fresh [`FailingStore`] bucket.
macro_rules! every_failure {
    ($open:path) => {
        crate::storage::failures::every_failure! { $open =>
            a_passing_failure_is_tried_again, a_hopeless_failure_is_not_tried_again, a_call_ends_at_its_deadline,
            a_create_whose_answer_was_lost_is_ours, a_replacement_whose_answer_was_lost_is_ours,
            a_lost_refusal_is_still_a_refusal, an_outage_is_an_error_and_leaves_nothing_half_done,
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
const OURS: Bytes = Bytes::from_static(b"ours");
const OTHERS: Bytes = Bytes::from_static(b"another's");

pub(super) async fn a_passing_failure_is_tried_again(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(2, Failure::Transient);
    assert!(matches!(bucket.create(&KEY, OURS).await, Ok(CreateOutcome::Created(_))));
    store.inject(2, Failure::Transient);
    assert_eq!(bucket.get(&KEY).await.unwrap().expect("it is there").bytes, OURS);
    store.inject(2, Failure::Transient);
    bucket.delete(&KEY).await.expect("the third try works");
    assert_eq!(store.calls(), 9);
}

pub(super) async fn a_hopeless_failure_is_not_tried_again(store: &impl FailingStore) {
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
    store.inject(1, Failure::Hang);
    let error = bucket.create(&KEY, OURS).await.expect_err("nothing answers");
    assert!(matches!(error, BucketError::TimedOut { deadline_ms: 100, .. }), "{error}");
    // Generous, so that a busy machine does not fail the test; without a deadline it would never end.
    let took = start.elapsed();
    assert!(took >= deadline && took < Duration::from_secs(5), "{took:?}");
    assert!(matches!(bucket.create(&KEY, OURS).await, Ok(CreateOutcome::Created(_))), "the next call is not harmed");
}

pub(super) async fn a_create_whose_answer_was_lost_is_ours(store: &impl FailingStore) {
    let bucket = store.bucket();
    store.inject(1, Failure::LostResponse);
    let CreateOutcome::Created(version) = bucket.create(&KEY, OURS).await.unwrap() else {
        panic!("taken by ourselves")
    };
    assert_eq!(store.calls(), 3, "a try, another that is refused, a read-back");
    let object = bucket.get(&KEY).await.unwrap().expect("it is there");
    assert_eq!((object.bytes, object.version), (OURS, version));
}

pub(super) async fn a_replacement_whose_answer_was_lost_is_ours(store: &impl FailingStore) {
    let bucket = store.bucket();
    let CreateOutcome::Created(first) = bucket.create(&KEY, OTHERS).await.unwrap() else { panic!("taken") };
    store.inject(1, Failure::LostResponse);
    let second = bucket.replace_if(&KEY, &first, OURS).await.unwrap().expect("it was current");
    let object = bucket.get(&KEY).await.unwrap().expect("it is there");
    assert_eq!((object.bytes, object.version), (OURS, second));
}

pub(super) async fn a_lost_refusal_is_still_a_refusal(store: &impl FailingStore) {
    let bucket = store.bucket();
    let CreateOutcome::Created(_) = bucket.create(&KEY, OTHERS).await.unwrap() else { panic!("taken") };
    store.inject(1, Failure::LostResponse);
    let CreateOutcome::AlreadyExists(found) = bucket.create(&KEY, OURS).await.unwrap() else {
        panic!("it is another's")
    };
    assert_eq!(found.bytes, OTHERS);
    store.inject(1, Failure::LostResponse);
    let stale = rollcall::storage::ObjectVersion("7".into());
    assert_eq!(bucket.replace_if(&KEY, &stale, OURS).await.unwrap(), None);
}

pub(super) async fn an_outage_is_an_error_and_leaves_nothing_half_done(store: &impl FailingStore) {
    let bucket = store.bucket();
    let tries = usize::try_from(RetryPolicy::default().attempts).unwrap();
    store.inject(tries, Failure::Transient);
    assert!(matches!(bucket.create(&KEY, OURS).await, Err(BucketError::Unavailable { .. })));
    assert_eq!(store.calls(), tries);
    assert_eq!(bucket.get(&KEY).await.unwrap(), None);
}
