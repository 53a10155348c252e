//! Reads of objects from files. Errors distinguish one unreadable object from a failing disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::{BackendError, MAX_OBJECT_BYTES};
use super::io_failure::{explain, operation_failed};

/// The bytes of the object in `target`, which is below `root`. `None` if there is no such file.
pub(super) fn read(root: &Path, target: &Path) -> Result<Option<Vec<u8>>, BackendError> {
    match read_bytes(target) {
        Ok(bytes) if bytes.len() > MAX_OBJECT_BYTES => Err(BackendError::Unreadable(format!(
            "{} is larger than {MAX_OBJECT_BYTES} bytes; Rollcall did not write it, move it away",
            target.display()
        ))),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error("read", root, target, &error)),
    }
}

/// The error if `target` could not be read or listed: [`BackendError::Unreadable`] if only this
/// object is affected, otherwise an error of the whole store.
pub(super) fn read_error(operation: &str, root: &Path, target: &Path, error: &Error) -> BackendError {
    let concerns_one_object = match error.kind() {
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => true,
        ErrorKind::PermissionDenied => is_top_folder_readable(root, target),
        // A symbolic link; a socket; no regular file (see `read_bytes`).
        _ => {
            [Errno::LOOP, Errno::NXIO, Errno::INVAL].iter().any(|one| error.raw_os_error() == Some(one.raw_os_error()))
        }
    };
    if concerns_one_object {
        return BackendError::Unreadable(explain(operation, target, error).0);
    }
    operation_failed(operation, target, error)
}

fn read_bytes(target: &Path) -> io::Result<Vec<u8>> {
    // Symbolic links are not followed: that would expose files outside of the bucket. The open does
    // not block: a named pipe without a writer would block the thread forever.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| ErrorKind::InvalidInput)?;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(target)?;
    // A read of a named pipe would wait for its writer.
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_OBJECT_BYTES).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether this process may read the top folder of `root` that contains `target`. If so,
/// "permission denied" concerns `target` alone.
fn is_top_folder_readable(root: &Path, target: &Path) -> bool {
    let Ok(below) = target.strip_prefix(root) else { return false };
    let Some(top) = below.components().next() else { return false };
    let top = root.join(top);
    // Listing a directory and entering it are separate permissions.
    fs::read_dir(&top).is_ok() && fs::metadata(top.join(".")).is_ok()
}
