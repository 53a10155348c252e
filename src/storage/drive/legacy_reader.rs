//! Reader of legacy profiles: reads the files that a listing shows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tracing::warn;

use super::super::{BackendError, Key};
use super::client::DriveClient;
use super::drive_failure::DriveFailure;
use super::drive_file::DriveFile;
use super::legacy_profiles::LegacyProfiles;

/// Number of legacy profiles read at the same time.
const MAX_CONCURRENT_READS: usize = 8;

/// Legacy profiles of a folder, as far as this process has read them.
#[derive(Default)]
pub(super) struct LegacyReader {
    profiles: Mutex<LegacyProfiles>,
}

impl LegacyReader {
    /// Reads the names in legacy files that were not read yet. The future may be dropped: files
    /// read so far are kept.
    pub(super) async fn read(&self, client: &DriveClient, files: &[DriveFile]) -> Result<(), BackendError> {
        let is_unread = |file: &&DriveFile| LegacyProfiles::is_legacy(file) && !self.profiles().has_read(file);
        let unread: Vec<DriveFile> = files.iter().filter(is_unread).cloned().collect();
        let mut reads = stream::iter(unread)
            .map(|file| async move {
                let read = client.media(&file.id).await;
                (file, read)
            })
            .buffer_unordered(MAX_CONCURRENT_READS);
        while let Some((file, read)) = reads.next().await {
            let bytes = match read {
                Ok(Some(bytes)) => bytes,
                // It was deleted after it was listed.
                Ok(None) => continue,
                Err(DriveFailure::TooLarge) => Bytes::new(),
                Err(failure) => return Err(failure.into()),
            };
            if !self.profiles().add(&file, &bytes) {
                warn!(file = file.name, "a file on the drive has no valid profile; repair it or move it away");
            }
        }
        Ok(())
    }

    /// The names in these files. The files must have been read.
    pub(super) fn names(&self, files: &[DriveFile]) -> Vec<String> {
        let profiles = self.profiles();
        files.iter().filter_map(|file| profiles.name(file).map(ToString::to_string)).collect()
    }

    /// The id of the file with the profile of this key.
    pub(super) fn id(&self, key: &Key) -> Option<Arc<str>> {
        match key {
            Key::Profile(name) => self.profiles().id(name),
            _ => None,
        }
    }

    /// Forgets the file with this profile, because it was deleted.
    pub(super) fn remove(&self, key: &Key) {
        if let Key::Profile(name) = key {
            self.profiles().remove(name);
        }
    }

    fn profiles(&self) -> MutexGuard<'_, LegacyProfiles> {
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
