//! Check that a store honours preconditions, by races: several creates of one name, and two
//! replacements of one version.
//!
//! Every registration depends on it. A store that ignores preconditions, or that honours them only
//! for one writer after the other, would give a name to several users.

use bytes::Bytes;
use futures_util::future::join_all;
use thiserror::Error;

use super::{Bucket, BucketError, CreateOutcome, Key, ObjectVersion};

/// Number of concurrent creates of one name. A store that refuses a second write later than the
/// first, but not at the same time, is found by a race only.
const RACING_CREATES: usize = 8;
/// Number of concurrent replacements of one version. Two are the smallest race.
const RACING_REPLACEMENTS: usize = 2;

/// Error of a check of preconditions.
#[derive(Debug, Error)]
pub enum PreconditionError {
    /// The store does not honour a precondition, so it must not be used.
    #[error("{winners} of {count} {kind} of {key} at the same time succeeded, but exactly one must; {REMEDY}")]
    NotHonoured {
        /// The kind of write.
        kind: &'static str,
        /// Number of concurrent writes.
        count: usize,
        /// The object.
        key: Key,
        /// Number of writes that the store accepted.
        winners: usize,
    },
    /// The store refused a write, but has its bytes.
    #[error("a refused write of {key} took effect; {REMEDY}")]
    RefusedWriteTookEffect {
        /// The object.
        key: Key,
    },
    /// The store did not respond, or it refused the request.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Remedy for a store that does not honour preconditions.
pub(super) const REMEDY: &str = "do not use this store: it ignores preconditions (If-None-Match and If-Match, in Cloud Storage \
    ifGenerationMatch), so two users could get one name";

const CREATES: &str = "creates";
const REPLACEMENTS: &str = "replacements";

/// Checks a store before its first use, with one new object that is deleted at the end. `number`
/// names the object. Concurrent checks need different numbers, and then do not affect each other.
///
/// # Errors
/// [`PreconditionError`] if the store must not be used, or does not respond.
pub async fn check_preconditions(bucket: &Bucket, number: u32) -> Result<(), PreconditionError> {
    let key = Key::Check(number);
    let race = async {
        let version = race_creates(bucket, &key).await?;
        race_replacements(bucket, &key, &version).await
    };
    let result = race.await;
    if let Err(error) = bucket.delete(&key).await {
        tracing::warn!(%key, %error, "cannot delete the object of a check; delete it by hand");
    }
    result
}

/// Starts several creates of one new name at the same time. Exactly one must succeed. Returns the
/// version of the object.
pub(super) async fn race_creates(bucket: &Bucket, key: &Key) -> Result<ObjectVersion, PreconditionError> {
    // The reads open a connection for each writer. Otherwise the creates would arrive one after the
    // other, as their connections open.
    for read in join_all((0..RACING_CREATES).map(|_| bucket.get(key))).await {
        read?;
    }
    let writers = (0..RACING_CREATES).map(async |writer| {
        let bytes = racing_bytes(CREATES, writer);
        (bytes.clone(), bucket.create(key, bytes).await)
    });
    let (mut winners, mut found) = (Vec::new(), Vec::new());
    for (bytes, outcome) in join_all(writers).await {
        match outcome? {
            CreateOutcome::Created(version) => winners.push((bytes, version)),
            CreateOutcome::AlreadyExists(object) => found.push(object.bytes),
        }
    }
    let [(bytes, version)] = winners.as_slice() else {
        return Err(not_honoured(CREATES, RACING_CREATES, key, winners.len()));
    };
    if found.iter().any(|found| found != bytes) {
        return Err(PreconditionError::RefusedWriteTookEffect { key: key.clone() });
    }
    Ok(version.clone())
}

/// Starts two replacements of `version` at the same time. Exactly one must succeed.
pub(super) async fn race_replacements(
    bucket: &Bucket,
    key: &Key,
    version: &ObjectVersion,
) -> Result<(), PreconditionError> {
    let writers = (0..RACING_REPLACEMENTS).map(async |writer| {
        let bytes = racing_bytes(REPLACEMENTS, writer);
        (bytes.clone(), bucket.replace_if(key, version, bytes).await)
    });
    let mut winners = Vec::new();
    for (bytes, replaced) in join_all(writers).await {
        if replaced?.is_some() {
            winners.push(bytes);
        }
    }
    let [bytes] = winners.as_slice() else {
        return Err(not_honoured(REPLACEMENTS, RACING_REPLACEMENTS, key, winners.len()));
    };
    match bucket.get(key).await? {
        Some(found) if found.bytes == bytes => Ok(()),
        Some(_) | None => Err(PreconditionError::RefusedWriteTookEffect { key: key.clone() }),
    }
}

fn not_honoured(kind: &'static str, count: usize, key: &Key, winners: usize) -> PreconditionError {
    PreconditionError::NotHonoured { kind, count, key: key.clone(), winners }
}

/// Different bytes for each writer, so that a read-back shows whose write took effect.
fn racing_bytes(kind: &str, writer: usize) -> Bytes {
    Bytes::from(format!("Rollcall check of {kind}, writer {writer}\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{Fault, Folder, MemoryBackend, RetryPolicy};

    async fn check(store: &MemoryBackend) -> Result<(), String> {
        let bucket = Bucket::new(Arc::new(store.clone()), RetryPolicy::default());
        let checked = check_preconditions(&bucket, 7).await.map_err(|error| error.to_string());
        store.faults().set_outage(None);
        assert_eq!(bucket.list(&Folder::Checks).await.unwrap(), Vec::<String>::new(), "the object is deleted");
        checked
    }

    #[tokio::test]
    async fn a_store_with_preconditions_passes_and_is_left_empty() {
        assert_eq!(check(&MemoryBackend::new()).await, Ok(()));
    }

    #[tokio::test]
    async fn a_store_that_ignores_preconditions_is_refused() {
        let store = MemoryBackend::new();
        store.faults().set_outage(Some(Fault::Overwrite));
        let error = check(&store).await.unwrap_err();
        assert!(error.starts_with("8 of 8 creates of checks/00000007.txt at the same time succeeded"), "{error}");
        assert!(error.contains("do not use this store"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_lets_two_of_eight_creates_win_is_refused() {
        let store = MemoryBackend::new();
        // Eight reads, and the first create.
        store.faults().inject(9, &Fault::None);
        store.faults().inject(1, &Fault::Overwrite);
        let error = check(&store).await.unwrap_err();
        assert!(error.starts_with("2 of 8 creates"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_ignores_only_the_version_of_a_replacement_is_refused() {
        let store = MemoryBackend::new();
        // Eight reads, and eight creates of which seven are read back.
        store.faults().inject(8 + 8 + 7, &Fault::None);
        store.faults().inject(2, &Fault::Overwrite);
        let error = check(&store).await.unwrap_err();
        assert!(error.starts_with("2 of 2 replacements"), "{error}");
    }

    #[tokio::test]
    async fn a_lost_response_in_the_race_does_not_refuse_a_good_store() {
        for lost in 0..8 {
            let store = MemoryBackend::new();
            store.faults().inject(8 + lost, &Fault::None);
            store.faults().inject(1, &Fault::LoseResponse);
            assert_eq!(check(&store).await, Ok(()), "the response to call {lost} of the race is lost");
        }
    }

    #[tokio::test]
    async fn concurrent_checks_of_one_store_do_not_affect_each_other() {
        let bucket = Bucket::new(Arc::new(MemoryBackend::new()), RetryPolicy::default());
        for checked in join_all((0..5).map(|number| check_preconditions(&bucket, number))).await {
            checked.unwrap();
        }
    }
}
