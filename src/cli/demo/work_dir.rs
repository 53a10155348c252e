//! Working directory of the demo: a temporary directory, which is removed when the demo ends, or a
//! directory that the user named.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollcall_core::private_files;

/// Number of names that are tried for a temporary directory. Only a killed demo leaves its
/// directory behind.
const MAX_TRIES: u32 = 100;

/// Directory of the demo.
pub(super) struct WorkDir {
    path: PathBuf,
    is_temporary: bool,
}

impl WorkDir {
    /// Opens the directory that the user named, and creates it if necessary. It is never removed.
    pub(super) fn kept(path: &Path) -> io::Result<Self> {
        private_files::create_dir_all(path)?;
        Ok(Self { path: fs::canonicalize(path)?, is_temporary: false })
    }

    /// Creates a directory that only this user can access. It is removed when the value is dropped.
    pub(super) fn temporary() -> io::Result<Self> {
        Self::temporary_in(&std::env::temp_dir())
    }

    fn temporary_in(parent: &Path) -> io::Result<Self> {
        let parent = fs::canonicalize(parent)?;
        for n in 0..MAX_TRIES {
            let path = parent.join(format!("rollcall-demo-{}-{n}", std::process::id()));
            match private_files::create_dir(&path) {
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
            // A failure is ignored: the operating system cleans its directory for temporary files.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The command line with shell quoting.
pub(super) fn shell_line<'a>(words: impl IntoIterator<Item = &'a OsString>) -> String {
    words.into_iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word with shell quoting, if it needs any.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b',' | b'=');
    if !word.is_empty() && word.bytes().all(is_safe) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_is_removed_and_a_named_one_stays() {
        // A separate parent directory, because other tests of this process use the same names.
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
    fn two_temporary_directories_are_different() {
        let (one, two) = (WorkDir::temporary().unwrap(), WorkDir::temporary().unwrap());
        assert_ne!(one.path(), two.path());
    }

    #[test]
    fn special_characters_of_a_command_line_are_quoted() {
        let words = ["/a b/it's", "--config", "", "127.0.0.1:8080"].map(OsString::from);
        assert_eq!(shell_line(&words), r"'/a b/it'\''s' --config '' 127.0.0.1:8080");
    }
}
