//! Files of a drive as the API describes them, and the properties that Rollcall gives them. Pure.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::key_digest::KeyDigest;

/// The fields of a file that Rollcall asks for.
pub(super) const FIELDS: &str = "id,name,createdTime,headRevisionId,md5Checksum,size,appProperties,trashed";
/// The fields of a file that Rollcall asks for in version 2 of the API.
pub(super) const TAGGED_FIELDS: &str = "id,etag,headRevisionId,md5Checksum";

/// Property with the digest of an object's key, in hex.
const KEY: &str = "key";
/// Property with the id of the slot table.
const TABLE: &str = "table";
/// Property of a deleted object. A file is never deleted, because its slot must stay taken.
const DELETED: &str = "deleted";
/// Property of a block of the slot table that nodes have agreed on.
const CHOSEN: &str = "chosen";
/// Property of the first block: a check has found that the drive honours `If-Match`.
const IF_MATCH: &str = "ifMatch";

/// A file. Fields that the answer does not have are empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DriveFile {
    pub(super) id: String,
    pub(super) name: String,
    /// Time of the creation, as the drive gives it: RFC 3339 in UTC with milliseconds.
    pub(super) created_time: String,
    head_revision_id: String,
    md5_checksum: String,
    /// A number as text.
    size: String,
    app_properties: BTreeMap<String, String>,
    pub(super) trashed: bool,
}

/// A file as version 2 of the API describes it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TaggedFile {
    pub(super) id: String,
    /// Changes with every change of the file. Empty if the drive tells none.
    pub(super) etag: String,
    head_revision_id: String,
    md5_checksum: String,
}

/// Content of a file: its version and its checksum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileContent {
    /// `headRevisionId`.
    pub(super) revision: CompactString,
    /// MD5 of the bytes, in hex.
    pub(super) md5: CompactString,
}

impl DriveFile {
    /// The key of the object in this file, if it is an object of Rollcall. A file that a person has
    /// renamed keeps it.
    pub(super) fn key(&self) -> Option<KeyDigest> {
        KeyDigest::from_hex(self.app_properties.get(KEY)?)
    }

    /// The path of the object, which is the name of the file. `None` if the file has no key or
    /// another name.
    pub(super) fn path(&self) -> Option<&str> {
        (self.key()? == KeyDigest::of(&self.name)).then_some(&self.name)
    }

    /// Size of the content in bytes; 0 if the answer does not have it.
    pub(super) fn bytes(&self) -> u64 {
        self.size.parse().unwrap_or(0)
    }

    /// Whether the file was made by Rollcall for an object, or for a block of a table.
    pub(super) fn is_ours(&self) -> bool {
        self.app_properties.contains_key(TABLE)
    }

    /// The id of the slot table that the file belongs to.
    pub(super) fn table(&self) -> Option<Uuid> {
        self.app_properties.get(TABLE)?.parse().ok()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.app_properties.contains_key(DELETED)
    }

    pub(super) fn is_chosen(&self) -> bool {
        self.app_properties.contains_key(CHOSEN)
    }

    /// Whether a check has found that the drive honours `If-Match`. Only the first block says it.
    pub(super) fn honours_if_match(&self) -> bool {
        self.app_properties.contains_key(IF_MATCH)
    }

    /// The version and the checksum, if the answer has both.
    pub(super) fn content(&self) -> Option<FileContent> {
        FileContent::new(&self.head_revision_id, &self.md5_checksum)
    }

    /// The same file with other content.
    pub(super) fn with_content(&self, content: &FileContent) -> Self {
        Self { head_revision_id: content.revision.to_string(), md5_checksum: content.md5.to_string(), ..self.clone() }
    }
}

impl TaggedFile {
    /// The version and the checksum, if the answer has both.
    pub(super) fn content(&self) -> Option<FileContent> {
        FileContent::new(&self.head_revision_id, &self.md5_checksum)
    }
}

impl FileContent {
    fn new(revision: &str, md5: &str) -> Option<Self> {
        (!revision.is_empty() && !md5.is_empty()).then(|| Self { revision: revision.into(), md5: md5.into() })
    }
}

/// Metadata of the file of a new object.
pub(super) fn object(id: &str, path: &str, media_type: &str, folder: &str, table: Uuid) -> Value {
    json!({
        "id": id, "name": path, "mimeType": media_type, "parents": [folder],
        "appProperties": { KEY: KeyDigest::of(path).hex(), TABLE: table },
    })
}

/// Metadata of the file of a block.
pub(super) fn block(name: &str, media_type: &str, folder: &str, table: Uuid) -> Value {
    json!({ "name": name, "mimeType": media_type, "parents": [folder], "appProperties": { TABLE: table } })
}

/// Change of metadata that marks an object as deleted.
pub(super) fn deletion() -> Value {
    json!({ "appProperties": { DELETED: "1" } })
}

/// Change of metadata that makes an object exist again. A null removes a property.
pub(super) fn revival() -> Value {
    json!({ "appProperties": { DELETED: null } })
}

/// Change of metadata that marks a block as the one that all nodes use.
pub(super) fn choice() -> Value {
    json!({ "appProperties": { CHOSEN: "1" } })
}

/// Change of metadata of the first block after a check.
pub(super) fn if_match(is_honoured: bool) -> Value {
    json!({ "appProperties": { IF_MATCH: is_honoured.then_some("1") } })
}
