//! The bucket's directory, and whether it is still the one that was opened.
//!
//! A directory that was moved away, deleted or unmounted looks like an empty bucket, and in an empty bucket every name is
//! free. So nothing is answered from a directory that is another one than that of the start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::BackendError;
use super::io_failure::operation_failed;

/// A directory that was there when it was opened.
#[derive(Debug)]
pub(super) struct RootDir {
    path: PathBuf,
    identity: (u64, u64),
    /// Kept open so that no other directory can be given its inode number while this process lives.
    _dir: File,
}

impl RootDir {
    /// Takes the directory that is at `path` now.
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

    /// Fails unless the directory is still in its place. The error is a transient one: who put it away may put it back.
    pub(super) fn check(&self) -> Result<(), BackendError> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => Ok(()),
            Ok(_) => Err(self.replaced_error("another one is in its place")),
            Err(error) => Err(self.replaced_error(&error.to_string())),
        }
    }

    /// The answer that the directory is not there.
    pub(super) fn replaced_error(&self, why: &str) -> BackendError {
        BackendError::Transient(format!(
            "the bucket directory is not the one that was opened at the start ({why}): put {} back where it was, or \
             restart the nodes to use what is there now",
            self.path.display()
        ))
    }
}

/// What tells one directory of this machine from all others.
fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
