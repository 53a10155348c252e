//! Input history: the typed lines, stored in a file for the next session. They are part of
//! conversations, so only the owner can read the file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rollcall_core::escape::replace_line_breaks;
use rollcall_core::private_files;

/// Largest number of lines in the history.
pub(super) const MAX_LINES: usize = 1000;
/// Longest stored line, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// Largest part of the file that is read, in bytes. The file has at most twice [`MAX_LINES`] lines.
const MAX_FILE_BYTES: u64 = (2 * MAX_LINES * (MAX_LINE_BYTES + 1)) as u64;
/// Name of the file in the data directory.
const FILE_NAME: &str = "typed";

/// File of the input history.
pub(super) struct InputHistory {
    path: PathBuf,
    file: File,
    earlier: Vec<String>,
    lines_since_compaction: usize,
}

impl InputHistory {
    /// Opens the file in the data directory, which this process has locked.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE_NAME);
        let (file, earlier) = compact(&path)?;
        Ok(Self { path, file, earlier, lines_since_compaction: 0 })
    }

    /// Takes the lines of earlier sessions; a second call returns none.
    pub(super) fn take_earlier(&mut self) -> Vec<String> {
        std::mem::take(&mut self.earlier)
    }

    /// Appends a line. Empty and too long lines are not stored.
    pub(super) fn add(&mut self, line: &str) -> io::Result<()> {
        let line = replace_line_breaks(line);
        if line.trim().is_empty() || line.len() > MAX_LINE_BYTES {
            return Ok(());
        }
        if self.lines_since_compaction == MAX_LINES {
            (self.file, _) = compact(&self.path)?;
            self.lines_since_compaction = 0;
        }
        self.lines_since_compaction += 1;
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Rewrites the file with the latest [`MAX_LINES`] lines. Returns the file, open for appending, and
/// the lines.
fn compact(path: &Path) -> io::Result<(File, Vec<String>)> {
    let mut lines = match File::open(path) {
        Ok(file) => read(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    lines.drain(..lines.len().saturating_sub(MAX_LINES));
    let new = path.with_extension("new");
    // A file that an earlier process left behind could be readable by other users.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = BufWriter::new(private_files::options().append(true).create_new(true).open(&new)?);
    for line in &lines {
        writeln!(file, "{line}")?;
    }
    let file = file.into_inner()?;
    fs::rename(new, path)?;
    Ok((file, lines))
}

/// Reads the lines of the file; leaves out empty lines and lines that are too long.
fn read(file: File) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::new(file.take(MAX_FILE_BYTES)).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if !line.trim().is_empty() && line.len() <= MAX_LINE_BYTES {
            lines.push(line);
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn earlier(dir: &Path) -> Vec<String> {
        InputHistory::open(dir).unwrap().take_earlier()
    }

    #[test]
    fn typed_lines_are_restored_and_only_the_owner_can_read_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, "of old\n\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut history = InputHistory::open(dir.path()).unwrap();
        for line in ["DM bob psst", "two\nlines", " ", &"x".repeat(MAX_LINE_BYTES + 1)] {
            history.add(line).unwrap();
        }
        assert_eq!(earlier(dir.path()), ["of old", "DM bob psst", "two lines"]);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_latest_lines_are_stored_and_the_file_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = InputHistory::open(dir.path()).unwrap();
        for number in 0..3 * MAX_LINES + 5 {
            history.add(&format!("line {number}")).unwrap();
            if number % 500 == 0 {
                let lines = fs::read_to_string(dir.path().join(FILE_NAME)).unwrap().lines().count();
                assert!(lines <= 2 * MAX_LINES, "{lines}");
            }
        }
        let lines = earlier(dir.path());
        assert_eq!((lines.len(), lines.first().unwrap().as_str()), (MAX_LINES, "line 2005"));
    }
}
