//! Keeps the snapshot's file; holds no policy.

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
use crate::registry::{Registry, Rows};
use rollcall_core::clock::{boot_now, wall_now};

const FILE_NAME: &str = "snapshot";
const TEMP_FILE_NAME: &str = "snapshot.new";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often the file is written if something changed. What it lacks is read from the bucket, or told by the others.
const WRITE_INTERVAL: Duration = Duration::from_secs(30);

/// Reads a registry's snapshot when a node starts, and writes it while it runs. All clones write in write_lock.
#[derive(Clone)]
pub struct Snapshotter {
    registry: Registry,
    dir: PathBuf,
    bucket: Uuid,
    /// Held by who writes: two would write into one new file. A write goes on when whoever wanted it is gone.
    write_lock: Arc<Mutex<()>>,
}

impl Snapshotter {
    /// A snapshotter of the snapshot of `registry`, which stands on the bucket with that id, in `dir`.
    #[must_use]
    pub fn new(registry: Registry, dir: PathBuf, bucket: Uuid) -> Self {
        Self { registry, dir, bucket, write_lock: Arc::default() }
    }

    /// Reads the file, if there is one that is whole and of this bucket.
    pub async fn load(&self) {
        let this = self.clone();
        // It ends by itself, and a panic in it is no reason not to start.
        let _ = spawn_blocking(move || this.load_file()).await;
    }

    /// Writes the file now and then, for ever.
    pub async fn run(self) {
        let mut written = None;
        loop {
            sleep(WRITE_INTERVAL).await;
            let version = self.registry.users_version(boot_now());
            if written != Some(version) {
                self.save().await;
                written = Some(version);
            }
        }
    }

    /// Writes the file, after whatever write is under way. What is written can be given up by nobody, only not waited for.
    pub async fn save(&self) {
        let this = self.clone();
        let saved = spawn_blocking(move || this.write_file()).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    "the snapshot in {} cannot be written: {error}; the next start will be slower",
                    self.dir.display()
                );
            }
            Err(error) => debug!("the snapshot was not written: {error}"),
        }
    }

    fn load_file(&self) {
        let began = boot_now();
        let bytes = match fs::read(self.dir.join(FILE_NAME)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                warn!("the snapshot in {} cannot be read: {error}; the bucket is read instead", self.dir.display());
                return;
            }
        };
        match decode(&bytes, self.bucket) {
            Ok(snapshot) => {
                // If the calendar went back, nobody knows how long.
                let away_ms = u64::try_from(wall_now().unix_ms() - snapshot.created_at_ms).unwrap_or(DAY_MS);
                let users: usize = snapshot.rows.iter().map(|rows| rows.users.len()).sum();
                for rows in snapshot.rows {
                    self.registry.remember(rows, away_ms, boot_now());
                }
                info!("read a snapshot of {users} users in {} ms", boot_now().since(began));
            }
            Err(why) => {
                warn!("the snapshot in {} is left aside: {why}; the bucket is read instead", self.dir.display());
            }
        }
    }

    fn write_file(&self) -> io::Result<()> {
        // There is nothing behind the lock that a panic could have left half done: each write begins anew.
        let _guard = self.write_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let temp_file = self.dir.join(TEMP_FILE_NAME);
        let mut out = BufWriter::new(File::create(&temp_file)?);
        let (mut encoder, head) = SnapshotEncoder::start(self.bucket, wall_now().unix_ms());
        out.write_all(&head)?;
        let mut write = |rows: &Rows| out.write_all(&encoder.encode_rows(rows));
        let mut last = None;
        loop {
            let rows = self.registry.clients_after(last.as_ref(), boot_now());
            let Some(row) = rows.beats.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        last = None;
        loop {
            // When it is read, passwords may have been changed.
            let rows = self.registry.users_after(last.as_ref()).without_marks();
            let Some(row) = rows.users.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        out.write_all(&encoder.finish())?;
        // Renamed before it is on the disk, it could be found empty after a loss of power.
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temp_file, self.dir.join(FILE_NAME))?;
        sync_dir(&self.dir)
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
    use crate::registry::testing::replicated;
    use rollcall_core::Username;

    fn snapshotter(dir: &Path) -> Snapshotter {
        Snapshotter::new(replicated(boot_now()), dir.to_owned(), Uuid::from_u128(7))
    }

    fn saved(dir: &Path) -> Vec<String> {
        let snapshot = decode(&fs::read(dir.join(FILE_NAME)).unwrap(), Uuid::from_u128(7)).unwrap();
        snapshot.rows.iter().flat_map(|rows| &rows.users).map(|row| row.username.to_string()).collect()
    }

    /// As when a node ends while it writes now and then.
    #[test]
    fn a_write_waits_for_one_that_was_given_up_and_goes_on_all_the_same() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let snapshotter = snapshotter(dir.path());
        snapshotter.registry.merge(&Rows::of_user(Username::parse("alice").unwrap()), boot_now());
        // The one that was given up is in the middle of it.
        let write_lock = snapshotter.write_lock.lock().unwrap();
        let other = snapshotter.clone();
        let mut last = Box::pin(other.save());
        let waits = async { timeout(Duration::from_millis(200), last.as_mut()).await.is_err() };
        assert!(runtime.block_on(waits), "two write at once");
        assert!(!dir.path().join(TEMP_FILE_NAME).exists() && !dir.path().join(FILE_NAME).exists());
        drop(write_lock);
        runtime.block_on(last);
        assert_eq!(saved(dir.path()), ["alice"]);
    }
}
