//! Store in a folder of a Google Shared Drive.
//!
//! A drive is no bucket: names are not unique, and there is no condition for a write. A
//! [`slot_table`] gives each key a reserved id, and a create with a reserved id is create-only. An
//! object is a file named by its path. It is never removed: a delete empties and marks it, so that
//! its slot stays taken. The version of an object is `headRevisionId`.
//!
//! A replacement reads the version, writes, and reads again. Within one process a lock makes this
//! one step. Between processes the lease of the leader does: only the leader replaces objects that
//! several nodes write. If a check of the storage has found that the drive honours `If-Match`, the
//! drive itself makes a replacement one step.
//!
//! All this is tested on a stand-in of the API. [`live_probe`] finds out what the documents of the
//! live service leave open.

mod block_search;
mod client;
mod config;
mod drive_failure;
mod drive_file;
mod folder_objects;
mod growing_table;
mod kept_table;
mod key_digest;
mod legacy_profiles;
mod legacy_reader;
mod live_probe;
mod open;
mod slot_table;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::client::{DriveClient, FolderAccess};
use self::drive_file::DriveFile;
use self::folder_objects::{FolderObjects, Located, ReplacementMethod, content_of, removed};
use self::growing_table::GrowingTable;
use self::kept_table::KeptTable;
use self::key_digest::KeyDigest;
use self::legacy_reader::LegacyReader;
use self::live_probe::LiveProbe;
use self::slot_table::Candidate;
use super::attempts::attempts;
use super::key::NODE_KEY_MEDIA_TYPE;
use super::{Backend, BackendError, Folder, Key, ListPage, ListedChild, Object, ObjectVersion, StoreProbe};

pub use config::DriveConfig;

/// Locks for replacements. Two keys may share one.
const WRITE_LOCKS: usize = 64;

/// Wait before the next attempt when a new block is being made.
const BLOCK_WAIT: Duration = Duration::from_secs(1);

/// A folder of a shared drive.
pub struct DriveBackend {
    objects: FolderObjects,
    write_locks: [tokio::sync::Mutex<()>; WRITE_LOCKS],
    description: String,
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
        Self::open(config, FolderAccess::ReadWrite).await
    }

    /// Opens the folder for reading only: nothing on the drive and on this machine is written, and
    /// the account needs no right to write. A folder without a slot table has the profiles of
    /// programs of requirement 001.
    ///
    /// # Errors
    /// Like [`Self::connect`].
    pub async fn connect_read_only(config: &DriveConfig) -> Result<Self, BackendError> {
        Self::open(config, FolderAccess::ReadOnly).await
    }

    async fn open(config: &DriveConfig, access: FolderAccess) -> Result<Self, BackendError> {
        let client = DriveClient::new(config, access).await?;
        attempts(open::policy(), || open::check_folder(&client, config)).await?;
        let kept_table = KeptTable::new(config.table_dir.as_deref(), &config.folder);
        let first = open::open_table(&client, config, &kept_table).await?;
        let honours_if_match = first.as_ref().is_some_and(|first| first.file.honours_if_match());
        let first = first.map(|first| first.content);
        let table = first.as_ref().map(|first| first.table);
        let description = format!("Google Drive {config}");
        let backend = Self {
            objects: FolderObjects {
                client,
                table: GrowingTable::new(first, config.settle_time, description.clone()),
                legacy: LegacyReader::default(),
                replacement: if honours_if_match { ReplacementMethod::IfMatch } else { ReplacementMethod::ReadBack },
            },
            write_locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            description,
        };
        while attempts(open::policy(), || backend.objects.load_next_block()).await? {}
        let mut page = None;
        loop {
            page = attempts(open::policy(), || backend.list(&Folder::Users, page.as_deref())).await?.next;
            if page.is_none() {
                break;
            }
        }
        // Only now is it certain that the objects in the folder belong to the table.
        if let Some(table) = table.filter(|_| access == FolderAccess::ReadWrite) {
            kept_table.keep(table).await?;
        }
        Ok(backend)
    }

    /// Decides a create of an object whose file exists.
    async fn create_again(&self, key: &Key, located: &Located, bytes: &Bytes) -> Result<ObjectVersion, BackendError> {
        let _turn = self.write_lock(key).lock().await;
        let file = self.objects.describe_file(key, &located.id, located.slot).await?;
        if !file.is_deleted() {
            return Err(BackendError::Precondition);
        }
        self.objects.overwrite(key, located, &drive_file::revival(), bytes).await
    }

    fn write_lock(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        &self.write_locks[KeyDigest::of(&key.path()).lock_number(WRITE_LOCKS)]
    }
}

#[async_trait]
impl Backend for DriveBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        if self.objects.legacy.id(key).is_some() {
            return Err(BackendError::Precondition);
        }
        self.objects.table.make_block_in_time(&self.objects.client).await;
        let digest = KeyDigest::of(&key.path());
        loop {
            let (candidate, next_block) = self.objects.table.lock().candidate_and_next_block(&digest);
            match candidate {
                Candidate::Found(slot, id, content) => {
                    return self.create_again(key, &Located { id, slot: Some(slot), content }, &bytes).await;
                }
                Candidate::Unknown(slot, id) => {
                    if let Some(file) = self.objects.create_file(key, &id, &bytes).await? {
                        self.objects.table.lock().note(slot, &file);
                        return Ok(ObjectVersion(content_of(&file)?.revision));
                    }
                    // Without the file it is not known whether it is the object of this key, so no
                    // other slot may be tried.
                    let file = self.objects.client.get(&id).await?.ok_or_else(|| removed(key))?;
                    self.objects.table.lock().note(slot, &file);
                    if file.key() == Some(digest) && !file.is_deleted() && !file.trashed {
                        return Err(BackendError::Precondition);
                    }
                }
                Candidate::NoSlot => {
                    if !self.objects.table.make_block(&self.objects.client, next_block).await? {
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
        let Some(located) = self.objects.locate(key).await? else { return Err(BackendError::Precondition) };
        let _turn = self.write_lock(key).lock().await;
        self.objects.replace(key, &located, version, &bytes).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        match self.objects.locate(key).await? {
            Some(located) => self.objects.read(key, located).await,
            None => Ok(None),
        }
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        let condition = match folder {
            Folder::Users => String::new(),
            Folder::Images(_) => "mimeType contains 'image/'".to_owned(),
            Folder::Checks => "mimeType = 'text/plain'".to_owned(),
            Folder::NodeKeys => format!("mimeType = '{NODE_KEY_MEDIA_TYPE}'"),
        };
        let list = self.objects.client.list(&condition, page).await?;
        let has_unknown_slot =
            |file: &DriveFile| file.key().is_some() && self.objects.table.lock().slot(&file.id).is_none();
        // Other nodes may have made blocks.
        while list.files.iter().any(has_unknown_slot) && self.objects.load_next_block().await? {}
        let mut children = self.objects.children(&list.files, &folder.path())?;
        if *folder == Folder::Users {
            self.objects.legacy.read(&self.objects.client, &list.files).await?;
            let names = self.objects.legacy.names(&list.files);
            children.extend(names.into_iter().map(|name| ListedChild { name, bytes: 0 }));
        }
        children.sort_unstable();
        children.dedup_by(|later, earlier| later.name == earlier.name);
        Ok(ListPage { children, next: list.next_page_token })
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        let Some(located) = self.objects.locate(key).await? else { return Ok(()) };
        let _turn = self.write_lock(key).lock().await;
        let file =
            self.objects.client.update(&located.id, &drive_file::deletion(), key.media_type(), &Bytes::new()).await?;
        match located.slot {
            Some(slot) => self.objects.table.lock().note(slot, &file),
            None => self.objects.legacy.remove(key),
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.description.clone()
    }

    fn probe(&self) -> Option<&dyn StoreProbe> {
        Some(self)
    }
}

#[async_trait]
impl StoreProbe for DriveBackend {
    fn consequence(&self) -> &'static str {
        match self.objects.replacement {
            ReplacementMethod::IfMatch => "profiles are replaced with If-Match",
            ReplacementMethod::ReadBack => {
                "profiles are replaced by reading back, until `rollcall storage check` finds that the drive honours If-Match"
            }
        }
    }

    async fn find_facts(&self, key: &Key) -> Result<Vec<String>, BackendError> {
        let bytes = Bytes::from_static(b"Rollcall probe\n");
        let created = attempts(open::policy(), || self.create(key, bytes.clone())).await;
        let facts = match created {
            // The key is new, so an object that exists comes from an attempt whose response was
            // lost.
            Ok(_) | Err(BackendError::Precondition) => LiveProbe::new(&self.objects, key).find_facts().await,
            Err(error) => Err(error),
        };
        let deleted = attempts(open::policy(), || self.delete(key)).await;
        facts.and_then(|facts| deleted.map(|()| facts))
    }
}
