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

use super::format::{Encoder, decode};
use crate::registry::{Registry, Rows};
use rollcall_core::clock::{boot_now, wall_now};

const FILE: &str = "snapshot";
const NEW_FILE: &str = "snapshot.new";

const A_DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often the file is written if something changed. What it lacks is read from the bucket, or told by the others.
const EVERY: Duration = Duration::from_secs(30);

/// Reads a registry's snapshot when a node starts, and writes it while it runs. All clones write in turn.
#[derive(Clone)]
pub struct Keeper {
    registry: Registry,
    dir: PathBuf,
    bucket: Uuid,
    /// Held by who writes: two would write into one new file. A write goes on when whoever wanted it is gone.
    turn: Arc<Mutex<()>>,
}

impl Keeper {
    /// A keeper of the snapshot of `registry`, which stands on the bucket with that id, in `dir`.
    #[must_use]
    pub fn new(registry: Registry, dir: PathBuf, bucket: Uuid) -> Self {
        Self { registry, dir, bucket, turn: Arc::default() }
    }

    /// Reads the file, if there is one that is whole and of this bucket.
    pub async fn load(&self) {
        let this = self.clone();
        // It ends by itself, and a panic in it is no reason not to start.
        let _ = spawn_blocking(move || this.read()).await;
    }

    /// Writes the file now and then, for ever.
    pub async fn run(self) {
        let mut written = None;
        loop {
            sleep(EVERY).await;
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
        let saved = spawn_blocking(move || this.write()).await;
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

    fn read(&self) {
        let began = boot_now();
        let bytes = match fs::read(self.dir.join(FILE)) {
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
                let away_ms = u64::try_from(wall_now().unix_ms() - snapshot.made_at_ms).unwrap_or(A_DAY_MS);
                let users: usize = snapshot.rows.iter().map(|rows| rows.users.len()).sum();
                for rows in snapshot.rows {
                    self.registry.load_snapshot(rows, away_ms, boot_now());
                }
                info!("read a snapshot of {users} users in {} ms", boot_now().since(began));
            }
            Err(why) => {
                warn!("the snapshot in {} is left aside: {why}; the bucket is read instead", self.dir.display());
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        // There is nothing behind the lock that a panic could have left half done: each write begins anew.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let new_file = self.dir.join(NEW_FILE);
        let mut out = BufWriter::new(File::create(&new_file)?);
        let (mut encoder, head) = Encoder::start(self.bucket, wall_now().unix_ms());
        out.write_all(&head)?;
        let mut write = |rows: &Rows| out.write_all(&encoder.rows(rows));
        let mut last = None;
        loop {
            let rows = self.registry.clients_after(last.as_ref(), boot_now());
            let Some(row) = rows.clients.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        last = None;
        loop {
            // When it is read, passwords may have been changed.
            let rows = self.registry.users_after(last.as_ref()).without_fingerprints();
            let Some(row) = rows.users.last() else { break };
            last = Some(row.username.clone());
            write(&rows)?;
        }
        out.write_all(&encoder.end())?;
        // Renamed before it is on the disk, it could be found empty after a loss of power.
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&new_file, self.dir.join(FILE))?;
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

    fn keeper(dir: &Path) -> Keeper {
        Keeper::new(replicated(boot_now()), dir.to_owned(), Uuid::from_u128(7))
    }

    fn saved(dir: &Path) -> Vec<String> {
        let snapshot = decode(&fs::read(dir.join(FILE)).unwrap(), Uuid::from_u128(7)).unwrap();
        snapshot.rows.iter().flat_map(|rows| &rows.users).map(|row| row.username.to_string()).collect()
    }

    /// As when a node ends while it writes now and then.
    #[test]
    fn a_write_waits_for_one_that_was_given_up_and_goes_on_all_the_same() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let keeper = keeper(dir.path());
        keeper.registry.merge(&Rows::of_user(Username::parse("alice").unwrap()), boot_now());
        // The one that was given up is in the middle of it.
        let turn = keeper.turn.lock().unwrap();
        let other = keeper.clone();
        let mut last = Box::pin(other.save());
        let waits = async { timeout(Duration::from_millis(200), last.as_mut()).await.is_err() };
        assert!(runtime.block_on(waits), "two write at once");
        assert!(!dir.path().join(NEW_FILE).exists() && !dir.path().join(FILE).exists());
        drop(turn);
        runtime.block_on(last);
        assert_eq!(saved(dir.path()), ["alice"]);
    }
}
