//! Directories: their children, and their durable creation.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::super::BackendError;
use super::io_failure::operation_failed;
use rollcall_core::private_files;

/// The names of all directories in `dir` if `directories` is set, or else of all plain files. Empty
/// if `dir` does not exist. Names that are not UTF-8 are left out, because Rollcall writes no such
/// names.
pub(super) fn child_names(dir: &Path, directories: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for_each_child(dir, directories, |name| names.push(name))?;
    Ok(names)
}

/// Passes each name that [`child_names`] returns to `take`, in no particular order.
pub(super) fn for_each_child(dir: &Path, directories: bool, mut take: impl FnMut(String)) -> io::Result<()> {
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
        let is_wanted = if directories { kind.is_dir() } else { kind.is_file() };
        child.file_name().into_string().ok().filter(|_| is_wanted).into_iter().for_each(&mut take);
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
