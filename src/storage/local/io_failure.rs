//! What an error of the operating system means for a store, and what to do about it.

use std::io::{Error, ErrorKind};
use std::path::Path;

use super::super::BackendError;

/// An operation operation_failed without effect.
pub(super) fn operation_failed(operation: &str, path: &Path, error: &Error) -> BackendError {
    match explain(operation, path, error) {
        (text, true) => BackendError::Permanent(text),
        (text, false) => BackendError::Transient(text),
    }
}

/// What went wrong, in words, and whether a person must do something about it.
pub(super) fn explain(operation: &str, path: &Path, error: &Error) -> (String, bool) {
    let text = format!("cannot {operation} {}: {error}", path.display());
    match remedy(error.kind()) {
        Some(remedy) => (format!("{text}; {remedy}"), true),
        None => (text, false),
    }
}

/// The name of an object is changed, but it may not be on disk. It must not be acknowledged, and "nothing was written" would be
/// wrong too: whatever the error, the next try finds the object there and brings its directory to disk before it answers.
pub(super) fn sync_failed(dir: &Path, error: &Error) -> BackendError {
    BackendError::Transient(format!("cannot bring the directory {} to disk: {error}", dir.display()))
}

/// The first hard link in `root` operation_failed. Some file systems say "permission denied" when they have no links.
pub(super) fn hard_link_failed(root: &Path, error: &Error) -> BackendError {
    BackendError::Permanent(format!("cannot make a hard link in {}: {error}; {ONE_FILE_SYSTEM}", root.display()))
}

const ONE_FILE_SYSTEM: &str = "the bucket needs one file system with hard links and locks, such as ext4, XFS or APFS";

/// What a person must do before the operation can work; `None` if it may work by itself.
fn remedy(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space on this disk"),
        ErrorKind::FileTooLarge => Some("raise the limit on the size of files"),
        ErrorKind::ReadOnlyFilesystem => Some("mount the disk writable, or choose another directory for the bucket"),
        ErrorKind::PermissionDenied => Some("let the user who runs Rollcall read and write the bucket's directory"),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            Some("something of another kind is in its place: move it away, or choose another directory for the bucket")
        }
        ErrorKind::Unsupported | ErrorKind::CrossesDevices | ErrorKind::TooManyLinks => Some(ONE_FILE_SYSTEM),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_permanent_and_says_how() {
        for (kind, word) in [
            (ErrorKind::StorageFull, "free some space"),
            (ErrorKind::ReadOnlyFilesystem, "writable"),
            (ErrorKind::PermissionDenied, "let the user"),
            (ErrorKind::NotADirectory, "move it away"),
        ] {
            let error = operation_failed("write", Path::new("data/bucket/x"), &kind.into());
            let BackendError::Permanent(text) = &error else { panic!("{kind}: {error:?}") };
            assert!(text.contains("data/bucket/x") && text.contains(word), "{text}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_tried_again() {
        for kind in [ErrorKind::Interrupted, ErrorKind::TimedOut, ErrorKind::OutOfMemory] {
            assert!(matches!(operation_failed("write", Path::new("x"), &kind.into()), BackendError::Transient(_)));
        }
    }

    #[test]
    fn a_full_disk_after_the_write_took_effect_is_no_permanent_error() {
        assert!(matches!(sync_failed(Path::new("x"), &ErrorKind::StorageFull.into()), BackendError::Transient(_)));
    }
}
