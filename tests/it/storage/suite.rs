//! Tests that every kind of store must pass: the behaviour without faults.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::storage::{Backend, Bucket, CreateOutcome, Folder, Key, ListedChild, RetryPolicy};
use rollcall_core::{ImageKind, ImageName, Username};
use tokio::task::JoinSet;

/// Names per page in every store under test, so that a few objects need several pages.
pub(super) const PAGE_SIZE: usize = 3;

/// Generates a test of each behaviour below. `$open()` returns a future. Its output is an empty
/// bucket and a value that keeps the bucket alive.
macro_rules! every_behaviour {
    ($open:path) => {
        crate::storage::suite::every_behaviour! { $open =>
            a_created_object_is_read_back, an_empty_bucket_has_no_objects, a_second_create_returns_the_existing_object,
            a_second_create_with_the_same_bytes_succeeds, of_concurrent_creates_exactly_one_succeeds,
            a_replacement_needs_the_current_version, of_concurrent_replacements_one_succeeds_per_version,
            readers_see_complete_objects_during_replacements, listings_are_complete_at_page_boundaries,
            users_are_listed_once_and_in_order, images_are_listed_per_user, a_deleted_object_does_not_exist,
            names_of_any_characters_are_stored_unchanged,
        }
    };
    ($open:path => $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let (bucket, _keep) = $open().await;
                crate::storage::suite::$behaviour(&bucket).await;
            }
        )*
    };
}
pub(super) use every_behaviour;

/// A bucket with short backoffs.
pub(super) fn bucket(backend: Arc<dyn Backend>) -> Bucket {
    Bucket::new(backend, RetryPolicy { initial_backoff: Duration::from_millis(1), ..RetryPolicy::default() })
}

pub(super) fn user(name: &str) -> Username {
    Username::parse(name).expect("a valid username")
}

pub(super) fn profile(name: &str) -> Key {
    Key::Profile(user(name))
}

pub(super) fn image(number: u32) -> ImageName {
    ImageName::new(1_733_511_234, number, ImageKind::Png)
}

/// Creates an object that must not exist yet.
pub(super) async fn put(bucket: &Bucket, key: &Key, bytes: &'static [u8]) -> rollcall::storage::ObjectVersion {
    match bucket.create(key, Bytes::from_static(bytes)).await.expect("the store works") {
        CreateOutcome::Created(version) => version,
        CreateOutcome::AlreadyExists(other) => panic!("{key} exists already: {other:?}"),
    }
}

async fn bytes_of(bucket: &Bucket, key: &Key) -> Option<Bytes> {
    bucket.get(key).await.expect("the store works").map(|object| object.bytes)
}

pub(super) async fn a_created_object_is_read_back(bucket: &Bucket) {
    // No bytes, the text of a multipart boundary, and as many bytes as the largest image has.
    let large: Bytes = (0..512 * 1024).map(|i: u32| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    for (number, bytes) in [Bytes::new(), Bytes::from_static(b"\r\n--x--\r\n\0"), large].into_iter().enumerate() {
        let key = Key::Image(user("alice"), image(u32::try_from(number).unwrap()));
        let CreateOutcome::Created(version) = bucket.create(&key, bytes.clone()).await.unwrap() else {
            panic!("{key} exists already")
        };
        let object = bucket.get(&key).await.unwrap().expect("the object exists");
        assert!(object.bytes == bytes, "{key} is read back with other bytes");
        assert_eq!(object.version, version);
    }
}

pub(super) async fn names_of_any_characters_are_stored_unchanged(bucket: &Bucket) {
    let longest = "x".repeat(255);
    let mut names = [
        "Zoë",
        "Zoe\u{308}",
        "mona ali",
        "😀",
        "a?b=c&d",
        "100%",
        "%2e%2e",
        "a#b",
        "a+b",
        "a\\b",
        "\"q\"",
        "'q'",
        "<b>",
        "*",
        "[x]",
        "~",
        "...",
        ".hidden",
        "-rf",
        "a:b",
        "王小明",
        " ",
        "a  b",
        &longest,
    ];
    for name in names {
        let version = put(bucket, &profile(name), b"first").await;
        let replaced = bucket.replace_if(&profile(name), &version, Bytes::from(name.to_owned())).await.unwrap();
        assert!(replaced.is_some(), "{name:?}");
        put(bucket, &Key::Image(user(name), image(1)), b"x").await;
    }
    for name in names {
        assert_eq!(bytes_of(bucket, &profile(name)).await.as_deref(), Some(name.as_bytes()), "{name:?}");
        let listed = bucket.list_children(&Folder::Images(user(name))).await.unwrap();
        let expected = ListedChild { name: image(1).to_string(), bytes: 1 };
        assert_eq!(listed, [expected], "{name:?}");
    }
    names.sort_unstable();
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), names);
    for name in names {
        bucket.delete(&profile(name)).await.unwrap();
        assert_eq!(bytes_of(bucket, &profile(name)).await, None, "{name:?}");
    }
}

pub(super) async fn an_empty_bucket_has_no_objects(bucket: &Bucket) {
    for key in [Key::Cluster, profile("alice"), Key::Image(user("alice"), image(1))] {
        assert_eq!(bucket.get(&key).await.unwrap(), None, "{key}");
        bucket.delete(&key).await.expect("the delete of a missing object succeeds");
    }
    for folder in [Folder::Users, Folder::Images(user("alice")), Folder::Checks] {
        assert_eq!(bucket.list(&folder).await.unwrap(), Vec::<String>::new(), "{folder}");
    }
}

pub(super) async fn a_second_create_returns_the_existing_object(bucket: &Bucket) {
    let version = put(bucket, &Key::Cluster, b"first").await;
    match bucket.create(&Key::Cluster, Bytes::from_static(b"second")).await.unwrap() {
        CreateOutcome::AlreadyExists(found) => {
            assert_eq!((found.bytes, found.version), (Bytes::from_static(b"first"), version));
        }
        CreateOutcome::Created(_) => panic!("one object was created twice"),
    }
    assert_eq!(bytes_of(bucket, &Key::Cluster).await.unwrap(), "first");
}

pub(super) async fn a_second_create_with_the_same_bytes_succeeds(bucket: &Bucket) {
    let version = put(bucket, &Key::Cluster, b"same").await;
    let again = bucket.create(&Key::Cluster, Bytes::from_static(b"same")).await.unwrap();
    assert_eq!(again, CreateOutcome::Created(version));
}

pub(super) async fn of_concurrent_creates_exactly_one_succeeds(bucket: &Bucket) {
    for round in 0..5 {
        let key = profile(&format!("user{round}"));
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let (bucket, key) = (bucket.clone(), key.clone());
            let bytes = Bytes::from(format!("writer {number}"));
            tasks.spawn(async move { (bytes.clone(), bucket.create(&key, bytes).await.unwrap()) });
        }
        let (winners, losers): (Vec<_>, Vec<_>) =
            tasks.join_all().await.into_iter().partition(|(_, created)| matches!(created, CreateOutcome::Created(_)));
        let [(winner, CreateOutcome::Created(version))] = winners.as_slice() else {
            panic!("{} winners", winners.len())
        };
        for (_, lost) in losers {
            let CreateOutcome::AlreadyExists(found) = lost else { unreachable!("partitioned") };
            assert_eq!((&found.bytes, &found.version), (winner, version));
        }
        assert_eq!(bytes_of(bucket, &key).await.as_ref(), Some(winner));
    }
}

pub(super) async fn a_replacement_needs_the_current_version(bucket: &Bucket) {
    let key = profile("alice");
    let first = put(bucket, &key, b"first").await;
    assert_eq!(bucket.replace_if(&profile("bob"), &first, Bytes::from_static(b"x")).await.unwrap(), None);
    assert_eq!(bytes_of(bucket, &profile("bob")).await, None);

    let second =
        bucket.replace_if(&key, &first, Bytes::from_static(b"second")).await.unwrap().expect("the version is current");
    assert_ne!(first, second);
    assert_eq!(bucket.replace_if(&key, &first, Bytes::from_static(b"stale")).await.unwrap(), None);
    let object = bucket.get(&key).await.unwrap().expect("the object exists");
    assert_eq!((object.bytes, object.version), (Bytes::from_static(b"second"), second));
}

pub(super) async fn of_concurrent_replacements_one_succeeds_per_version(bucket: &Bucket) {
    let key = profile("alice");
    put(bucket, &key, b"0").await;
    // Each of four writers adds one ten times, and reads again whenever another writer was faster.
    let mut tasks = JoinSet::new();
    for writer in 0..4 {
        let (bucket, key) = (bucket.clone(), key.clone());
        tasks.spawn(async move {
            let mut added = 0;
            while added < 10 {
                let object = bucket.get(&key).await.unwrap().expect("the object exists");
                let text = String::from_utf8(object.bytes.to_vec()).unwrap();
                let count: u32 = text.split(' ').next().unwrap().parse().unwrap();
                // The writer's number makes the bytes of two writers different.
                let next = Bytes::from(format!("{} by {writer}", count + 1));
                if bucket.replace_if(&key, &object.version, next).await.unwrap().is_some() {
                    added += 1;
                }
            }
        });
    }
    tasks.join_all().await;
    let text = bytes_of(bucket, &key).await.expect("the object exists");
    assert!(text.starts_with(b"40 by "), "an addition was lost: {text:?}");
}

pub(super) async fn readers_see_complete_objects_during_replacements(bucket: &Bucket) {
    const LENGTH: usize = 60_000;
    static ZEROS: [u8; LENGTH] = [0; LENGTH];
    let key = profile("alice");
    let mut version = put(bucket, &key, &ZEROS).await;
    let writer = async {
        for round in 1..=20 {
            let bytes = Bytes::from(vec![round; LENGTH]);
            version = bucket.replace_if(&key, &version, bytes).await.unwrap().expect("there is no other writer");
        }
    };
    let reader = async {
        loop {
            let bytes = bytes_of(bucket, &key).await.expect("the object always exists");
            assert!(
                bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]),
                "a reader got parts of two objects"
            );
            if bytes[0] == 20 {
                break;
            }
        }
    };
    tokio::join!(writer, reader);
}

pub(super) async fn listings_are_complete_at_page_boundaries(bucket: &Bucket) {
    let mut expected = Vec::new();
    for count in 0..=(2 * PAGE_SIZE + 1) {
        let mut pages = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = bucket.list_page(&Folder::Checks, next.as_deref()).await.unwrap();
            pages.push(page.names().map(str::to_owned).collect::<Vec<_>>());
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        // An empty page may follow a full last page: not every store knows which page is the last.
        let full_pages = count.div_ceil(PAGE_SIZE).max(1);
        assert!((full_pages..=full_pages + 1).contains(&pages.len()), "{count} names on {} pages", pages.len());
        assert!(pages.iter().all(|names| names.len() <= PAGE_SIZE));
        assert_eq!(pages.concat(), expected, "of {count} names");
        assert_eq!(bucket.list(&Folder::Checks).await.unwrap(), expected, "of {count} names");

        let number = u32::try_from(count).unwrap();
        put(bucket, &Key::Check(number), b"").await;
        expected.push(format!("{number:08x}.txt"));
    }
}

pub(super) async fn users_are_listed_once_and_in_order(bucket: &Bucket) {
    // A slash sorts after `-` and `.`, so a store that sorts whole paths lists `a-b/` before `a/`.
    let names = ["A", "a", "a-b", "a.b", "a0", "b"];
    for name in names.iter().rev() {
        put(bucket, &profile(name), b"{}").await;
        for number in 0..4 {
            put(bucket, &Key::Image(user(name), image(number)), b"png").await;
        }
    }
    put(bucket, &Key::Cluster, b"{}").await;
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), names);
}

pub(super) async fn images_are_listed_per_user(bucket: &Bucket) {
    let expected: Vec<_> = (0..5).map(|number| image(number).to_string()).collect();
    for number in (0..5).rev() {
        put(bucket, &Key::Image(user("al"), image(number)), b"png").await;
    }
    put(bucket, &Key::Image(user("alice"), image(9)), b"png").await;
    assert_eq!(bucket.list(&Folder::Images(user("al"))).await.unwrap(), expected);
    assert_eq!(bucket.list(&Folder::Images(user("alice"))).await.unwrap(), [image(9).to_string()]);
}

pub(super) async fn a_deleted_object_does_not_exist(bucket: &Bucket) {
    let key = profile("alice");
    let version = put(bucket, &key, b"first").await;
    bucket.delete(&key).await.unwrap();
    assert_eq!(bytes_of(bucket, &key).await, None);
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), Vec::<String>::new());
    assert_eq!(bucket.replace_if(&key, &version, Bytes::from_static(b"late")).await.unwrap(), None);
    put(bucket, &key, b"second").await;
    assert_eq!(bytes_of(bucket, &key).await.unwrap(), "second");
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["alice"]);
}
