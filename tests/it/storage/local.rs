//! The store in a local directory: the suite, and its behaviour with processes, disks and temporary
//! files.

use std::fs::{self, File};
use std::future::{Ready, ready};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use rollcall::storage::{Backend, BackendError, Bucket, BucketError, CreateOutcome, Folder, Key, LocalBackend};
use rollcall_core::clock;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::suite::{self, PAGE_SIZE, every_behaviour, image, profile, put, user};

fn open() -> Ready<(Bucket, TempDir)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    ready((open_in(dir.path(), "boot"), dir))
}

fn open_in(root: &Path, boot_tag: &str) -> Bucket {
    suite::bucket(Arc::new(LocalBackend::open(root.to_path_buf(), boot_tag, PAGE_SIZE).expect("it opens")))
}

every_behaviour!(super::local::open);

fn temps(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".tmp")).expect("the directory of temporary files");
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn only_the_account_of_the_nodes_can_read_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open_in(&dir.path().join("bucket"), "boot");
    let version = put(&bucket, &profile("alice"), b"old").await;
    bucket
        .replace_if(&profile("alice"), &version, Bytes::from_static(b"new"))
        .await
        .unwrap()
        .expect("it is still that");
    put(&bucket, &Key::TokenKey, b"secret").await;
    put(&bucket, &Key::Image(user("alice"), image(1)), b"picture").await;
    let mode = |path: &str| {
        let found = fs::metadata(dir.path().join("bucket").join(path)).expect("it is there");
        found.permissions().mode() & 0o777
    };
    for (path, expected) in [
        ("secrets", 0o700),
        ("secrets/tokens.json", 0o600),
        ("users", 0o700),
        ("users/alice", 0o700),
        ("users/alice/profile.json", 0o600),
        ("users/alice/images", 0o700),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_directory_never_create_the_same_object() {
    let dir = tempfile::tempdir().unwrap();
    let buckets = [open_in(dir.path(), "one"), open_in(dir.path(), "two")];
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        for (writer, bucket) in buckets.iter().enumerate() {
            let bucket = bucket.clone();
            tasks.spawn(async move {
                let bytes = Bytes::from(format!("writer {writer}"));
                matches!(
                    bucket.create(&profile(&format!("u{number}")), bytes).await.unwrap(),
                    CreateOutcome::Created(_)
                )
            });
        }
    }
    let wins = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(wins, 20);
    assert_eq!(temps(dir.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_directory_never_replace_the_same_version() {
    let dir = tempfile::tempdir().unwrap();
    let buckets = [open_in(dir.path(), "one"), open_in(dir.path(), "two")];
    let mut version = put(&buckets[0], &Key::Cluster, b"start").await;
    for round in 0..20 {
        let replace = |writer: usize| {
            let bytes = Bytes::from(format!("round {round} by {writer}"));
            let version = &version;
            let bucket = &buckets[writer];
            async move { bucket.replace_if(&Key::Cluster, version, bytes).await.unwrap() }
        };
        let (one, two) = tokio::join!(replace(0), replace(1));
        version = one.xor(two).expect("exactly one of the two wins");
    }
    assert_eq!(temps(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_for_reading_only_creates_nothing_and_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let version = put(&open_in(dir.path(), "boot"), &profile("alice"), b"old").await;
    // As in a backup without the files of running nodes.
    fs::remove_dir_all(dir.path().join(".tmp")).unwrap();
    let _ = fs::remove_file(dir.path().join(".lock"));
    let store = LocalBackend::open_read_only(dir.path().to_path_buf()).unwrap();
    let found = store.get(&profile("alice")).await.unwrap().unwrap();
    assert_eq!((found.bytes, found.version), (Bytes::from("old"), version.clone()));
    let users = store.list(&Folder::Users, None).await.unwrap();
    assert_eq!(users.names().collect::<Vec<_>>(), ["alice"]);
    for refused in [
        store.create(&profile("bob"), Bytes::new()).await.map(|_| ()),
        store.replace_if(&profile("alice"), &version, Bytes::new()).await.map(|_| ()),
        store.delete(&profile("alice")).await,
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, BackendError::Permanent(text) if text.contains("for reading only")), "{error:?}");
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["users"]);
    let missing = LocalBackend::open_read_only(dir.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing") && !dir.path().join("missing").exists(), "{missing}");
}

#[tokio::test]
async fn objects_outlive_the_store_that_wrote_them() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data/bucket");
    put(&open_in(&root, "one"), &profile("alice"), b"hello").await;
    let found = open_in(&root, "two").get(&profile("alice")).await.unwrap().expect("it is there");
    assert_eq!(found.bytes, "hello");
    assert_eq!(fs::read(root.join("users/alice/profile.json")).unwrap(), b"hello");
}

#[test]
fn a_start_removes_only_temporary_files_older_than_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(".tmp")).unwrap();
    let now = u64::try_from(clock::wall_now().unix_seconds()).unwrap();
    // One minute older or younger, for the duration of the test itself.
    for (name, age_seconds) in [("old", 3660), ("young", 3540), ("ahead", 0)] {
        let file = File::create(dir.path().join(".tmp").join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(now - age_seconds)).unwrap();
    }
    open_in(dir.path(), "boot");
    let mut left = temps(dir.path());
    left.sort();
    assert_eq!(left, ["ahead", "young"]);
}

#[test]
fn the_error_about_a_directory_that_cannot_be_created_names_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for root in [file.clone(), file.join("bucket")] {
        let error = LocalBackend::open(root.clone(), "boot", PAGE_SIZE).expect_err("a file is in the way");
        let BackendError::Permanent(text) = &error else { panic!("{error:?}") };
        assert!(text.contains(&*root.to_string_lossy()) && text.contains("move it away"), "{text}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}

#[tokio::test]
async fn an_impossible_write_fails_with_a_remedy_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open_in(dir.path(), "boot");
    // A file in place of the user's directory: no account can write below it, not even root.
    fs::create_dir(dir.path().join("users")).unwrap();
    fs::write(dir.path().join("users/alice"), "").unwrap();
    let error = bucket.create(&profile("alice"), Bytes::from_static(b"x")).await.expect_err("no place to write to");
    assert!(matches!(&error, BucketError::Unavailable { cause, .. } if cause.contains("move it away")), "{error}");
    assert_eq!(temps(dir.path()), Vec::<String>::new());
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn refused_writes_leave_no_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open_in(dir.path(), "boot");
    let version = put(&bucket, &Key::Cluster, b"first").await;
    bucket.replace_if(&Key::Cluster, &version, Bytes::from_static(b"second")).await.unwrap().expect("current");
    bucket.create(&Key::Cluster, Bytes::from_static(b"third")).await.unwrap();
    assert_eq!(bucket.replace_if(&Key::Cluster, &version, Bytes::from_static(b"stale")).await.unwrap(), None);
    assert_eq!(bucket.replace_if(&profile("nobody"), &version, Bytes::new()).await.unwrap(), None);
    assert_eq!(temps(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn listings_skip_entries_that_are_not_objects() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open_in(dir.path(), "boot");
    put(&bucket, &Key::Image(user("alice"), image(1)), b"png").await;
    fs::write(dir.path().join("users/README"), "a file among the users").unwrap();
    fs::create_dir(dir.path().join("users/nobody")).unwrap();
    fs::create_dir(dir.path().join("users/alice/images/thumbnails")).unwrap();
    assert_eq!(bucket.list(&Folder::Users).await.unwrap(), ["alice"]);
    assert_eq!(bucket.list(&Folder::Images(user("alice"))).await.unwrap(), [image(1).to_string()]);
}

#[tokio::test]
async fn a_dropped_write_takes_effect_completely_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalBackend::open(dir.path().to_path_buf(), "boot", PAGE_SIZE).unwrap();
    let bytes = Bytes::from(vec![7; 100_000]);
    for number in 0..20 {
        // One poll starts the write; then it is dropped.
        let key = Key::Check(number);
        let mut write = store.create(&key, bytes.clone());
        assert!(futures_util::poll!(&mut write).is_pending());
    }
    // Writes that have started may still take effect until the runtime of the test shuts down.
    for number in 0..20 {
        let found = store.get(&Key::Check(number)).await.unwrap();
        assert!(found.is_none_or(|entry| entry.bytes == bytes), "a part of an object was read");
    }
}

#[tokio::test]
async fn a_lock_that_is_never_released_is_a_transient_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalBackend::open(dir.path().to_path_buf(), "boot", PAGE_SIZE).unwrap();
    let version = store.create(&Key::Cluster, Bytes::from_static(b"first")).await.unwrap();
    let lock = File::create(dir.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    let refused = store.replace_if(&Key::Cluster, &version, Bytes::from_static(b"second")).await;
    assert!(matches!(refused, Err(BackendError::Transient { .. })), "{refused:?}");
    store.create(&Key::Check(1), Bytes::new()).await.expect("creating needs no lock");
    drop(lock);
    store.replace_if(&Key::Cluster, &version, Bytes::from_static(b"second")).await.expect("the lock is free");
}

#[tokio::test]
async fn an_unreadable_object_is_not_an_error_of_the_whole_store() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = open_in(dir.path(), "boot");
    let path = |username: &str| dir.path().join(profile(username).path());
    for username in ["folder", "large", "link", "dangling", "socket", "pipe"] {
        fs::create_dir_all(path(username).parent().unwrap()).unwrap();
    }
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("large"), vec![0; rollcall::storage::MAX_OBJECT_BYTES + 1]).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "what lies outside of the users' folders").unwrap();
    std::os::unix::fs::symlink(&secret, path("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
    fs::write(dir.path().join("users/file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let _writer = fs::File::options().read(true).write(true).open(path("pipe")).unwrap();
    for username in ["folder", "large", "link", "dangling", "file", "socket", "pipe"] {
        let read = bucket.get(&profile(username)).await;
        assert!(matches!(read, Err(BucketError::Unreadable { .. })), "{username}: {read:?}");
    }
    for username in ["folder", "large", "link", "dangling", "socket", "pipe"] {
        let created = bucket.create(&profile(username), Bytes::new()).await;
        assert!(matches!(created, Err(BucketError::Unreadable { .. })), "{username}: {created:?}");
    }
}

/// Moves the bucket's directory away.
fn move_away(root: &Path) {
    fs::rename(root, root.with_extension("away")).unwrap();
}

async fn assert_root_replaced(bucket: &Bucket, root: &Path) {
    let errors = [
        bucket.get(&profile("alice")).await.expect_err("get"),
        bucket.get(&profile("nobody")).await.expect_err("get of nothing"),
        bucket.list(&Folder::Users).await.expect_err("list"),
        bucket.create(&profile("alice"), Bytes::new()).await.expect_err("create"),
        bucket.delete(&profile("alice")).await.expect_err("delete"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("the bucket directory is not the one that was opened"), "{text}");
        assert!(text.contains(&*root.to_string_lossy()), "{text}");
    }
}

#[tokio::test]
async fn a_moved_directory_is_not_an_empty_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("bucket");
    let bucket = open_in(&root, "boot");
    put(&bucket, &profile("alice"), b"hello").await;
    move_away(&root);
    assert_root_replaced(&bucket, &root).await;
    assert!(!root.exists(), "it was made again");
    // Another directory in its place is rejected too.
    fs::create_dir_all(root.join(".tmp")).unwrap();
    assert_root_replaced(&bucket, &root).await;
    assert!(!root.join("users").exists());
    fs::remove_dir_all(&root).unwrap();
    fs::rename(root.with_extension("away"), &root).unwrap();
    assert_eq!(bucket.get(&profile("alice")).await.unwrap().expect("it is back").bytes, "hello");
}

#[tokio::test]
async fn a_directory_that_was_deleted_and_created_again_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("bucket");
    let bucket = open_in(&root, "boot");
    fs::remove_dir_all(&root).unwrap();
    // Without an open handle the new directory could get the inode number of the old one.
    fs::create_dir_all(root.join(".tmp")).unwrap();
    assert_root_replaced(&bucket, &root).await;
}
