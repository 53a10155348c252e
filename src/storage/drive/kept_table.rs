//! File of a node with the id of the slot table that it uses. A node that finds another table, or
//! none, would register names a second time.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::fs;
use uuid::Uuid;

use super::super::BackendError;
use rollcall_core::private_files;

/// The file for one folder of a drive.
pub(super) struct KeptTable {
    /// `None` for a program that keeps nothing.
    path: Option<PathBuf>,
}

impl KeptTable {
    /// The file in this directory for the folder with this id.
    pub(super) fn new(dir: Option<&Path>, folder: &str) -> Self {
        Self { path: dir.map(|dir| dir.join(format!("drive-table-{folder}"))) }
    }

    /// The id that was kept. `None` at the first start.
    pub(super) async fn read(&self) -> Result<Option<Uuid>, BackendError> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = match fs::read_to_string(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path, &error.to_string())),
        };
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| unusable(path, "it has no id; restore it, or delete it if the folder is new"))
    }

    /// Keeps the id, unless it is kept already.
    pub(super) async fn keep(&self, table: Uuid) -> Result<(), BackendError> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.read().await? == Some(table) {
            return Ok(());
        }
        let path_of_write = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path_of_write, table)).await;
        written.map_err(io::Error::other).flatten().map_err(|error| unusable(path, &error.to_string()))
    }

    /// The path, for errors.
    pub(super) fn path(&self) -> std::path::Display<'_> {
        self.path.as_deref().unwrap_or(Path::new("")).display()
    }
}

fn unusable(path: &Path, reason: &str) -> BackendError {
    BackendError::Permanent(format!("cannot use {}: {reason}", path.display()))
}

fn write(path: &Path, table: Uuid) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        private_files::create_dir_all(dir)?;
    }
    // Several nodes of one machine may write the same id at the same time.
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = private_files::options().write(true).create(true).truncate(true).open(&temporary)?;
    writeln!(file, "{table}")?;
    // An empty file after a power failure would stop every start.
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
