//! The bucket's root directory, and the check that it is still the directory opened at the start.
//!
//! If the directory was moved, deleted or unmounted, its path looks like an empty bucket, in which
//! every username is free. So every operation fails unless the path leads to the directory opened
//! at the start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::BackendError;
use super::io_failure::operation_failed;

/// The root directory that was opened at the start.
#[derive(Debug)]
pub(super) struct RootDir {
    path: PathBuf,
    identity: (u64, u64),
    /// Kept open, so that no other directory can get its inode number while this process lives.
    _dir: File,
}

impl RootDir {
    /// Opens the directory at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Self, BackendError> {
        let open = || -> io::Result<_> {
            let dir = File::open(&path)?;
            Ok((identity(&dir.metadata()?), dir))
        };
        let (identity, dir) = open().map_err(|error| operation_failed("open", &path, &error))?;
        Ok(Self { path, identity, _dir: dir })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the path still leads to the directory opened at the start. The error is
    /// transient: the operator may put the directory back.
    pub(super) fn check(&self) -> Result<(), BackendError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == self.identity => Ok(()),
            Ok(_) => Err(self.replaced_error("another directory is in its place")),
            Err(error) => Err(self.replaced_error(&error.to_string())),
        }
    }

    /// The error if the path does not lead to the directory opened at the start. `reason` names the
    /// cause.
    pub(super) fn replaced_error(&self, reason: &str) -> BackendError {
        BackendError::transient(format!(
            "the bucket directory is not the one that was opened at the start ({reason}): put {} back where it was, or \
             restart the nodes to use the directory that is there now",
            self.path.display()
        ))
    }
}

/// Identity of a directory on this machine: device and inode number.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
