//! Objects as files, with blocking calls.
//!
//! A write syncs a temporary file to disk, and then publishes it under the object's name in one
//! atomic step. The step is a hard link, which fails if the name exists, or a rename under the
//! lock. So no reader sees a part of an object, two writers cannot create the same object, and a
//! crash leaves at most a temporary file.
//!
//! Only the account that runs the nodes may read the objects: profiles contain password hashes, and
//! one object is the key of all tokens. The operator chooses the mode of an existing root.
//!
//! Invariant: a write returns only after its bytes, its name and its directories are on disk, in
//! this order.

use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use compact_str::format_compact;
use sha2::{Digest, Sha256};

use super::super::{BackendError, Folder, Key, ListPage, ListedChild, Object, ObjectVersion};
use super::directories::{create_dir_durably, create_one_dir_durably, for_each_child, parent, sync_dir};
use super::free_space::{DiskSpace, SpaceFloor, disk_space};
use super::io_failure::{hard_link_failed, operation_failed, sync_failed};
use super::read::{read, read_error};
use super::root_dir::RootDir;
use rollcall_core::{Username, WallMs, private_files};

/// Directory of the temporary files. Beside `users/`, so that no listing contains it.
const TEMP_DIR: &str = ".tmp";
/// File that every process locks before it renames or deletes an object.
const LOCK_FILE: &str = ".lock";
/// Age above which a temporary file is a remainder of a crashed write, in seconds. A write ends
/// within seconds.
const TEMP_MAX_AGE_SECONDS: i64 = 3600;
/// Most attempts to take the lock. Other processes hold it for a read and a rename. A suspended
/// holder must not block all threads of this process.
const MAX_LOCK_ATTEMPTS: u32 = 500;
/// Interval between two attempts to take the lock.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// A directory tree of objects.
#[derive(Debug)]
pub(super) struct ObjectFiles {
    root: RootDir,
    /// Prefix of the names of temporary files, unique to this process. `None` if the store was
    /// opened for reading only.
    boot_tag: Option<String>,
    temp_counter: AtomicU64,
    page_size: usize,
    /// Space that objects of users leave free.
    floor: SpaceFloor,
    /// Measures the disk, and syncs the names in a directory to disk.
    disk: DiskCalls,
}

/// Calls to the operating system that tests observe, and make fail.
#[derive(Clone, Copy, Debug)]
struct DiskCalls {
    space: fn(&Path) -> io::Result<DiskSpace>,
    sync_dir: fn(&Path) -> io::Result<()>,
}

/// A temporary file. Dropping this value removes it.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename the file does not exist. If the removal fails, a later start removes the
        // file.
        let _ = fs::remove_file(&self.0);
    }
}

impl ObjectFiles {
    pub(super) fn open(root: PathBuf, boot_tag: &str, page_size: usize, now: WallMs) -> Result<Self, BackendError> {
        // The only place that creates the root. If the root disappears later, no empty directory
        // may replace it.
        create_dir_durably(&root.join(TEMP_DIR), sync_dir)?;
        // Another process may have just created the root, and may crash before it syncs the name.
        let above = parent(&root);
        sync_dir(above).map_err(|error| operation_failed("sync", above, &error))?;
        let files = Self { boot_tag: Some(boot_tag.to_owned()), ..Self::open_read_only(root, page_size)? };
        let lock = files.root().join(LOCK_FILE);
        private_files::narrow(&lock).map_err(|error| operation_failed("narrow the mode of", &lock, &error))?;
        files.remove_old_temp_files(now)?;
        files.check_hard_links()?;
        Ok(files)
    }

    /// Opens an existing directory without a change to it. Every write fails.
    pub(super) fn open_read_only(root: PathBuf, page_size: usize) -> Result<Self, BackendError> {
        let root = RootDir::open(root)?;
        let disk = DiskCalls { space: disk_space, sync_dir };
        Ok(Self { root, boot_tag: None, temp_counter: AtomicU64::new(0), page_size, floor: SpaceFloor::Off, disk })
    }

    /// Checks at the start that the file system has hard links, instead of at the first
    /// registration.
    fn check_hard_links(&self) -> Result<(), BackendError> {
        let temp = self.write_temp(b"")?;
        let second_name = TempFile(self.temp_dir().join(format!("{}-link", self.boot_tag()?)));
        fs::hard_link(&temp.0, &second_name.0).map_err(|error| hard_link_failed(self.root(), &error))
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The same directory with another floor.
    pub(super) fn with_floor(self, floor: SpaceFloor) -> Self {
        Self { floor, ..self }
    }

    /// Checks whether the disk has more free space than the floor.
    pub(super) fn check_space(&self) -> Result<(), BackendError> {
        if self.floor == SpaceFloor::Off {
            return Ok(());
        }
        let space = (self.disk.space)(self.root());
        let space = space.map_err(|error| operation_failed("measure the disk of", self.root(), &error))?;
        self.floor.check(space, self.root())
    }

    /// Returns the result of `work`, if the root directory was not removed or replaced meanwhile.
    pub(super) fn with_root_checked<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.root.check()?;
        let result = work(self);
        self.root.check()?;
        result
    }

    pub(super) fn create(&self, path: &str, bytes: &[u8]) -> Result<ObjectVersion, BackendError> {
        let target = self.root().join(path);
        let temp = self.write_temp(bytes)?;
        self.create_dir_below_root(parent(&target))?;
        match fs::hard_link(&temp.0, &target) {
            Ok(()) => self.sync_ancestors(&target).map(|()| version_of(bytes)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(self.already_exists(&target)),
            Err(error) => Err(operation_failed("create", &target, &error)),
        }
    }

    pub(super) fn replace_if(
        &self,
        path: &str,
        version: &ObjectVersion,
        bytes: &[u8],
    ) -> Result<ObjectVersion, BackendError> {
        let target = self.root().join(path);
        let temp = self.write_temp(bytes)?;
        {
            let _lock = self.lock()?;
            match self.get(path)? {
                Some(current) if current.version == *version => {
                    fs::rename(&temp.0, &target).map_err(|error| operation_failed("replace", &target, &error))?;
                }
                Some(_) => return Err(self.already_exists(&target)),
                None => return Err(BackendError::Precondition),
            }
        }
        self.sync_ancestors(&target).map(|()| version_of(bytes))
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Object>, BackendError> {
        let target = self.root().join(path);
        let bytes = read(self.root(), &target)?;
        Ok(bytes.map(|bytes| Object { version: version_of(&bytes), bytes: Bytes::from(bytes) }))
    }

    pub(super) fn list(&self, folder: &Folder, after: Option<&str>) -> Result<ListPage, BackendError> {
        let dir = self.root().join(folder.path());
        // Memory is bounded: one page of children and one more child.
        let mut children = BinaryHeap::new();
        let put = |child: ListedChild| {
            if after.is_none_or(|after| child.name.as_str() > after) {
                children.push(child);
                if children.len() > self.page_size + 1 {
                    children.pop();
                }
            }
        };
        for_each_child(&dir, matches!(folder, Folder::Users), put).map_err(|error| match folder {
            // The folder belongs to one user, so the error may concern this user only.
            Folder::Images(_) => read_error("list", self.root(), &dir, &error),
            Folder::Users | Folder::Checks | Folder::NodeKeys => operation_failed("list", &dir, &error),
        })?;
        let mut children = children.into_sorted_vec();
        let last_on_page = children.get(self.page_size - 1).map(|last| last.name.clone());
        let next = last_on_page.filter(|_| children.len() > self.page_size);
        children.truncate(self.page_size);
        if *folder == Folder::Users {
            // As in the other kinds of store, which have no empty folders: a user's directory
            // counts once it contains an object.
            children.retain(|child| self.has_objects(&child.name));
        }
        Ok(ListPage { children, next })
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), BackendError> {
        let target = self.root().join(path);
        // Under the lock: otherwise a rename that has checked the version could restore the object.
        let _lock = self.lock()?;
        match fs::remove_file(&target) {
            Ok(()) => self.sync_ancestors(&target),
            Err(error) if error.kind() == ErrorKind::NotFound && !parent(&target).exists() => Ok(()),
            // An earlier attempt may have removed it and ended before the sync.
            Err(error) if error.kind() == ErrorKind::NotFound => self.sync_ancestors(&target),
            Err(error) => Err(operation_failed("delete", &target, &error)),
        }
    }

    /// Creates a directory below the root, but never the root itself.
    fn create_dir_below_root(&self, dir: &Path) -> Result<(), BackendError> {
        if dir.is_dir() {
            return Ok(());
        }
        if dir == self.root() {
            return Err(self.root.replaced_error("it was removed during a write"));
        }
        self.create_dir_below_root(parent(dir))?;
        create_one_dir_durably(dir, self.disk.sync_dir)
    }

    /// The error for a `target` that already exists. The target is synced to disk first: its writer
    /// may have crashed before the sync, and the caller may acknowledge the object as its own.
    /// `get` does not sync, because reads are frequent and refused writes are rare.
    fn already_exists(&self, target: &Path) -> BackendError {
        match self.sync_ancestors(target) {
            Ok(()) => BackendError::Precondition,
            Err(error) => error,
        }
    }

    /// Syncs the name of `target` and the names of the directories above it to disk: the creator of
    /// a directory may not have synced it yet. Syncing an unchanged directory is cheap.
    fn sync_ancestors(&self, target: &Path) -> Result<(), BackendError> {
        for dir in target.ancestors().skip(1).take_while(|dir| dir.starts_with(self.root())) {
            (self.disk.sync_dir)(dir).map_err(|error| sync_failed(dir, &error))?;
        }
        Ok(())
    }

    /// The prefix of the names of temporary files. Every write asks for it first.
    fn boot_tag(&self) -> Result<&str, BackendError> {
        let read_only = || format!("the local directory {} was opened for reading only", self.root().display());
        self.boot_tag.as_deref().ok_or_else(|| BackendError::Permanent(read_only()))
    }

    /// A temporary file with these bytes, synced to disk.
    fn write_temp(&self, bytes: &[u8]) -> Result<TempFile, BackendError> {
        let number = self.temp_counter.fetch_add(1, Ordering::Relaxed);
        let path = self.temp_dir().join(format!("{}-{number}", self.boot_tag()?));
        let create = || private_files::options().write(true).create_new(true).open(&path);
        let mut file = create().map_err(|error| operation_failed("create", &path, &error))?;
        let temp = TempFile(path);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| operation_failed("write", &temp.0, &error))?;
        Ok(temp)
    }

    fn lock(&self) -> Result<File, BackendError> {
        self.boot_tag()?;
        let path = self.root().join(LOCK_FILE);
        let open = private_files::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|error| operation_failed("open", &path, &error))?;
        for _ in 0..MAX_LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_INTERVAL),
                Err(fs::TryLockError::Error(error)) => return Err(operation_failed("lock", &path, &error)),
            }
        }
        Err(BackendError::transient(format!("another process has held the lock {} for too long", path.display())))
    }

    fn remove_old_temp_files(&self, now: WallMs) -> Result<(), BackendError> {
        let dir = self.temp_dir();
        let mut names = Vec::new();
        for_each_child(&dir, false, |child| names.push(child.name))
            .map_err(|error| operation_failed("list", &dir, &error))?;
        for name in names {
            let path = dir.join(name);
            // Another starting process may have removed the file already. That is no error.
            let modified = fs::metadata(&path).and_then(|found| found.modified()).ok();
            let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let seconds = modified.and_then(|time| i64::try_from(time.as_secs()).ok());
            if seconds.is_some_and(|seconds| now.unix_seconds() - seconds > TEMP_MAX_AGE_SECONDS) {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }

    fn has_objects(&self, user: &str) -> bool {
        let Ok(user) = Username::parse(user) else { return false };
        let images = self.root().join(Folder::Images(user.clone()).path());
        self.root().join(Key::Profile(user).path()).exists()
            || fs::read_dir(images).is_ok_and(|mut images| images.next().is_some())
    }

    fn temp_dir(&self) -> PathBuf {
        self.root().join(TEMP_DIR)
    }
}

/// The version of an object: a hash of its bytes. A replacement with the same bytes keeps the
/// version, which harms no reader.
fn version_of(bytes: &[u8]) -> ObjectVersion {
    let digest = Sha256::digest(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    ObjectVersion(format_compact!("{:032x}", u128::from_be_bytes(first)))
}

/// A write is acknowledged only after the directories above it are on disk.
#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    thread_local! {
        static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
        static SYNC_FAILS: Cell<bool> = const { Cell::new(false) };
    }

    fn watched_sync(dir: &Path) -> io::Result<()> {
        if SYNC_FAILS.get() {
            return Err(ErrorKind::StorageFull.into());
        }
        SYNCED.with_borrow_mut(|synced| synced.push(dir.to_path_buf()));
        sync_dir(dir)
    }

    /// A store with an observed sync of directories, and with an object in `checks/`.
    fn files(root: &Path) -> (ObjectFiles, ObjectVersion) {
        let mut files = ObjectFiles::open(root.to_path_buf(), "boot", 10, WallMs::new(0)).expect("it opens");
        files.disk.sync_dir = watched_sync;
        let version = files.create("checks/1.txt", b"first").expect("it works");
        SYNCED.take();
        (files, version)
    }

    #[test]
    fn the_space_is_measured_on_the_disk_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, _) = files(dir.path());
        files.disk.space = |_| Ok(DiskSpace { total: 1000, free: 9 });
        files.check_space().expect("the floor is off");
        let mut files = files.with_floor(SpaceFloor::Bytes(10));
        let full = files.check_space();
        assert!(matches!(&full, Err(BackendError::Full(text)) if text.contains("min_free_bytes")), "{full:?}");
        files.disk.space = |_| Ok(DiskSpace { total: 1000, free: 10 });
        files.check_space().expect("space was freed");
    }

    fn assert_unconfirmed<T: std::fmt::Debug>(result: &Result<T, BackendError>) {
        assert!(matches!(result, Err(BackendError::Transient { .. })), "{result:?}");
    }

    #[test]
    fn a_create_syncs_every_directory_above_the_object_before_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = files(dir.path());
        files.create("users/alice/profile.json", b"x").unwrap();
        let synced = SYNCED.take();
        // The last three syncs follow the hard link. Those before belong to the new directories.
        let expected = [dir.path().join("users/alice"), dir.path().join("users"), dir.path().to_path_buf()];
        assert!(synced.ends_with(&expected), "{synced:?}");
    }

    #[test]
    fn a_create_and_its_retry_are_transient_errors_until_the_directory_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = files(dir.path());
        SYNC_FAILS.set(true);
        assert_unconfirmed(&files.create("checks/2.txt", b"x"));
        assert_eq!(files.get("checks/2.txt").unwrap().unwrap().bytes, "x", "it took effect");
        // After `Precondition` the caller would read its own bytes back and acknowledge them.
        assert_unconfirmed(&files.create("checks/2.txt", b"x"));
        SYNC_FAILS.set(false);
        assert!(matches!(files.create("checks/2.txt", b"x"), Err(BackendError::Precondition)));
        assert_eq!(SYNCED.take(), [dir.path().join("checks"), dir.path().to_path_buf()]);
    }

    #[test]
    fn a_replacement_and_its_retry_are_transient_errors_until_the_directory_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (files, version) = files(dir.path());
        SYNC_FAILS.set(true);
        assert_unconfirmed(&files.replace_if("checks/1.txt", &version, b"second"));
        assert_unconfirmed(&files.replace_if("checks/1.txt", &version, b"second"));
        SYNC_FAILS.set(false);
        let refused = files.replace_if("checks/1.txt", &version, b"second");
        assert!(matches!(refused, Err(BackendError::Precondition)), "{refused:?}");
        assert_eq!(SYNCED.take(), [dir.path().join("checks"), dir.path().to_path_buf()]);
    }

    #[test]
    fn a_delete_is_a_transient_error_until_the_directory_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (files, _) = files(dir.path());
        SYNC_FAILS.set(true);
        assert_unconfirmed(&files.delete("checks/1.txt"));
        assert_unconfirmed(&files.delete("checks/1.txt"));
        SYNC_FAILS.set(false);
        files.delete("checks/1.txt").unwrap();
        files.delete("users/nobody/profile.json").expect("there is nothing to sync");
    }
}
