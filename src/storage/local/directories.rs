//! Directories: their children, and their durable creation.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::super::{BackendError, ListedChild};
use super::io_failure::operation_failed;
use rollcall_core::private_files;

/// Passes all directories in `dir` to `take` if `directories` is set, or else all plain files, in
/// no particular order. None if `dir` does not exist. Names that are not UTF-8 are left out,
/// because Rollcall writes no such names.
pub(super) fn for_each_child(dir: &Path, directories: bool, mut take: impl FnMut(ListedChild)) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for child in entries {
        let child = child?;
        let kind = match child.file_type() {
            // The child was deleted after the directory was read. Any other error ends the listing:
            // a partial listing would look complete.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            kind => kind?,
        };
        let bytes = match kind {
            kind if directories && kind.is_dir() => 0,
            kind if !directories && kind.is_file() => match child.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?.len(),
            },
            _ => continue,
        };
        child.file_name().into_string().into_iter().for_each(|name| take(ListedChild { name, bytes }));
    }
    Ok(())
}

/// Creates a directory and the missing directories above it, and syncs their names to disk.
pub(super) fn create_dir_durably(dir: &Path, sync: fn(&Path) -> io::Result<()>) -> Result<(), BackendError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir_durably(above, sync)?;
    }
    create_one_dir_durably(dir, sync)
}

/// Creates one directory that only its owner can access, and syncs its name to disk.
pub(super) fn create_one_dir_durably(dir: &Path, sync: fn(&Path) -> io::Result<()>) -> Result<(), BackendError> {
    match private_files::create_dir(dir) {
        Ok(()) => sync(parent(dir)).map_err(|error| operation_failed("sync", parent(dir), &error)),
        // Another process created it first. If it is a file and not a directory, the next operation
        // fails.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(operation_failed("create the directory", dir, &error)),
    }
}

/// The directory that contains a path; the working directory for a path of one name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

/// Syncs the names in a directory to disk.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
