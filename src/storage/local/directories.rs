//! Directories on the disk: their child_names, and how they are made durably.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::super::BackendError;
use super::io_failure::operation_failed;

/// What the directories above have that are made for the root: what the umask leaves.
const ROOT_MODE: u32 = 0o777;

/// The names in `dir` of all directories, or of all plain files; none if there is no `dir`. Rollcall writes no names outside
/// of UTF-8.
pub(super) fn child_names(dir: &Path, directories: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for_each_child(dir, directories, |name| names.push(name))?;
    Ok(names)
}

/// Gives each of these names to `take`, in no order.
pub(super) fn for_each_child(dir: &Path, directories: bool, mut take: impl FnMut(String)) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for child in entries {
        let child = child?;
        let kind = match child.file_type() {
            // Deleted meanwhile. Any other error ends the listing, for a part of one would pass for the whole.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            kind => kind?,
        };
        let fits = if directories { kind.is_dir() } else { kind.is_file() };
        child.file_name().into_string().ok().filter(|_| fits).into_iter().for_each(&mut take);
    }
    Ok(())
}

/// Makes a directory and those above it.
pub(super) fn create_dir_durably(dir: &Path, sync: fn(&Path) -> io::Result<()>) -> Result<(), BackendError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir_durably(above, sync)?;
    }
    create_one_dir_durably(dir, ROOT_MODE, sync)
}

/// Makes a directory, and brings its name to disk.
pub(super) fn create_one_dir_durably(
    dir: &Path,
    mode: u32,
    sync: fn(&Path) -> io::Result<()>,
) -> Result<(), BackendError> {
    match DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => sync(parent(dir)).map_err(|error| operation_failed("sync", parent(dir), &error)),
        // Another process was quicker. If it made a file of that name, the next step says so.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(operation_failed("make the directory", dir, &error)),
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
