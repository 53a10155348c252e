//! Ballast: a file that takes space on the disk, so that a ballot can be saved on a full disk.
//!
//! Other programs or users can fill the disk of a node. A node that cannot save its ballot cannot
//! vote, and without votes a cluster cannot replace a leader. So the ballast is deleted when a
//! ballot meets a full disk, and made again when there is space.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tracing::warn;

use rollcall_core::private_files;

/// Name of the file in the node's directory.
const FILE_NAME: &str = "ballast";
/// Name of the file while it is written.
const TEMP_FILE_NAME: &str = "ballast.new";

/// Size of the file, in bytes. Many times the space of a ballot, its directory and the journal of
/// the file system.
const BYTES: usize = 1024 * 1024;

/// Length of one write to the file, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Unit of the number of blocks of a file, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Free space with which the file is made, in bytes. On a disk that is almost full, several nodes
/// that make it at once would take the space of each other's snapshots.
const MIN_FREE_BYTES: u64 = 4 * 1024 * 1024;

/// The ballast of one node.
#[derive(Debug)]
pub(crate) struct Ballast {
    dir: PathBuf,
    min_free_bytes: u64,
}

impl Ballast {
    /// The ballast in `dir`, which is the directory of the ballot.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), min_free_bytes: MIN_FREE_BYTES }
    }

    /// Makes the file if it is missing or takes no space. Without enough space nothing is left
    /// behind.
    ///
    /// # Errors
    /// Also if the disk has less free space than [`MIN_FREE_BYTES`].
    pub(crate) fn make(&self) -> io::Result<()> {
        let (file, temp_file) = (self.dir.join(FILE_NAME), self.dir.join(TEMP_FILE_NAME));
        // A copy of the file can be sparse.
        let is_whole = |found: &fs::Metadata| found.len().min(found.blocks() * BLOCK_BYTES) >= BYTES as u64;
        if fs::metadata(&file).is_ok_and(|found| is_whole(&found)) {
            return Ok(());
        }
        self.check_space()?;
        // It is not synced: after a power failure it is made again.
        let made = write(&temp_file).and_then(|()| fs::rename(&temp_file, &file));
        if made.is_err() {
            // If this fails too, the next attempt overwrites the file.
            let _ = fs::remove_file(&temp_file);
        }
        made
    }

    fn check_space(&self) -> io::Result<()> {
        let disk = statvfs(&self.dir)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= self.min_free_bytes {
            return Ok(());
        }
        let why = format!("the disk has {free} bytes of free space, and at least {} are needed", self.min_free_bytes);
        Err(io::Error::new(io::ErrorKind::StorageFull, why))
    }

    /// Returns the result of a write. If the disk is full, deletes the file and writes once more.
    pub(crate) fn make_room<T>(&self, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match write() {
            Err(error) if is_full(&error) => match self.release() {
                Ok(true) => {
                    warn!(dir = %self.dir.display(), "the disk is full: the ballast was deleted to save a ballot");
                    write()
                }
                Ok(false) | Err(_) => Err(error),
            },
            result => result,
        }
    }

    /// Deletes the file, so that its space is free. Returns whether there was one.
    fn release(&self) -> io::Result<bool> {
        match fs::remove_file(self.dir.join(FILE_NAME)) {
            Ok(()) => {
                // Some file systems free the space only when the deletion is on disk.
                File::open(&self.dir)?.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error means that there is no space for a write.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn write(path: &Path) -> io::Result<()> {
    // A file system that compresses would store zeros, or a pattern that is repeated, in less
    // space.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut numbers = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut file = private_files::options().write(true).create(true).truncate(true).open(path)?;
    (0..BYTES / CHUNK_BYTES).try_for_each(|_| {
        let chunk: Vec<u8> = numbers.by_ref().take(CHUNK_BYTES / 8).flatten().collect();
        file.write_all(&chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_has_a_mebibyte_until_it_is_released_and_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path());
        assert!(!ballast.release().unwrap());
        for _ in 0..2 {
            ballast.make().unwrap();
            ballast.make().unwrap();
            assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().len(), 1 << 20);
            assert!(ballast.release().unwrap());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_write_that_meets_a_full_disk_is_repeated_without_the_ballast() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::PermissionDenied] {
            let dir = tempfile::tempdir().unwrap();
            let ballast = Ballast::new(dir.path());
            let has_ballast = || dir.path().join(FILE_NAME).exists();
            // A disk on which the write and the ballast have no place together.
            let write = || if has_ballast() { Err(io::Error::from(kind)) } else { Ok(()) };
            assert!(ballast.make_room(write).is_ok(), "there is space");
            ballast.make().unwrap();
            let is_full = kind != io::ErrorKind::PermissionDenied;
            assert_eq!(ballast.make_room(write).is_ok(), is_full, "{kind}");
            assert_eq!(has_ballast(), !is_full, "only a full disk takes the ballast");
        }
    }

    #[test]
    fn a_disk_that_stays_full_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path());
        let full = || Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull));
        assert!(ballast.make_room(full).is_err());
        ballast.make().unwrap();
        assert!(ballast.make_room(full).is_err());
    }

    #[test]
    fn a_ballast_of_another_size_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "torn").unwrap();
        Ballast::new(dir.path()).make().unwrap();
        assert_eq!(fs::metadata(dir.path().join(FILE_NAME)).unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_ballast_that_takes_no_space_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        Ballast::new(dir.path()).make().unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
        // One that takes space stays as it is.
        let made = fs::metadata(&path).unwrap().ino();
        Ballast::new(dir.path()).make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), made);
    }

    #[test]
    fn the_ballast_is_made_only_with_room_to_spare() {
        let dir = tempfile::tempdir().unwrap();
        let full = Ballast { min_free_bytes: u64::MAX, ..Ballast::new(dir.path()) };
        let refused = full.make().unwrap_err();
        assert!(is_full(&refused) && refused.to_string().contains("bytes of free space"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        Ballast::new(dir.path()).make().unwrap();
        full.make().expect("it is there");
    }

    #[test]
    fn a_ballast_that_cannot_be_made_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        // The rename fails.
        fs::create_dir_all(dir.path().join(FILE_NAME).join("x")).unwrap();
        assert!(Ballast::new(dir.path()).make().is_err());
        assert!(!dir.path().join(TEMP_FILE_NAME).exists());
    }
}
