//! Reads and writes the snapshot file of a node.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::format::{SnapshotEncoder, decode};
use crate::registry::{AbsurdValue, Registry, Rows};
use rollcall_core::clock::{boot_now, wall_now};
use rollcall_core::private_files;

/// Name of the snapshot file in the node's directory.
const FILE_NAME: &str = "snapshot";
/// Name of the file that is being written.
const TEMP_FILE_NAME: &str = "snapshot.new";

/// Assumed age of a snapshot whose creation time is later than this machine's clock, in
/// milliseconds. One day.
const UNKNOWN_AGE_MS: u64 = 24 * 60 * 60 * 1000;

/// Interval at which the file is written, if the list of users changed. A restarted node reads
/// later changes from the bucket or pulls them from other nodes.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);

/// Loads the snapshot of a registry when a node starts, and writes it while the node runs.
///
/// Invariant: at most one clone writes at a time.
#[derive(Clone)]
pub struct Snapshotter {
    registry: Registry,
    dir: PathBuf,
    bucket: Uuid,
    /// Held during a write, because two writers would use the same temporary file. A write that has
    /// started runs to its end, even if its future was dropped.
    write_lock: Arc<Mutex<()>>,
}

impl Snapshotter {
    /// The snapshotter of `registry`, with its file in `dir`. `bucket` is the id of the registry's
    /// bucket.
    #[must_use]
    pub fn new(registry: Registry, dir: PathBuf, bucket: Uuid) -> Self {
        Self { registry, dir, bucket, write_lock: Arc::default() }
    }

    /// Loads the file into the registry, if it exists, is intact and belongs to this bucket.
    pub async fn load(&self) {
        let this = self.clone();
        // The node also starts if the task has panicked.
        let _ = spawn_blocking(move || this.load_file()).await;
    }

    /// Writes the file periodically, and never returns.
    pub async fn run(self) {
        let mut written = None;
        loop {
            sleep(WRITE_INTERVAL).await;
            let version = self.registry.users_version(boot_now());
            if written != Some(version) && self.save().await {
                written = Some(version);
            }
        }
    }

    /// Writes the file, and returns whether it was written. Waits first for a write in progress.
    /// Dropping the future does not stop the write.
    pub async fn save(&self) -> bool {
        let this = self.clone();
        let saved = spawn_blocking(move || this.write_file()).await;
        match &saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(dir = %self.dir.display(), %error, "cannot write the snapshot; the next start will be slower");
            }
            Err(error) => debug!(%error, "the snapshot was not written"),
        }
        matches!(saved, Ok(Ok(())))
    }

    fn load_file(&self) {
        let started = boot_now();
        let bytes = match fs::read(self.dir.join(FILE_NAME)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                warn!(dir = %self.dir.display(), %error, "cannot read the snapshot; the bucket is read instead");
                return;
            }
        };
        match decode(&bytes, self.bucket) {
            Ok(snapshot) => {
                let created_at = snapshot.created_at;
                self.registry.note_earlier_time(boot_now(), created_at);
                // If the wall clock is not set or was set back, the age is unknown.
                let age_ms = wall_now().unix_ms().saturating_sub(created_at.unix_ms());
                let age_ms = u64::try_from(age_ms).unwrap_or(UNKNOWN_AGE_MS);
                let users: usize = snapshot.rows.iter().map(|rows| rows.users.len()).sum();
                let mut absurd = None;
                for rows in snapshot.rows {
                    absurd = absurd.or(self.registry.load_snapshot(rows, created_at, age_ms, boot_now()));
                }
                if let Some(AbsurdValue { field, value }) = absurd {
                    warn!(
                        dir = %self.dir.display(),
                        field,
                        value,
                        "ignored rows of the snapshot with impossible values: a faulty program wrote it"
                    );
                }
                info!(users, took_ms = boot_now().since(started), "snapshot loaded");
            }
            Err(reason) => {
                warn!(dir = %self.dir.display(), reason, "the snapshot is ignored; the bucket is read instead");
            }
        }
    }

    /// Writes the file under its temporary name, and renames it. If this fails, the previous file
    /// stays, and the temporary one takes no space on a disk that is full.
    fn write_file(&self) -> io::Result<()> {
        // The lock protects no data, so a panic of another writer left nothing inconsistent.
        let _guard = self.write_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let temp_file = self.dir.join(TEMP_FILE_NAME);
        let written = self.write_temp_file(&temp_file).and_then(|()| fs::rename(&temp_file, self.dir.join(FILE_NAME)));
        if written.is_err() {
            // The error of the write is the one to report.
            let _ = fs::remove_file(&temp_file);
        }
        written.and_then(|()| sync_dir(&self.dir))
    }

    fn write_temp_file(&self, temp_file: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(private_files::options().write(true).create(true).truncate(true).open(temp_file)?);
        let (mut encoder, head) = SnapshotEncoder::start(self.bucket, self.registry.wall_time(boot_now()));
        out.write_all(&head)?;
        let mut write = |rows: &Rows| out.write_all(&encoder.encode_rows(rows));
        let mut last = None;
        loop {
            let rows = self.registry.clients_after(last.as_ref(), boot_now());
            let Some(row) = rows.clients.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        last = None;
        loop {
            // The password fingerprints are left out: the passwords may change before the snapshot
            // is read.
            let rows = self.registry.users_after(last.as_ref()).without_fingerprints();
            let Some(row) = rows.users.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        out.write_all(&encoder.finish())?;
        // Sync before the rename: otherwise the file could be empty after a power failure.
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;
    use tokio::time::timeout;

    use super::*;
    use crate::registry::Credentials;
    use crate::registry::testing::{caller, replicated};
    use rollcall_core::{Page, Username, WallMs};

    fn snapshotter(dir: &Path) -> Snapshotter {
        Snapshotter::new(replicated(boot_now()), dir.to_owned(), Uuid::from_u128(7))
    }

    fn saved(dir: &Path) -> Vec<String> {
        let snapshot = decode(&fs::read(dir.join(FILE_NAME)).unwrap(), Uuid::from_u128(7)).unwrap();
        snapshot.rows.iter().flat_map(|rows| &rows.users).map(|row| row.username.to_string()).collect()
    }

    /// A node that starts from the snapshot in `dir`, with `alice` and `bob`. The clock of its
    /// machine shows `wall`.
    async fn start(dir: &Path, wall: WallMs) -> Snapshotter {
        let snapshotter = snapshotter(dir);
        snapshotter.registry.update_wall_time(boot_now(), wall);
        for username in ["alice", "bob"] {
            snapshotter.registry.merge(&Rows::of_user(Username::parse(username).unwrap()), boot_now());
        }
        snapshotter.load().await;
        snapshotter
    }

    async fn heartbeat(node: &Snapshotter, username: &str) {
        let username = Username::parse(username).unwrap();
        node.registry.heartbeat(&username, None, Credentials::None, caller(boot_now())).await.unwrap();
    }

    /// The displayed times of the last heartbeats of `alice` and `bob`.
    fn last_seen(node: &Snapshotter) -> [Option<String>; 2] {
        let rows = node.registry.users(&Page::default(), boot_now());
        rows.into_iter().map(|row| row.last_seen).collect::<Vec<_>>().try_into().unwrap()
    }

    #[tokio::test]
    async fn times_of_heartbeats_are_restored_and_keep_their_order_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let set = 1_796_000_000_000;
        let node = start(dir.path(), WallMs::new(set)).await;
        heartbeat(&node, "alice").await;
        let [alice, _] = last_seen(&node);
        assert!(alice.as_deref().unwrap().starts_with("2026-11-30T00:53:2"), "{alice:?}");
        node.save().await;
        // The clock of the machine is not set.
        let node = start(dir.path(), WallMs::new(5000)).await;
        assert_eq!(last_seen(&node), [alice.clone(), None]);
        heartbeat(&node, "bob").await;
        let [_, bob] = last_seen(&node);
        assert!(bob >= alice, "{bob:?}");
        node.save().await;
        // It is set, and then it is set back to before the first heartbeat.
        for wall in [set + 86_400_000, set - 86_400_000] {
            let node = start(dir.path(), WallMs::new(wall)).await;
            assert_eq!(last_seen(&node), [alice.clone(), bob.clone()]);
            node.save().await;
        }
    }

    #[tokio::test]
    async fn absurd_values_in_a_snapshot_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        // The client `bob` has the term 2^64 - 1 and a wall time before the year 0.
        let (mut encoder, mut bytes) = SnapshotEncoder::start(Uuid::from_u128(7), wall_now());
        bytes.extend(encoder.encode_rows(&Rows::samples()));
        bytes.extend(encoder.finish());
        fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
        let node = snapshotter(dir.path());
        node.load().await;
        let clients = node.registry.clients_after(None, boot_now()).clients;
        let names: Vec<&str> = clients.iter().map(|client| client.username.as_str()).collect();
        assert_eq!(names, ["alice", "carol"]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_snapshot_that_meets_a_full_disk_leaves_the_previous_one_and_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let node = snapshotter(dir.path());
        node.registry.merge(&Rows::of_user(Username::parse("alice").unwrap()), boot_now());
        assert!(node.save().await);
        node.registry.merge(&Rows::of_user(Username::parse("bob").unwrap()), boot_now());
        // Every write to this device fails, as on a full disk.
        std::os::unix::fs::symlink("/dev/full", dir.path().join(TEMP_FILE_NAME)).unwrap();
        assert!(!node.save().await);
        assert!(fs::symlink_metadata(dir.path().join(TEMP_FILE_NAME)).is_err());
        assert_eq!(saved(dir.path()), ["alice"]);
        assert!(node.save().await, "there is space again");
        assert_eq!(saved(dir.path()), ["alice", "bob"]);
    }

    /// This happens when a node stops during a periodic write.
    #[test]
    fn a_write_waits_for_a_write_whose_future_was_dropped() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let snapshotter = snapshotter(dir.path());
        snapshotter.registry.merge(&Rows::of_user(Username::parse("alice").unwrap()), boot_now());
        // Stands for a write in progress whose future was dropped.
        let write_lock = snapshotter.write_lock.lock().unwrap();
        let other = snapshotter.clone();
        let mut last = Box::pin(other.save());
        let is_waiting = async { timeout(Duration::from_millis(200), last.as_mut()).await.is_err() };
        assert!(runtime.block_on(is_waiting), "two writers at once");
        assert!(!dir.path().join(TEMP_FILE_NAME).exists() && !dir.path().join(FILE_NAME).exists());
        drop(write_lock);
        runtime.block_on(last);
        assert_eq!(saved(dir.path()), ["alice"]);
    }
}
