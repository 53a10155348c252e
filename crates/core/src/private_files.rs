//! Files and directories that only their owner can access, and files with secrets that others can
//! read. All files that a program keeps for itself are created here.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::process::geteuid;

/// Mode of a new file.
const FILE_MODE: u32 = 0o600;
/// Mode of a new directory.
const DIR_MODE: u32 = 0o700;
/// Permissions of the group and of all others.
const NOT_OWNER: u32 = 0o077;

/// Options that create a file which only its owner can access. An existing file keeps its mode.
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE_MODE);
    options
}

/// Creates one directory that only its owner can access.
///
/// # Errors
/// The error of the system, also if it exists.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(dir)
}

/// Creates a directory and the missing ones above it. Only their owner can access them. Existing
/// ones keep their mode.
///
/// # Errors
/// The error of the system.
pub fn create_dir_all(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Takes the permissions of the group and of others from a file or directory that belongs to the
/// user of this process. Earlier versions created some files with the permissions of the umask.
///
/// A missing file, a symbolic link and a file of another user are left alone.
///
/// # Errors
/// The error of the system.
pub fn narrow(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let is_plain = found.is_file() || found.is_dir();
    if is_plain && is_own(&found) && found.mode() & NOT_OWNER != 0 {
        fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o777 & !NOT_OWNER))?;
    }
    Ok(())
}

/// Narrows a directory that only this program uses, and the files directly in it.
///
/// # Errors
/// The error of the system.
pub fn narrow_dir(dir: &Path) -> io::Result<()> {
    narrow(dir)?;
    for child in fs::read_dir(dir)? {
        let child = child?;
        if child.file_type()?.is_file() {
            narrow(&child.path())?;
        }
    }
    Ok(())
}

/// A warning with the remedy if other users can read a file with a secret. `None` for a file that
/// they cannot read, or that cannot be examined.
///
/// If the file belongs to another user, such as root, this process may need the permission of the
/// group. So that permission counts only for a file of the user of this process.
#[must_use]
pub fn exposure(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let exposing = if is_own(&found) { 0o044 } else { 0o004 };
    let mode = found.mode() & 0o777;
    let remedy = if is_own(&found) { "chmod 600" } else { "chmod o-r" };
    (found.is_file() && mode & exposing != 0).then(|| {
        let file = path.display();
        format!("other users of this machine can read the secret in {file} (mode {mode:03o}); run: {remedy} {file}")
    })
}

fn is_own(found: &Metadata) -> bool {
    found.uid() == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn new_files_and_directories_belong_to_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        create_dir_all(&below).unwrap();
        create_dir_all(&below).unwrap();
        let file = below.join("file");
        options().create_new(true).write(true).open(&file).unwrap().write_all(b"x").unwrap();
        assert_eq!([&dir.path().join("a"), &below, &file].map(|path| mode(path)), [0o700, 0o700, 0o600]);
        create_dir(&below.join("c")).unwrap();
        assert_eq!(mode(&below.join("c")), 0o700);
        assert!(create_dir(&below).is_err());
    }

    #[test]
    fn wide_files_in_a_directory_are_narrowed_and_links_are_not_followed() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (wide, script, target) = (dir.path().join("wide"), dir.path().join("script"), elsewhere.path().join("x"));
        for (path, before) in [(&wide, 0o644), (&script, 0o755), (&target, 0o644)] {
            fs::write(path, "x").unwrap();
            set_mode(path, before);
        }
        symlink(&target, dir.path().join("link")).unwrap();
        let below = dir.path().join("below");
        fs::create_dir(&below).unwrap();
        set_mode(&below, 0o755);
        set_mode(dir.path(), 0o755);
        narrow_dir(dir.path()).unwrap();
        assert_eq!([&wide, &script, &target].map(|path| mode(path)), [0o600, 0o700, 0o644]);
        assert_eq!([dir.path(), &below].map(mode), [0o700, 0o755]);
        narrow(&dir.path().join("missing")).unwrap();
        narrow(&dir.path().join("link")).unwrap();
        assert_eq!(mode(&target), 0o644);
    }

    #[test]
    fn a_secret_that_others_can_read_is_reported_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, "secret").unwrap();
        for (mode, is_exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true), (0o622, false)] {
            set_mode(&file, mode);
            assert_eq!(exposure(&file).is_some(), is_exposed, "{mode:o}");
        }
        set_mode(&file, 0o644);
        let text = exposure(&file).unwrap();
        assert!(text.contains("mode 644") && text.ends_with(&format!("chmod 600 {}", file.display())), "{text}");
        assert!(!text.contains("secret\n"));
        assert_eq!((exposure(&dir.path().join("none")), exposure(dir.path())), (None, None));
    }
}
