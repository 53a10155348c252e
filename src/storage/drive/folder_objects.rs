//! Objects in the files of a folder: finds the file of a key, and reads and writes it. Each success
//! is one that the drive has proved.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use tracing::{debug, warn};

use super::super::{BackendError, Key, ListedChild, MAX_OBJECT_BYTES, Object, ObjectVersion};
use super::block_search::BlockSearch;
use super::client::DriveClient;
use super::drive_failure::DriveFailure;
use super::drive_file::{self, DriveFile, FileContent, TaggedFile};
use super::growing_table::GrowingTable;
use super::key_digest::KeyDigest;
use super::legacy_reader::LegacyReader;
use super::slot_table::{Candidate, Slot};

/// Causes of failed writes.
const CHANGED_ON_ITS_WAY: &str = "the upload was changed on its way";
const NO_ETAG: &str = "the drive tells no etag any more; run `rollcall storage check`, and start the node again";

/// MD5 of no bytes, in hex. A deleted object has it.
const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The file in which an object was found.
pub(super) struct Located {
    pub(super) id: Arc<str>,
    /// `None` for a legacy profile.
    pub(super) slot: Option<Slot>,
    /// The content, if it is known.
    pub(super) content: Option<FileContent>,
}

/// Files of a folder, the slot table that gives keys their files, and the legacy profiles.
pub(super) struct FolderObjects {
    pub(super) client: DriveClient,
    pub(super) table: GrowingTable,
    pub(super) legacy: LegacyReader,
    pub(super) replacement: ReplacementMethod,
}

/// Method by which the content of a file is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReplacementMethod {
    /// Read the version, write, and read again. Safe only under the lease of the leader.
    ReadBack,
    /// Write with `If-Match` and the etag of version 2 of the API. Safe among all processes.
    IfMatch,
}

impl FolderObjects {
    /// The file of an object. `None` if there is none; a deleted object still has a file.
    pub(super) async fn locate(&self, key: &Key) -> Result<Option<Located>, BackendError> {
        let digest = KeyDigest::of(&key.path());
        loop {
            let (candidate, next_block) = self.table.lock().candidate_and_next_block(&digest);
            if let Candidate::Found(slot, id, content) = candidate {
                return Ok(Some(Located { id, slot: Some(slot), content }));
            }
            if let Some(id) = self.legacy.id(key) {
                return Ok(Some(Located { id, slot: None, content: None }));
            }
            match candidate {
                Candidate::Unknown(slot, id) => match self.client.get(&id).await? {
                    Some(file) => self.table.lock().note(slot, &file),
                    None => return Ok(None),
                },
                Candidate::NoSlot => {
                    if !self.table.load_block(&self.client, next_block).await? {
                        return Ok(None);
                    }
                }
                Candidate::Found(..) => {}
            }
        }
    }

    /// Appends the block after the newest one, if there is one.
    pub(super) async fn load_next_block(&self) -> Result<bool, BackendError> {
        let number = self.table.lock().next_block();
        self.table.load_block(&self.client, number).await
    }

    /// Reads the object in a file. `None` if it is deleted.
    pub(super) async fn read(&self, key: &Key, located: Located) -> Result<Option<Object>, BackendError> {
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
    pub(super) async fn describe_file(
        &self,
        key: &Key,
        id: &str,
        slot: Option<Slot>,
    ) -> Result<DriveFile, BackendError> {
        let found = self.client.get(id).await?;
        let Some(slot) = slot else {
            return self.existing_legacy_file(key, found);
        };
        let file = found.ok_or_else(|| removed(key))?;
        self.table.lock().note(slot, &file);
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
        self.legacy.remove(key);
        Err(BackendError::transient("the file of the profile was deleted meanwhile"))
    }

    /// Replaces an object that has this version. The caller holds the write lock of the key.
    pub(super) async fn replace(
        &self,
        key: &Key,
        located: &Located,
        version: &ObjectVersion,
        bytes: &Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        // The etag is read first: a later change of what is read after it fails the write.
        let etag = match self.replacement {
            ReplacementMethod::IfMatch => match self.client.tag(&located.id).await {
                Ok(file) => Some(file.etag),
                // The description of the file tells what became of it.
                Err(failure) if failure.is_file_not_found(&located.id) => Some(String::new()),
                Err(failure) => return Err(failure.into()),
            },
            ReplacementMethod::ReadBack => None,
        };
        let file = self.describe_file(key, &located.id, located.slot).await?;
        if file.is_deleted() || content_of(&file)?.revision != version.0 {
            return Err(BackendError::Precondition);
        }
        match etag {
            None => self.overwrite(key, located, &serde_json::json!({}), bytes).await,
            Some(etag) if etag.is_empty() => Err(BackendError::transient(NO_ETAG)),
            Some(etag) => self.overwrite_tagged(key, located, &file, &etag, bytes).await,
        }
    }

    /// Writes an object into a file that has this etag.
    async fn overwrite_tagged(
        &self,
        key: &Key,
        located: &Located,
        file: &DriveFile,
        etag: &str,
        bytes: &Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let write =
            async |etag: &str| match self.client.replace_tagged(&located.id, etag, key.media_type(), bytes).await {
                Ok(written) => Ok(written),
                Err(failure) if failure.is_precondition_failed() => Err(BackendError::Precondition),
                Err(failure) => Err(failure.into()),
            };
        let is_whole = |file: &TaggedFile| file.content().filter(|content| content.md5 == md5_hex(bytes));
        let mut written = write(etag).await?;
        if is_whole(&written).is_none() {
            written = write(&written.etag).await.map_err(unproven_write)?;
        }
        let Some(written) = is_whole(&written) else { return Err(BackendError::transient(CHANGED_ON_ITS_WAY)) };
        if let Some(slot) = located.slot {
            self.table.lock().note(slot, &file.with_content(&written));
        }
        Ok(ObjectVersion(written.revision))
    }

    /// Writes an object into a file that exists, and reads back that it is there. The caller holds
    /// the write lock of the key.
    pub(super) async fn overwrite(
        &self,
        key: &Key,
        located: &Located,
        change: &serde_json::Value,
        bytes: &Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let update = async || content_of(&self.client.update(&located.id, change, key.media_type(), bytes).await?);
        let mut written = update().await?;
        if written.md5 != md5_hex(bytes) {
            // Repaired at once: a later attempt would find another version, and report a conflict.
            written = update().await.map_err(unproven_write)?;
        }
        if written.md5 != md5_hex(bytes) {
            return Err(BackendError::transient(CHANGED_ON_ITS_WAY));
        }
        // The write has taken effect, so no failure of the read may say that nothing was written.
        let file = self.describe_file(key, &located.id, located.slot).await.map_err(unproven_write)?;
        // Another process may have written at the same time. Then its write counts.
        if content_of(&file)? == written && !file.is_deleted() {
            Ok(ObjectVersion(written.revision))
        } else {
            Err(BackendError::Precondition)
        }
    }

    /// Creates the file of an object. `None` if the id is in use.
    pub(super) async fn create_file(
        &self,
        key: &Key,
        id: &str,
        bytes: &Bytes,
    ) -> Result<Option<DriveFile>, BackendError> {
        let (path, table) = (key.path(), self.table.lock().id());
        let metadata = drive_file::object(id, &path, key.media_type(), self.client.folder(), table);
        let file = match self.client.create(&metadata, key.media_type(), bytes).await {
            Ok(file) => file,
            Err(failure) if failure.is_id_taken() => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        if content_of(&file)?.md5 == md5_hex(bytes) {
            return Ok(Some(file));
        }
        // The upload was changed on its way, and the id is used. The file is ours to repair.
        let again = self.client.update(id, &drive_file::revival(), key.media_type(), bytes).await;
        let file = again.map_err(|failure| unproven_write(failure.into()))?;
        if content_of(&file)?.md5 == md5_hex(bytes) {
            Ok(Some(file))
        } else {
            Err(BackendError::transient(CHANGED_ON_ITS_WAY))
        }
    }

    /// The children of the folder `prefix` among these files. Remembers the files.
    pub(super) fn children(&self, files: &[DriveFile], prefix: &str) -> Result<Vec<ListedChild>, BackendError> {
        let (mut table, mut children) = (self.table.lock(), Vec::new());
        for file in files.iter().filter(|file| !BlockSearch::is_block(file)) {
            if file.is_ours() && file.table() != Some(table.id()) {
                return Err(self.table.another_table());
            }
            let Some(slot) = table.slot(&file.id) else {
                debug!(file = file.name, "skipped a file on the drive: it is in no slot");
                continue;
            };
            table.note(slot, file);
            match file.path() {
                Some(path) if !file.is_deleted() => children.extend(child(path, prefix, file.bytes())),
                Some(_) => {}
                None => warn!(file = file.name, "a file of Rollcall has another name; undo the renaming on the drive"),
            }
        }
        Ok(children)
    }
}

/// The version and the checksum of a file, which the drive must tell.
pub(super) fn content_of(file: &DriveFile) -> Result<FileContent, BackendError> {
    file.content().ok_or_else(|| BackendError::transient(format!("the drive tells no revision of {:?}", file.name)))
}

/// The error of a call that has written something before it failed. [`BackendError::Precondition`]
/// stays: another process has written after it.
fn unproven_write(error: BackendError) -> BackendError {
    match error {
        BackendError::Permanent(cause) | BackendError::Unreadable(cause) | BackendError::Full(cause) => {
            BackendError::transient(cause)
        }
        BackendError::Precondition | BackendError::Transient { .. } => error,
    }
}

/// The first part of a path within the folder `prefix`. It is the object itself, of `bytes` bytes,
/// or a folder.
fn child(path: &str, prefix: &str, bytes: u64) -> Option<ListedChild> {
    let below = path.strip_prefix(prefix)?;
    let name = below.split('/').next().filter(|name| !name.is_empty())?;
    Some(ListedChild { name: name.to_owned(), bytes: if name == below { bytes } else { 0 } })
}

pub(super) fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The error for an id that is used and has no file.
pub(super) fn removed(key: &Key) -> BackendError {
    BackendError::Unreadable(format!(
        "the file in a slot of {key} was deleted for good, so this path cannot be used; never empty the trash of a drive \
         that Rollcall uses"
    ))
}
