//! Tests of the copy between stores in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rollcall_core::UserId;

use super::*;
use crate::storage::{Backend, Fault, MemoryBackend, RetryPolicy};

fn user(name: &str) -> Username {
    Username::parse(name).unwrap()
}

fn profile_key(name: &str) -> Key {
    Key::Profile(user(name))
}

fn image_key(name: &str, image: &str) -> Key {
    Key::Image(user(name), ImageName::parse(image).unwrap())
}

/// A profile of the registration `id` after this number of password changes.
fn profile(name: &str, id: u128, password_version: u32) -> Bytes {
    let id = UserId::from_u128(id);
    Bytes::from(format!(
        r#"{{"id":"{id}","username":"{name}","registered_at":"2025-12-06T18:19:25Z","password_version":{password_version}}}"#
    ))
}

async fn put(store: &MemoryBackend, key: &Key, bytes: impl Into<Bytes>) {
    store.create(key, bytes.into()).await.unwrap();
}

async fn bytes_of(store: &MemoryBackend, key: &Key) -> Option<Bytes> {
    store.get(key).await.unwrap().map(|object| object.bytes)
}

/// Two users with images, and the objects of a cluster and a node.
async fn source() -> MemoryBackend {
    let store = MemoryBackend::new().with_page_size(1);
    put(&store, &profile_key("alice"), profile("alice", 1, 0)).await;
    put(&store, &profile_key("bob"), profile("bob", 2, 0)).await;
    for image in ["1733511234-a1b2c3d4.png", "avatar.png", "999-a.jpeg"] {
        put(&store, &image_key("alice", image), image.as_bytes().to_vec()).await;
    }
    put(&store, &Key::Cluster, "cluster").await;
    put(&store, &Key::TokenKey, "secret").await;
    put(&store, &Key::Check(1), "check").await;
    put(&store, &Key::Node("10.0.0.1:8080".parse().unwrap()), "node").await;
    store
}

fn bucket(store: &MemoryBackend) -> Bucket {
    let policy = RetryPolicy { initial_backoff: Duration::from_millis(1), ..RetryPolicy::default() };
    Bucket::new(Arc::new(store.clone()), policy)
}

/// Copies, and returns the end with the result of each object in the order of the paths.
async fn copy_with(
    from: &MemoryBackend,
    to: &MemoryBackend,
    is_dry_run: bool,
    stop: &CancellationToken,
) -> (CopyEnd, Vec<(String, CopyResult)>) {
    let results = Mutex::new(Vec::new());
    let end = copy_bucket(&bucket(from), &bucket(to), is_dry_run, stop, |event| {
        if let CopyEvent::Object { path, result } = event {
            results.lock().unwrap().push((path.to_owned(), result.clone()));
        }
    })
    .await;
    let mut results = results.into_inner().unwrap();
    results.sort_by(|(one, _), (other, _)| one.cmp(other));
    (end, results)
}

async fn copy(from: &MemoryBackend, to: &MemoryBackend) -> Vec<(String, CopyResult)> {
    let (end, results) = copy_with(from, to, false, &CancellationToken::new()).await;
    assert!(matches!(end, CopyEnd::Complete), "{end:?}");
    results
}

#[tokio::test]
async fn a_copy_has_every_profile_and_image_and_nothing_of_the_cluster_or_of_nodes() {
    let (from, to) = (source().await, MemoryBackend::new());
    let results = copy(&from, &to).await;
    assert!(results.iter().all(|(_, result)| matches!(result, CopyResult::Created { .. })), "{results:?}");
    let paths: Vec<&str> = results.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "users/alice/images/1733511234-a1b2c3d4.png",
            "users/alice/images/999-a.jpeg",
            "users/alice/images/avatar.png",
            "users/alice/profile.json",
            "users/bob/profile.json",
        ]
    );
    assert_eq!(to.paths(), paths);
    for key in [profile_key("alice"), image_key("alice", "avatar.png")] {
        assert_eq!(bytes_of(&to, &key).await, bytes_of(&from, &key).await);
    }
}

#[tokio::test]
async fn a_second_copy_writes_nothing_and_a_third_only_what_is_new() {
    let (from, to) = (source().await, MemoryBackend::new());
    copy(&from, &to).await;
    let again = copy(&from, &to).await;
    assert!(again.len() == 5 && again.iter().all(|(_, result)| *result == CopyResult::Unchanged), "{again:?}");
    put(&from, &image_key("bob", "1.png"), "new").await;
    let third = copy(&from, &to).await;
    let (unchanged, written): (Vec<_>, Vec<_>) =
        third.into_iter().partition(|(_, result)| *result == CopyResult::Unchanged);
    assert_eq!(unchanged.len(), 5);
    assert_eq!(written, [("users/bob/images/1.png".to_owned(), CopyResult::Created { bytes: 3 })]);
}

#[tokio::test]
async fn a_greater_revision_replaces_a_smaller_one_and_never_the_other_way_round() {
    let (old, new) = (profile("alice", 1, 1), profile("alice", 1, 2));
    for (source, target, expected) in
        [(&new, &old, CopyResult::Replaced { bytes: new.len() }), (&old, &new, CopyResult::TargetIsNewer)]
    {
        let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
        put(&from, &profile_key("alice"), source.clone()).await;
        put(&from, &image_key("alice", "1.png"), "image").await;
        put(&to, &profile_key("alice"), target.clone()).await;
        let results = copy(&from, &to).await;
        assert_eq!(results[1], ("users/alice/profile.json".to_owned(), expected));
        assert_eq!(results[0].1, CopyResult::Created { bytes: 5 });
        assert_eq!(bytes_of(&to, &profile_key("alice")).await.as_ref(), Some(&new));
    }
}

#[tokio::test]
async fn other_content_in_the_target_is_a_conflict_and_is_kept() {
    let (from, to) = (source().await, MemoryBackend::new());
    put(&to, &profile_key("alice"), profile("alice", 9, 0)).await;
    put(&to, &image_key("bob", "1.png"), "other").await;
    put(&from, &image_key("bob", "1.png"), "ours").await;
    let before = to.paths();
    let results = copy(&from, &to).await;
    let conflicts: Vec<_> = results
        .iter()
        .filter_map(|(path, result)| match result {
            CopyResult::Conflict(reason) => Some((path.as_str(), reason.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        conflicts,
        [
            ("users/alice/profile.json", "the target has another registration of this name"),
            ("users/bob/images/1.png", "the target has another image of this name"),
        ]
    );
    // Alice's images stay away from the other user of this name.
    assert_eq!(to.paths(), [before, vec!["users/bob/profile.json".to_owned()]].concat());
    assert_eq!(bytes_of(&to, &image_key("bob", "1.png")).await.unwrap(), "other");
}

#[tokio::test]
async fn images_without_a_profile_are_not_given_to_a_user_of_the_target() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    for name in ["alice", "bob"] {
        put(&from, &image_key(name, "1.png"), "image").await;
    }
    put(&to, &profile_key("alice"), profile("alice", 1, 0)).await;
    let results = copy(&from, &to).await;
    assert_eq!(
        results,
        [
            (
                "users/alice/profile.json".to_owned(),
                CopyResult::Conflict("the target has it, and the source does not".to_owned())
            ),
            ("users/bob/images/1.png".to_owned(), CopyResult::Created { bytes: 5 }),
        ]
    );
}

#[tokio::test]
async fn an_unreadable_profile_is_copied_byte_for_byte_so_that_its_name_stays_taken() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    put(&from, &profile_key("torn"), "{").await;
    copy(&from, &to).await;
    assert_eq!(bytes_of(&to, &profile_key("torn")).await.unwrap(), "{");
}

#[tokio::test]
async fn a_dry_run_reports_the_same_and_writes_nothing() {
    let (from, to) = (source().await, MemoryBackend::new());
    put(&to, &profile_key("bob"), profile("bob", 9, 0)).await;
    let (end, planned) = copy_with(&from, &to, true, &CancellationToken::new()).await;
    assert!(matches!(end, CopyEnd::Complete));
    assert_eq!(to.paths(), ["users/bob/profile.json"]);
    assert_eq!(copy(&from, &to).await, planned);
}

#[tokio::test]
async fn a_damaged_write_is_detected() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    put(&from, &profile_key("alice"), profile("alice", 1, 0)).await;
    // The profile is read before it is written.
    to.faults().inject(1, &Fault::None);
    to.faults().inject(1, &Fault::Damage);
    let results = copy(&from, &to).await;
    assert!(matches!(&results[0].1, CopyResult::Failed(cause) if cause.contains("damaged: SHA-256")), "{results:?}");
}

#[tokio::test]
async fn one_failure_names_the_object_and_the_others_are_copied() {
    let (from, to) = (source().await, MemoryBackend::new());
    // The read, the write and the read-back of the first profile succeed, and then one call fails.
    to.faults().inject(3, &Fault::None);
    to.faults().inject(1, &Fault::Permanent);
    let results = copy(&from, &to).await;
    let failed: Vec<_> = results.iter().filter(|(_, result)| matches!(result, CopyResult::Failed(_))).collect();
    assert!(failed.len() == 1 && results.len() >= 2, "{results:?}");
    assert!(copy(&from, &to).await.iter().all(|(_, result)| !matches!(result, CopyResult::Failed(_))));
    assert_eq!(to.paths().len(), 5);
}

#[tokio::test]
async fn a_copy_gives_up_when_a_store_does_not_work_any_more() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    for number in 0..500 {
        let name = format!("user{number}");
        put(&from, &profile_key(&name), profile(&name, number, 0)).await;
    }
    to.faults().set_outage(Some(Fault::Permanent));
    let (end, results) = copy_with(&from, &to, false, &CancellationToken::new()).await;
    assert!(matches!(end, CopyEnd::GaveUp), "{end:?}");
    let most = usize::try_from(MAX_CONSECUTIVE_FAILURES).unwrap() + MAX_CONCURRENT_USERS;
    assert!((64..=most).contains(&results.len()), "{}", results.len());
}

#[tokio::test]
async fn users_that_cannot_be_listed_end_the_copy() {
    let (from, to) = (source().await, MemoryBackend::new());
    from.faults().set_outage(Some(Fault::Permanent));
    let (end, results) = copy_with(&from, &to, false, &CancellationToken::new()).await;
    assert!(matches!(end, CopyEnd::NotListed(_)) && results.is_empty(), "{end:?}");
}

#[tokio::test]
async fn a_stopped_copy_finishes_the_objects_in_flight_and_the_next_one_continues() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    for number in 0..100 {
        let name = format!("user{number}");
        put(&from, &profile_key(&name), profile(&name, number, 0)).await;
    }
    let (stop, done) = (CancellationToken::new(), Cell::new(0));
    let end = copy_bucket(&bucket(&from), &bucket(&to), false, &stop, |event| {
        if let CopyEvent::Object { .. } = event {
            done.set(done.get() + 1);
            stop.cancel();
        }
    })
    .await;
    assert!(matches!(end, CopyEnd::Stopped), "{end:?}");
    assert!((1..100).contains(&done.get()) && to.paths().len() == done.get(), "{} objects", done.get());
    let results = copy(&from, &to).await;
    let written = results.iter().filter(|(_, result)| matches!(result, CopyResult::Created { .. })).count();
    assert_eq!((written, to.paths().len()), (100 - done.get(), 100));
}

#[tokio::test]
async fn objects_that_rollcall_does_not_read_are_ignored_and_named() {
    let from = source().await;
    from.put_at("users/alice/images/notes.txt", "x");
    let results = copy(&from, &MemoryBackend::new()).await;
    assert!(results.contains(&("users/alice/images/notes.txt".to_owned(), CopyResult::Ignored)), "{results:?}");
    assert_eq!(results.len(), 6);
}
