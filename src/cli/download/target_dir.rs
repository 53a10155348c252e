//! Target directory of a download.
//!
//! Invariant: each file is written atomically and inside the directory, never through a symbolic
//! link.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use rollcall_core::{ImageName, Username};

const INFO_FILE_NAME: &str = "info.json";
/// Largest existing file that is read, in bytes. A larger file is not an image of the registry, so
/// the image is downloaded again.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Number of hash bytes in a node's entity tag. It equals the number that nodes use. With another
/// number no tag would match, and every run would download all images again.
const ETAG_HASH_BYTES: usize = 16;

/// Directory with one folder for each client.
pub(super) struct TargetDir {
    root: PathBuf,
}

impl TargetDir {
    /// Creates the directory if it does not exist.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Creates the folder of a client, and writes its `info.json`.
    pub(super) fn prepare_client(&self, user: &Username, info: &str) -> io::Result<()> {
        let dir = self.dir(user);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created?,
        }
        // Reject a symbolic link: it could lead out of the target directory.
        if !fs::symlink_metadata(&dir)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is not a directory; move it away, or choose another directory with --out", dir.display()),
            ));
        }
        if read(&dir.join(INFO_FILE_NAME)).is_ok_and(|old| old == info.as_bytes()) {
            return Ok(());
        }
        self.save(user, INFO_FILE_NAME, info.as_bytes())
    }

    /// Entity tag that a node would compute for the image in this directory; `None` if the
    /// directory does not contain it.
    pub(super) fn etag(&self, user: &Username, image: &ImageName) -> Option<String> {
        let bytes = read(&self.dir(user).join(image.as_str())).ok()?;
        let mut tag = String::from("\"");
        for byte in &Sha256::digest(&bytes)[..ETAG_HASH_BYTES] {
            // Writing to a string does not fail.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Some(tag)
    }

    /// Writes a file atomically. A symbolic link of that name is replaced.
    pub(super) fn save(&self, user: &Username, name: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = self.dir(user);
        let partial = dir.join(format!(".download.{}.{name}", std::process::id()));
        let _ = fs::remove_file(&partial);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        let saved = file.write_all(bytes).and_then(|()| fs::rename(&partial, dir.join(name)));
        if saved.is_err() {
            let _ = fs::remove_file(&partial);
        }
        saved
    }

    /// Path of a client's folder. A username is always one safe path segment.
    fn dir(&self, user: &Username) -> PathBuf {
        self.root.join(user.as_str())
    }
}

/// Reads a regular file of at most [`MAX_FILE_BYTES`]; a symbolic link is an error.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn alice() -> Username {
        Username::parse("alice").unwrap()
    }

    #[test]
    fn files_are_complete_and_no_temporary_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let downloads = TargetDir::open(&dir.path().join("a/b")).unwrap();
        let image = ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
        downloads.prepare_client(&alice(), "{}\n").unwrap();
        assert_eq!(downloads.etag(&alice(), &image), None);
        downloads.save(&alice(), image.as_str(), b"abc").unwrap();
        assert_eq!(downloads.etag(&alice(), &image).unwrap(), "\"ba7816bf8f01cfea414140de5dae2223\"");
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("a/b/alice")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1733511234-a1b2c3d4.png", "info.json"]);
    }

    #[test]
    fn every_valid_name_is_one_folder_and_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let downloads = TargetDir::open(dir.path()).unwrap();
        let users = ["mona ali", "Zoë", "日本語", "-rf", "...", ".ssh", "a'b\"c", "*", &"é".repeat(127)];
        let images = ["1733511235-e5f6g7h8.PNG", "-x.webp", &("a".repeat(124) + ".png")];
        for user in users.map(|user| Username::parse(user).unwrap()) {
            downloads.prepare_client(&user, "{}").unwrap();
            for image in images {
                downloads.save(&user, ImageName::parse(image).unwrap().as_str(), b"image").unwrap();
            }
            assert_eq!(fs::read_dir(dir.path().join(user.as_str())).unwrap().count(), images.len() + 1, "{user}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), users.len());
    }

    #[test]
    fn nothing_is_written_through_a_symbolic_link() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let downloads = TargetDir::open(dir.path()).unwrap();
        symlink(elsewhere.path(), dir.path().join("alice")).unwrap();
        assert!(downloads.prepare_client(&alice(), "{}").is_err());
        fs::remove_file(dir.path().join("alice")).unwrap();
        fs::create_dir(dir.path().join("alice")).unwrap();
        let target = elsewhere.path().join("target");
        fs::write(&target, "theirs").unwrap();
        symlink(&target, dir.path().join("alice/info.json")).unwrap();
        downloads.prepare_client(&alice(), "{}").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(dir.path().join("alice/info.json")).unwrap(), "{}");
    }
}
