//! Store in a folder of a Google Shared Drive.
//!
//! A drive is no bucket: names are not unique, and there is no condition for a write. A
//! [`slot_table`] gives each key a reserved id, and a create with a reserved id is create-only. An
//! object is a file named by its path. It is never removed: a delete empties and marks it, so that
//! its slot stays taken. The version of an object is `headRevisionId`.
//!
//! A replacement reads the version, writes, and reads again. Within one process a lock makes this
//! one step. Between processes the lease of the leader does: only the leader replaces objects that
//! several nodes write.
//!
//! All this is tested on a stand-in of the API. Whether the live service keeps unused reserved ids
//! for years, and accepts them on shared drives, is not documented.

mod block_search;
mod client;
mod config;
mod drive_failure;
mod drive_file;
mod kept_table;
mod key_digest;
mod legacy_profiles;
mod open;
mod slot_table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use md5::{Digest, Md5};
use tracing::{debug, warn};

use self::block_search::{BlockSearch, BlockStep};
use self::client::DriveClient;
use self::drive_failure::DriveFailure;
use self::drive_file::{DriveFile, FileContent};
use self::kept_table::KeptTable;
use self::key_digest::KeyDigest;
use self::legacy_profiles::LegacyProfiles;
use self::slot_table::{Candidate, Slot, SlotTable};
use super::attempts::attempts;
use super::{Backend, BackendError, Folder, Key, ListPage, MAX_OBJECT_BYTES, Object, ObjectVersion};

pub use config::DriveConfig;

/// Number of legacy profiles read at the same time.
const MAX_CONCURRENT_READS: usize = 8;

/// Locks for replacements. Two keys may share one.
const WRITE_LOCKS: usize = 64;

/// MD5 of no bytes, in hex. A deleted object has it.
const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Wait before the next attempt when a new block is being made.
const BLOCK_WAIT: Duration = Duration::from_secs(1);

/// A folder of a shared drive.
pub struct DriveBackend {
    client: DriveClient,
    table: Mutex<SlotTable>,
    legacy: Mutex<LegacyProfiles>,
    /// Search for the block after the newest one.
    next_block: tokio::sync::Mutex<BlockSearch>,
    write_locks: [tokio::sync::Mutex<()>; WRITE_LOCKS],
    settle_time: Duration,
    description: String,
}

/// The file in which an object was found.
struct Located {
    id: Arc<str>,
    /// `None` for a legacy profile.
    slot: Option<Slot>,
    /// The content, if it is known.
    content: Option<FileContent>,
}

impl DriveBackend {
    /// Evidence for this store. It belongs into everything that names it.
    pub const EVIDENCE: &str = "contract-tested against Google's API description; never run against Google";

    /// Checks the folder, finds or makes the slot table, and lists the folder once: only then is it
    /// known which names are taken by profiles of programs of requirement 001.
    ///
    /// The first start on an empty folder takes [`DriveConfig::settle_time`].
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the credentials, the folder or the table cannot be used. The
    /// text names the remedy. [`BackendError::Transient`] if the drive cannot be reached.
    pub async fn connect(config: &DriveConfig) -> Result<Self, BackendError> {
        let client = DriveClient::new(config).await?;
        attempts(open::policy(), || open::check_folder(&client, config)).await?;
        let kept_table = KeptTable::new(&config.table_dir, &config.folder);
        let first = open::open_table(&client, config, &kept_table).await?;
        let table = first.table;
        let backend = Self {
            client,
            table: SlotTable::new(first).into(),
            legacy: LegacyProfiles::default().into(),
            next_block: BlockSearch::new(2, config.settle_time).into(),
            write_locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            settle_time: config.settle_time,
            description: format!("Google Drive {config}"),
        };
        while attempts(open::policy(), || backend.load_block()).await? {}
        let mut page = None;
        loop {
            page = attempts(open::policy(), || backend.list(&Folder::Users, page.as_deref())).await?.next;
            if page.is_none() {
                break;
            }
        }
        // Only now is it certain that the objects in the folder belong to the table.
        kept_table.keep(table).await?;
        Ok(backend)
    }

    /// Appends the next block if there is one.
    async fn load_block(&self) -> Result<bool, BackendError> {
        let mut search = self.next_block.lock().await;
        self.find_block(&mut search, false).await
    }

    /// The file of an object. `None` if there is none; a deleted object still has a file.
    async fn locate(&self, key: &Key) -> Result<Option<Located>, BackendError> {
        let digest = KeyDigest::of(&key.path());
        loop {
            let candidate = self.table().candidate(&digest);
            if let Candidate::Found(slot, id, content) = candidate {
                return Ok(Some(Located { id, slot: Some(slot), content }));
            }
            if let Some(id) = self.legacy_file(key) {
                return Ok(Some(Located { id, slot: None, content: None }));
            }
            match candidate {
                Candidate::Unknown(slot, id) => match self.client.get(&id).await? {
                    Some(file) => self.table().note(slot, &file),
                    None => return Ok(None),
                },
                Candidate::NoSlot => {
                    if !self.load_block().await? {
                        return Ok(None);
                    }
                }
                Candidate::Found(..) => {}
            }
        }
    }

    /// Reads the object in a file. `None` if it is deleted.
    async fn read(&self, key: &Key, located: Located) -> Result<Option<Object>, BackendError> {
        // One request is enough if the content is known and has not changed. A deleted object is
        // empty, so an empty one must be looked at.
        if let Some(content) = located.content.filter(|content| content.md5 != MD5_OF_NOTHING) {
            match self.client.media(&located.id).await? {
                Some(bytes) if md5_hex(&bytes) == content.md5 => {
                    return Ok(Some(Object { bytes, version: ObjectVersion(content.revision) }));
                }
                Some(_) | None => {}
            }
        }
        let file = self.describe_file(key, &located.id, located.slot).await?;
        if file.is_deleted() {
            return Ok(None);
        }
        let content = content_of(&file)?;
        let bytes = self.client.media(&located.id).await?.ok_or_else(|| removed(key))?;
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(DriveFailure::TooLarge.into());
        }
        if md5_hex(&bytes) != content.md5 {
            return Err(BackendError::transient("the bytes do not have the checksum of the file"));
        }
        Ok(Some(Object { bytes, version: ObjectVersion(content.revision) }))
    }

    /// The description of a file that exists. Remembers it.
    async fn describe_file(&self, key: &Key, id: &str, slot: Option<Slot>) -> Result<DriveFile, BackendError> {
        let found = self.client.get(id).await?;
        let Some(slot) = slot else {
            return self.existing_legacy_file(key, found);
        };
        let file = found.ok_or_else(|| removed(key))?;
        self.table().note(slot, &file);
        if file.trashed {
            return Err(BackendError::Unreadable(format!(
                "the file {:?} is in the trash of the drive; restore it",
                file.name
            )));
        }
        Ok(file)
    }

    /// The file of a legacy profile, unless it was deleted. Then its name is free.
    fn existing_legacy_file(&self, key: &Key, found: Option<DriveFile>) -> Result<DriveFile, BackendError> {
        if let Some(file) = found
            && !file.trashed
            && !file.is_deleted()
        {
            return Ok(file);
        }
        if let Key::Profile(name) = key {
            self.legacy().remove(name);
        }
        Err(BackendError::transient("the file of the profile was deleted meanwhile"))
    }

    /// Writes an object into a file that exists, and reads back that it is there. The caller holds
    /// the write lock of the key.
    async fn overwrite(
        &self,
        key: &Key,
        located: &Located,
        change: &serde_json::Value,
        bytes: &Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let file = self.client.update(&located.id, change, key.media_type(), bytes).await?;
        let written = content_of(&self.repair(key, file, bytes).await?)?;
        // The write has taken effect, so no failure of the read may say that nothing was written.
        let file = self.describe_file(key, &located.id, located.slot).await.map_err(unproven_write)?;
        // Another process may have written at the same time. Then its write counts.
        if content_of(&file)? == written && !file.is_deleted() {
            Ok(ObjectVersion(written.revision))
        } else {
            Err(BackendError::Precondition)
        }
    }

    /// Decides a create of an object whose file exists.
    async fn create_again(&self, key: &Key, located: &Located, bytes: &Bytes) -> Result<ObjectVersion, BackendError> {
        let _turn = self.write_lock(key).lock().await;
        let file = self.describe_file(key, &located.id, located.slot).await?;
        if !file.is_deleted() {
            return Err(BackendError::Precondition);
        }
        self.overwrite(key, located, &drive_file::revival(), bytes).await
    }

    /// Creates the file of an object. `None` if the id is in use.
    async fn create_file(&self, key: &Key, id: &str, bytes: &Bytes) -> Result<Option<DriveFile>, BackendError> {
        let (path, table) = (key.path(), self.table().id());
        let metadata = drive_file::object(id, &path, key.media_type(), self.client.folder(), table);
        let file = match self.client.create(&metadata, key.media_type(), bytes).await {
            Ok(file) => file,
            Err(failure) if failure.is_id_taken() => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        self.repair(key, file, bytes).await.map(Some)
    }

    /// Writes the bytes of a file again, if they were changed on their way. Else the object would
    /// stay as nobody wrote it: the retry of the caller would take it for another's.
    async fn repair(&self, key: &Key, written: DriveFile, bytes: &Bytes) -> Result<DriveFile, BackendError> {
        let md5 = md5_hex(bytes);
        if content_of(&written)?.md5 == md5 {
            return Ok(written);
        }
        let again = self.client.update(&written.id, &drive_file::revival(), key.media_type(), bytes).await;
        let file = again.map_err(BackendError::from).map_err(unproven_write)?;
        if content_of(&file)?.md5 == md5 {
            Ok(file)
        } else {
            Err(BackendError::transient("the upload was changed on its way"))
        }
    }

    /// Makes the next block when the newest is half full. A failure is no failure of the caller.
    async fn make_block_in_time(&self) {
        if !self.table().needs_block() {
            return;
        }
        let Ok(mut search) = self.next_block.try_lock() else { return };
        if search.remaining().is_none()
            && let Err(error) = self.find_block(&mut search, true).await
        {
            warn!(%error, "the slot table has no new block yet");
        }
    }

    /// Looks for the next block, and appends it if nodes have agreed on one. Writes one if there is
    /// none and `make` is set. Returns whether a block was appended.
    async fn find_block(&self, search: &mut BlockSearch, make: bool) -> Result<bool, BackendError> {
        let (number, table) = {
            let table = self.table();
            (table.next_block(), table.id())
        };
        if search.number() != number {
            *search = BlockSearch::new(number, self.settle_time);
        }
        match search.look(&self.client).await? {
            BlockStep::Found(block) if block.table != table => Err(another_table(&self.description)),
            BlockStep::Found(block) => {
                self.table().append(block);
                Ok(true)
            }
            BlockStep::Missing if make => {
                search.write(&self.client, table).await?;
                Ok(false)
            }
            BlockStep::Missing | BlockStep::Undecided(_) => Ok(false),
        }
    }

    /// Reads the names in legacy files that were not read yet. The future may be dropped: files
    /// read so far are kept.
    async fn read_legacy(&self, files: &[DriveFile]) -> Result<(), BackendError> {
        let is_unread = |file: &&DriveFile| LegacyProfiles::is_legacy(file) && !self.legacy().has_read(file);
        let unread: Vec<DriveFile> = files.iter().filter(is_unread).cloned().collect();
        let mut reads = stream::iter(unread)
            .map(|file| async move {
                let read = self.client.media(&file.id).await;
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
            if !self.legacy().add(&file, &bytes) {
                warn!(file = file.name, "a file on the drive has no valid profile; repair it or move it away");
            }
        }
        Ok(())
    }

    /// The names in the folder `prefix` of these files. Remembers the files.
    fn names(&self, files: &[DriveFile], prefix: &str) -> Result<Vec<String>, BackendError> {
        let (mut table, mut names) = (self.table(), Vec::new());
        for file in files.iter().filter(|file| !BlockSearch::is_block(file)) {
            if file.is_ours() && file.table() != Some(table.id()) {
                return Err(another_table(&self.description));
            }
            let Some(slot) = table.slot(&file.id) else {
                debug!(file = file.name, "skipped a file on the drive: it is in no slot");
                continue;
            };
            table.note(slot, file);
            match file.path() {
                Some(path) if !file.is_deleted() => names.extend(child(path, prefix)),
                Some(_) => {}
                None => warn!(file = file.name, "a file of Rollcall has another name; undo the renaming on the drive"),
            }
        }
        Ok(names)
    }

    /// The legacy file with a profile.
    fn legacy_file(&self, key: &Key) -> Option<Arc<str>> {
        match key {
            Key::Profile(name) => self.legacy().id(name),
            _ => None,
        }
    }

    fn write_lock(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        &self.write_locks[KeyDigest::of(&key.path()).lock_number(WRITE_LOCKS)]
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn legacy(&self) -> MutexGuard<'_, LegacyProfiles> {
        self.legacy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for DriveBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        if self.legacy_file(key).is_some() {
            return Err(BackendError::Precondition);
        }
        self.make_block_in_time().await;
        let digest = KeyDigest::of(&key.path());
        loop {
            let candidate = self.table().candidate(&digest);
            match candidate {
                Candidate::Found(slot, id, content) => {
                    return self.create_again(key, &Located { id, slot: Some(slot), content }, &bytes).await;
                }
                Candidate::Unknown(slot, id) => {
                    if let Some(file) = self.create_file(key, &id, &bytes).await? {
                        self.table().note(slot, &file);
                        return Ok(ObjectVersion(content_of(&file)?.revision));
                    }
                    // Without the file it is not known whether it is the object of this key, so no
                    // other slot may be tried.
                    let file = self.client.get(&id).await?.ok_or_else(|| removed(key))?;
                    self.table().note(slot, &file);
                    if file.key() == Some(digest) && !file.is_deleted() && !file.trashed {
                        return Err(BackendError::Precondition);
                    }
                }
                Candidate::NoSlot => {
                    let mut search = self.next_block.lock().await;
                    if !self.find_block(&mut search, true).await? {
                        return Err(BackendError::Transient {
                            cause: format!("all slots of {key} are taken, and a new block of slots is being made"),
                            retry_after: Some(BLOCK_WAIT),
                        });
                    }
                }
            }
        }
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let Some(located) = self.locate(key).await? else { return Err(BackendError::Precondition) };
        let _turn = self.write_lock(key).lock().await;
        let file = self.describe_file(key, &located.id, located.slot).await?;
        if file.is_deleted() || content_of(&file)?.revision != version.0 {
            return Err(BackendError::Precondition);
        }
        self.overwrite(key, &located, &serde_json::json!({}), &bytes).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        match self.locate(key).await? {
            Some(located) => self.read(key, located).await,
            None => Ok(None),
        }
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        let condition = match folder {
            Folder::Users => "",
            Folder::Images(_) => "mimeType contains 'image/'",
            Folder::Checks => "mimeType = 'text/plain'",
        };
        let list = self.client.list(condition, page).await?;
        let has_unknown_slot = |file: &DriveFile| file.key().is_some() && self.table().slot(&file.id).is_none();
        if list.files.iter().any(has_unknown_slot) {
            // Another node may have made a block.
            self.load_block().await?;
        }
        let mut names = self.names(&list.files, &folder.path())?;
        if *folder == Folder::Users {
            self.read_legacy(&list.files).await?;
            let legacy = self.legacy();
            names.extend(list.files.iter().filter_map(|file| legacy.name(file).map(ToString::to_string)));
        }
        names.sort_unstable();
        names.dedup();
        Ok(ListPage { names, next: list.next_page_token })
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        let Some(located) = self.locate(key).await? else { return Ok(()) };
        let _turn = self.write_lock(key).lock().await;
        let file = self.client.update(&located.id, &drive_file::deletion(), key.media_type(), &Bytes::new()).await?;
        match (located.slot, key) {
            (Some(slot), _) => self.table().note(slot, &file),
            (None, Key::Profile(name)) => self.legacy().remove(name),
            (None, _) => {}
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

/// The version and the checksum of a file, which the drive must tell.
fn content_of(file: &DriveFile) -> Result<FileContent, BackendError> {
    file.content().ok_or_else(|| BackendError::transient(format!("the drive tells no revision of {:?}", file.name)))
}

/// The error of a call that has written something before it failed.
fn unproven_write(error: BackendError) -> BackendError {
    match error {
        error @ BackendError::Transient { .. } => error,
        error => BackendError::transient(error.to_string()),
    }
}

/// The first part of a path within the folder `prefix`.
fn child(path: &str, prefix: &str) -> Option<String> {
    path.strip_prefix(prefix)?.split('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The error for an id that is used and has no file.
fn removed(key: &Key) -> BackendError {
    BackendError::Unreadable(format!(
        "the file in a slot of {key} was deleted for good, so this path cannot be used; never empty the trash of a drive \
         that Rollcall uses"
    ))
}

fn another_table(place: &str) -> BackendError {
    BackendError::Permanent(format!(
        "{place} has files of another slot table; use a folder that no other cluster has used, or restore the blocks \
         .rollcall-slots-*.json of this one"
    ))
}
