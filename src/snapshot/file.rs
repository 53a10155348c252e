//! Keeps the snapshot's file; holds no policy.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::format::{Encoder, decode};
use crate::clock::{boot_now, wall_now};
use crate::registry::{Registry, Rows};

const FILE: &str = "snapshot";
const NEW_FILE: &str = "snapshot.new";

const A_DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How often the file is written if something changed. What it lacks is read from the bucket, or told by the others.
const EVERY: Duration = Duration::from_secs(30);

/// Reads a registry's snapshot when a node starts, and writes it while it runs.
#[derive(Clone)]
pub struct Keeper {
    registry: Registry,
    dir: PathBuf,
    bucket: Uuid,
}

impl Keeper {
    /// A keeper of the snapshot of `registry`, which stands on the bucket with that id, in `dir`.
    #[must_use]
    pub fn new(registry: Registry, dir: PathBuf, bucket: Uuid) -> Self {
        Self { registry, dir, bucket }
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

    /// Writes the file.
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
                    self.registry.remember(rows, away_ms, boot_now());
                }
                info!("read a snapshot of {users} users in {} ms", boot_now().since(began));
            }
            Err(why) => {
                warn!("the snapshot in {} is left aside: {why}; the bucket is read instead", self.dir.display());
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let new_file = self.dir.join(NEW_FILE);
        let mut out = BufWriter::new(File::create(&new_file)?);
        let (mut encoder, head) = Encoder::start(self.bucket, wall_now().unix_ms());
        out.write_all(&head)?;
        let mut write = |rows: &Rows| out.write_all(&encoder.rows(rows));
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
