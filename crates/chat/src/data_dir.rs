//! A peer's directory: who it is, and what was said. A process that ends at any moment loses at most the last lines.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use tracing::warn;

use super::engine::{ChatEntry, History};
use super::peer_id::PeerId;

const IDENTITY: &str = "identity";
const HISTORY: &str = "history.jsonl";
/// After so many lines the file is written anew without what is too old.
const MAX_LINES_BEFORE_COMPACTION: usize = 50_000;
/// The longest line that is read; what is longer was not written by this program.
const MAX_LINE_BYTES: usize = 128 * 1024;
/// Entries on their way to the file; with more the disk is too slow, and some are not kept.
const WRITE_QUEUE_ENTRIES: usize = 4096;

/// What was found in the directory, and the way to add to it.
pub(super) struct DataDir {
    pub(super) id: PeerId,
    pub(super) history: Vec<ChatEntry>,
    pub(super) log: HistoryLog,
}

/// Adds entries to the file, on a thread of its own, until it is dropped.
pub(super) struct HistoryLog {
    entries: Option<mpsc::SyncSender<Arc<ChatEntry>>>,
    writer: Option<thread::JoinHandle<()>>,
    has_warned: bool,
}

impl DataDir {
    /// Opens or makes the directory; `fresh` is the id of a peer that has none yet. At most `most` entries an author are
    /// kept.
    pub(super) fn open(dir: &Path, new_id: PeerId, max_per_author: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let identity =
            private_file_options().create(true).truncate(false).read(true).write(true).open(dir.join(IDENTITY))?;
        flock(&identity, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another peer uses this directory"))?;
        let id = read_or_write_id(&identity, new_id)?;
        let path = dir.join(HISTORY);
        let history = compact(&path, max_per_author)?;
        let (entries, queue) = mpsc::sync_channel(WRITE_QUEUE_ENTRIES);
        let writer = thread::Builder::new().name("archive".into()).spawn(move || {
            // Held as long as the file may be written.
            let _lock = identity;
            if let Err(error) = write_entries(&path, max_per_author, &queue) {
                warn!("what is said is not kept any more: {}: {error}", path.display());
            }
        })?;
        Ok(Self { id, history, log: HistoryLog { entries: Some(entries), writer: Some(writer), has_warned: false } })
    }
}

impl HistoryLog {
    /// Whether the entry is on its way to the file.
    pub(super) fn add(&mut self, entry: Arc<ChatEntry>) -> bool {
        let added = self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_ok());
        if !added && !std::mem::replace(&mut self.has_warned, true) {
            warn!("the disk is too slow to keep all that is said");
        }
        added
    }
}

/// Waits until all is written.
impl Drop for HistoryLog {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// How a file is made that nobody else may read.
fn private_file_options() -> OpenOptions {
    let mut options = File::options();
    options.mode(0o600);
    options
}

/// The id in the file, or the fresh one, which is written there.
fn read_or_write_id(mut identity: &File, new_id: PeerId) -> io::Result<PeerId> {
    let text = io::read_to_string(identity)?;
    if text.is_empty() {
        writeln!(identity, "{new_id}")?;
        identity.sync_all()?;
        return Ok(new_id);
    }
    PeerId::parse(text.trim()).map_err(|why| io::Error::other(format!("the file {IDENTITY} is damaged: {why}")))
}

/// Reads what was kept, and leaves no more of it in the file than is to be kept.
fn compact(path: &Path, max_per_author: usize) -> io::Result<Vec<ChatEntry>> {
    let mut history = History::new(max_per_author);
    match File::open(path) {
        Ok(file) => {
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                // The last line may be half written.
                if let Ok(entry) = serde_json::from_slice::<ChatEntry>(&line)
                    && line.len() <= MAX_LINE_BYTES
                {
                    history.add(entry.into());
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let entries: Vec<ChatEntry> = history.entries().into_iter().cloned().collect();
    let new: PathBuf = path.with_extension("new");
    let mut file = BufWriter::new(private_file_options().create(true).truncate(true).write(true).open(&new)?);
    for entry in &entries {
        write_line(&mut file, entry)?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(new, path)?;
    Ok(entries)
}

fn write_entries(path: &Path, max_per_author: usize, queue: &mpsc::Receiver<Arc<ChatEntry>>) -> io::Result<()> {
    loop {
        let mut file = BufWriter::new(File::options().append(true).open(path)?);
        for _ in 0..MAX_LINES_BEFORE_COMPACTION {
            let entry = if let Ok(entry) = queue.try_recv() {
                entry
            } else {
                // Before it waits, what was said is in the file.
                file.flush()?;
                let Ok(entry) = queue.recv() else { return Ok(()) };
                entry
            };
            write_line(&mut file, &entry)?;
        }
        file.flush()?;
        compact(path, max_per_author)?;
    }
}

fn write_line(file: &mut impl Write, entry: &ChatEntry) -> io::Result<()> {
    serde_json::to_writer(&mut *file, entry)?;
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Author;

    fn entry(number: u64) -> ChatEntry {
        let author = Author::Mesh(PeerId(7));
        ChatEntry { author, name: None, number, said_at: 5, text: format!("text {number}\n") }
    }

    #[test]
    fn a_peer_that_starts_again_is_the_same_and_knows_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut data_dir = DataDir::open(dir.path(), PeerId(1), 3).unwrap();
        assert_eq!((data_dir.id, data_dir.history.len()), (PeerId(1), 0));
        assert!(DataDir::open(dir.path(), PeerId(1), 3).is_err(), "another peer uses it");
        for number in 1..=5 {
            assert!(data_dir.log.add(entry(number).into()));
        }
        drop(data_dir);
        // As after a kill in the middle of a line.
        let mut file = File::options().append(true).open(dir.path().join(HISTORY)).unwrap();
        file.write_all(b"{\"author\":{\"mesh").unwrap();
        let data_dir = DataDir::open(dir.path(), PeerId(2), 3).unwrap();
        assert_eq!((data_dir.id, data_dir.history), (PeerId(1), vec![entry(3), entry(4), entry(5)]));
    }

    #[test]
    fn a_damaged_identity_is_said_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY), "hello").unwrap();
        let error = DataDir::open(dir.path(), PeerId(1), 3).err().unwrap().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
