//! Data directory of a peer: its id and its history.
//!
//! The history is a file of JSON lines. A separate thread appends the lines. A process that is
//! killed loses at most the last lines. A lock on the identity file keeps a second process out of
//! the directory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use tracing::warn;

use super::byte_budget::{ByteBudget, HeldBytes};
use super::engine::{ChatEntry, History};
use super::peer_id::PeerId;
use rollcall_core::private_files;

/// File with the id of the peer. The process holds a lock on it.
const IDENTITY: &str = "identity";
/// File with the history: one JSON entry per line.
const HISTORY: &str = "history.jsonl";
/// Temporary name of a new history file.
const NEW_HISTORY: &str = "history.new";
/// Number of appended lines after which the file is rewritten with only the latest entries of each
/// author.
const MAX_LINES_BEFORE_COMPACTION: usize = 50_000;
/// Number of appended bytes after which the file is rewritten. Four times the largest history.
const MAX_BYTES_BEFORE_COMPACTION: u64 = 64 * 1024 * 1024;
/// Longest line that is accepted, in bytes. Longer lines are ignored. This program writes no such
/// line.
const MAX_LINE_BYTES: usize = 128 * 1024;
/// Capacity of the queue to the writer thread, in entries. If the queue is full because the disk is
/// too slow, further entries are not stored.
const WRITE_QUEUE_ENTRIES: usize = 4096;
/// Capacity of the queue to the writer thread, in bytes of the texts.
const WRITE_QUEUE_BYTES: u32 = 4 * 1024 * 1024;

/// Open data directory: the id, the history that was read, and the log that appends to it.
pub(super) struct DataDir {
    pub(super) id: PeerId,
    pub(super) history: Vec<ChatEntry>,
    pub(super) log: HistoryLog,
}

/// Appends entries to the history file on a separate thread. The drop waits until all queued
/// entries are written.
pub(super) struct HistoryLog {
    entries: Option<mpsc::SyncSender<(Arc<ChatEntry>, HeldBytes)>>,
    budget: ByteBudget,
    writer: Option<thread::JoinHandle<()>>,
    has_warned: bool,
}

impl DataDir {
    /// Opens or creates the directory. `new_id` becomes the id if the directory has none yet. At
    /// most `max_per_author` entries of each author are kept.
    ///
    /// # Errors
    /// An I/O error, a directory that another process uses, or a damaged identity file.
    pub(super) fn open(dir: &Path, new_id: PeerId, max_per_author: usize) -> io::Result<Self> {
        private_files::create_dir_all(dir)?;
        for file in [IDENTITY, HISTORY, NEW_HISTORY] {
            private_files::narrow(&dir.join(file))?;
        }
        let identity =
            private_files::options().create(true).truncate(false).read(true).write(true).open(dir.join(IDENTITY))?;
        flock(&identity, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another peer uses this directory"))?;
        let id = read_or_write_id(&identity, new_id)?;
        let path = dir.join(HISTORY);
        let history = compact(&path, max_per_author)?.entries().into_iter().cloned().collect();
        let (entries, queue) = mpsc::sync_channel(WRITE_QUEUE_ENTRIES);
        let writer = thread::Builder::new().name("history".into()).spawn(move || {
            // Keeps the directory locked for as long as this thread can write.
            let _lock = identity;
            if let Err(error) = write_entries(&path, max_per_author, &queue) {
                warn!(path = %path.display(), %error, "the history is no longer stored");
            }
        })?;
        let budget = ByteBudget::new(WRITE_QUEUE_BYTES);
        let log = HistoryLog { entries: Some(entries), budget, writer: Some(writer), has_warned: false };
        Ok(Self { id, history, log })
    }
}

impl HistoryLog {
    /// Queues an entry. Returns `false` if the queue is full or the writer thread has ended.
    pub(super) fn add(&mut self, entry: Arc<ChatEntry>) -> bool {
        let held = self.budget.try_take(entry.text.len());
        let queued = self.entries.as_ref().zip(held).map(|(entries, held)| entries.try_send((entry, held)));
        let added = queued.is_some_and(|queued| queued.is_ok());
        if !added && !std::mem::replace(&mut self.has_warned, true) {
            warn!("some messages are not stored in the history: the disk is too slow or cannot be written");
        }
        added
    }
}

impl Drop for HistoryLog {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Returns the id in the file. Writes `new_id` to an empty file and returns it.
fn read_or_write_id(mut identity: &File, new_id: PeerId) -> io::Result<PeerId> {
    let text = io::read_to_string(identity)?;
    if text.is_empty() {
        writeln!(identity, "{new_id}")?;
        identity.sync_all()?;
        return Ok(new_id);
    }
    PeerId::parse(text.trim()).map_err(|reason| io::Error::other(format!("the file {IDENTITY} is damaged: {reason}")))
}

/// Reads the history file and rewrites it with at most `max_per_author` entries of each author.
fn compact(path: &Path, max_per_author: usize) -> io::Result<History> {
    let mut history = History::new(max_per_author);
    match File::open(path) {
        Ok(file) => {
            for line in BufReader::new(file).split(b'\n') {
                let line = line?;
                // A line may be incomplete after a crash.
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
    let new: PathBuf = path.with_file_name(NEW_HISTORY);
    let mut file = BufWriter::new(private_files::options().create(true).truncate(true).write(true).open(&new)?);
    for entry in history.entries() {
        write_line(&mut file, entry)?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(new, path)?;
    Ok(history)
}

fn write_entries(
    path: &Path,
    max_per_author: usize,
    queue: &mpsc::Receiver<(Arc<ChatEntry>, HeldBytes)>,
) -> io::Result<()> {
    loop {
        let mut file = BufWriter::new(File::options().append(true).open(path)?);
        let (mut lines, mut bytes) = (0, 0);
        while lines < MAX_LINES_BEFORE_COMPACTION && bytes < MAX_BYTES_BEFORE_COMPACTION {
            let (entry, _held) = if let Ok(entry) = queue.try_recv() {
                entry
            } else {
                // The queue is empty: write the buffered lines before waiting.
                file.flush()?;
                let Ok(entry) = queue.recv() else { return Ok(()) };
                entry
            };
            write_line(&mut file, &entry)?;
            lines += 1;
            bytes += entry.text.len() as u64;
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
    use crate::engine::{Author, Deliverer};

    fn entry(number: u64) -> ChatEntry {
        let author = Author::Mesh(PeerId(7));
        ChatEntry { author, name: None, number, said_at: 5, text: format!("text {number}\n"), via: None }
    }

    #[test]
    fn a_restarted_peer_has_its_id_and_its_history() {
        let dir = tempfile::tempdir().unwrap();
        let mut data_dir = DataDir::open(dir.path(), PeerId(1), 3).unwrap();
        assert_eq!((data_dir.id, data_dir.history.len()), (PeerId(1), 0));
        assert!(DataDir::open(dir.path(), PeerId(1), 3).is_err(), "another peer uses it");
        for number in 1..=5 {
            assert!(data_dir.log.add(entry(number).into()));
        }
        drop(data_dir);
        // As after a crash in the middle of a line.
        let mut file = File::options().append(true).open(dir.path().join(HISTORY)).unwrap();
        file.write_all(b"{\"author\":{\"mesh").unwrap();
        let data_dir = DataDir::open(dir.path(), PeerId(2), 3).unwrap();
        assert_eq!((data_dir.id, data_dir.history), (PeerId(1), vec![entry(3), entry(4), entry(5)]));
    }

    #[test]
    fn only_the_owner_can_read_the_files_and_files_of_earlier_versions_are_narrowed() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new/peer");
        drop(DataDir::open(&dir, PeerId(1), 3).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&parent.path().join("new"))), (0o700, 0o700));
        for file in [IDENTITY, HISTORY] {
            assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
            fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o644)).unwrap();
        }
        drop(DataDir::open(&dir, PeerId(1), 3).unwrap());
        assert_eq!([IDENTITY, HISTORY].map(|file| mode(&dir.join(file))), [0o600, 0o600]);
    }

    #[test]
    fn a_history_file_that_a_forger_filled_keeps_what_others_said() {
        let dir = tempfile::tempdir().unwrap();
        let delivered = |author, number, host: &str| {
            let via = Some(Deliverer::link(host.parse().unwrap(), PeerId(2)));
            ChatEntry { author: Author::Mesh(PeerId(author)), via, text: "x".repeat(8192), ..entry(number) }
        };
        let mut lines = Vec::new();
        write_line(&mut lines, &delivered(1, 1, "10.0.0.1")).unwrap();
        for author in 1_000..5_000 {
            write_line(&mut lines, &delivered(author, 7, "10.0.0.66")).unwrap();
        }
        fs::write(dir.path().join(HISTORY), lines).unwrap();
        let data_dir = DataDir::open(dir.path(), PeerId(1), 3).unwrap();
        assert!(data_dir.history.contains(&delivered(1, 1, "10.0.0.1")));
        assert!(data_dir.history.len() < 3_000 && fs::metadata(dir.path().join(HISTORY)).unwrap().len() < 20_000_000);
    }

    #[test]
    fn a_damaged_identity_file_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY), "hello").unwrap();
        let error = DataDir::open(dir.path(), PeerId(1), 3).err().unwrap().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
