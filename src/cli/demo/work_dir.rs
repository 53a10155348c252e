//! Where the demo keeps its files: a temporary directory that goes at the end, or one that the user named.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How many names are tried for a temporary directory; an old one is left only by a demo that was killed.
const MAX_TRIES: u32 = 100;

/// The demo's directory.
pub(super) struct WorkDir {
    path: PathBuf,
    is_temporary: bool,
}

impl WorkDir {
    /// The directory that the user named, made if it is not there; it stays.
    pub(super) fn kept(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: fs::canonicalize(path)?, is_temporary: false })
    }

    /// A new directory for this user alone; it goes when the value is dropped.
    pub(super) fn temporary() -> io::Result<Self> {
        Self::temporary_in(&std::env::temp_dir())
    }

    fn temporary_in(parent: &Path) -> io::Result<Self> {
        let parent = fs::canonicalize(parent)?;
        for n in 0..MAX_TRIES {
            let path = parent.join(format!("rollcall-demo-{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, is_temporary: true }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.is_temporary {
            // Nothing can be done about a failure, and the system clears its temporary directory by itself.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A command as it can be typed into a shell.
pub(super) fn shell_line<'a>(words: impl IntoIterator<Item = &'a OsString>) -> String {
    words.into_iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b',' | b'=');
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_and_a_named_one_stays() {
        // Not where other tests of this process have theirs: they would take the name again.
        let parent = tempfile::tempdir().unwrap();
        let folder = WorkDir::temporary_in(parent.path()).unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());

        let named = parent.path().join("a/b");
        drop(WorkDir::kept(&named).unwrap());
        assert!(named.exists());
    }

    #[test]
    fn two_temporary_folders_are_two() {
        let (one, two) = (WorkDir::temporary().unwrap(), WorkDir::temporary().unwrap());
        assert_ne!(one.path(), two.path());
    }

    #[test]
    fn a_shell_reads_the_line_back_as_it_was() {
        let words = ["/a b/it's", "--config", "", "127.0.0.1:8080"].map(OsString::from);
        assert_eq!(shell_line(&words), r"'/a b/it'\''s' --config '' 127.0.0.1:8080");
    }
}
