//! Errors of the operating system: their meaning for a store, and the remedy.

use std::io::{Error, ErrorKind};
use std::path::Path;

use super::super::BackendError;

/// The error of an operation that failed without effect.
pub(super) fn operation_failed(operation: &str, path: &Path, error: &Error) -> BackendError {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    match explain(operation, path, error) {
        (text, true) if is_full => BackendError::Full(text),
        (text, true) => BackendError::Permanent(text),
        (text, false) => BackendError::transient(text),
    }
}

/// The text of an error with its remedy, and whether the operator must act.
pub(super) fn explain(operation: &str, path: &Path, error: &Error) -> (String, bool) {
    let text = format!("cannot {operation} {}: {error}", path.display());
    match remedy(error.kind()) {
        Some(remedy) => (format!("{text}; {remedy}"), true),
        None => (text, false),
    }
}

/// The error after an object was written or deleted, if its directory could not be synced to disk.
/// The change must not be acknowledged, because it may not be durable. The error is always
/// transient, because the change has taken effect: the next attempt finds it, and syncs the
/// directory before it returns.
pub(super) fn sync_failed(dir: &Path, error: &Error) -> BackendError {
    BackendError::transient(format!("cannot sync the directory {} to disk: {error}", dir.display()))
}

/// The error if the first hard link in `root` fails. Some file systems without hard links report
/// "permission denied".
pub(super) fn hard_link_failed(root: &Path, error: &Error) -> BackendError {
    BackendError::Permanent(format!("cannot make a hard link in {}: {error}; {FILE_SYSTEM_REMEDY}", root.display()))
}

/// Remedy for a file system without hard links or locks.
const FILE_SYSTEM_REMEDY: &str =
    "the bucket needs one file system with hard links and locks, such as ext4, XFS or APFS";

/// The action that the operator must take before the operation can succeed. `None` if a retry may
/// succeed.
fn remedy(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space on this disk"),
        ErrorKind::FileTooLarge => Some("raise the limit on the size of files"),
        ErrorKind::ReadOnlyFilesystem => Some("mount the disk writable, or choose another directory for the bucket"),
        ErrorKind::PermissionDenied => Some("let the user who runs Rollcall read and write the bucket's directory"),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            Some("the wrong kind of file is in its place: move it away, or choose another directory for the bucket")
        }
        ErrorKind::Unsupported | ErrorKind::CrossesDevices | ErrorKind::TooManyLinks => Some(FILE_SYSTEM_REMEDY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_the_operator_must_repair_is_permanent_and_names_the_remedy() {
        for (kind, word) in [
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
    fn a_full_disk_and_a_used_quota_are_full_and_name_the_remedy() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = operation_failed("write", Path::new("data/bucket/x"), &kind.into());
            assert!(matches!(&error, BackendError::Full(text) if text.contains("free some space")), "{error:?}");
        }
    }

    #[test]
    fn temporary_failures_of_the_disk_are_transient() {
        for kind in [ErrorKind::Interrupted, ErrorKind::TimedOut, ErrorKind::OutOfMemory] {
            assert!(matches!(operation_failed("write", Path::new("x"), &kind.into()), BackendError::Transient { .. }));
        }
    }

    #[test]
    fn a_full_disk_after_the_write_took_effect_is_transient() {
        assert!(matches!(sync_failed(Path::new("x"), &ErrorKind::StorageFull.into()), BackendError::Transient { .. }));
    }
}
