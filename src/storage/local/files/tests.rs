//! When a write is acknowledged: never before the directories that lead to it are on disk.

use std::cell::{Cell, RefCell};

use super::*;

thread_local! {
    static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    static DISK_FAILS: Cell<bool> = const { Cell::new(false) };
}

fn watched_sync(dir: &Path) -> io::Result<()> {
    if DISK_FAILS.get() {
        return Err(ErrorKind::StorageFull.into());
    }
    SYNCED.with_borrow_mut(|synced| synced.push(dir.to_path_buf()));
    sync_dir(dir)
}

/// A store whose way of directories to disk is watched, with an object in `checks/`.
fn files(root: &Path) -> (Files, Version) {
    let mut files = Files::open(root.to_path_buf(), "boot", 10, WallMs::new(0)).expect("it opens");
    files.sync = watched_sync;
    let version = files.create("checks/1.txt", b"first").expect("it works");
    SYNCED.take();
    (files, version)
}

fn assert_unconfirmed<T: std::fmt::Debug>(result: &Result<T, BackendError>) {
    assert!(matches!(result, Err(BackendError::Transient(_))), "{result:?}");
}

#[test]
fn every_directory_that_leads_to_a_new_object_is_on_disk_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = files(dir.path());
    files.create("users/alice/profile.json", b"x").unwrap();
    let synced = SYNCED.take();
    // The last three follow the link; those before belong to the new directories.
    let expected = [dir.path().join("users/alice"), dir.path().join("users"), dir.path().to_path_buf()];
    assert!(synced.ends_with(&expected), "{synced:?}");
}

#[test]
fn a_create_is_not_acknowledged_and_its_retry_not_refused_until_the_directory_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = files(dir.path());
    DISK_FAILS.set(true);
    assert_unconfirmed(&files.create("checks/2.txt", b"x"));
    assert_eq!(files.get("checks/2.txt").unwrap().unwrap().bytes, "x", "it took effect");
    // A refusal would make the caller read its own bytes back and acknowledge them.
    assert_unconfirmed(&files.create("checks/2.txt", b"x"));
    DISK_FAILS.set(false);
    assert!(matches!(files.create("checks/2.txt", b"x"), Err(BackendError::Precondition)));
    assert_eq!(SYNCED.take(), [dir.path().join("checks"), dir.path().to_path_buf()]);
}

#[test]
fn a_replacement_is_not_acknowledged_and_its_retry_not_refused_until_the_directory_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (files, version) = files(dir.path());
    DISK_FAILS.set(true);
    assert_unconfirmed(&files.replace_if("checks/1.txt", &version, b"second"));
    assert_unconfirmed(&files.replace_if("checks/1.txt", &version, b"second"));
    DISK_FAILS.set(false);
    let refused = files.replace_if("checks/1.txt", &version, b"second");
    assert!(matches!(refused, Err(BackendError::Precondition)), "{refused:?}");
    assert_eq!(SYNCED.take(), [dir.path().join("checks"), dir.path().to_path_buf()]);
}

#[test]
fn a_delete_is_not_acknowledged_until_the_directory_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = files(dir.path());
    DISK_FAILS.set(true);
    assert_unconfirmed(&files.delete("checks/1.txt"));
    assert_unconfirmed(&files.delete("checks/1.txt"));
    DISK_FAILS.set(false);
    files.delete("checks/1.txt").unwrap();
    files.delete("users/nobody/profile.json").expect("there is nothing to bring to disk");
}
