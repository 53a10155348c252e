//! The files of the stand-in, and the calls of the API.

pub(super) mod version_2;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use http::{HeaderMap, Response};
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::answer::{DriveError, json as answer, select};
use super::query::{Condition, Parameters, conditions};
use super::{DRIVE, FOLDER, FolderState, IfMatch};

/// Time until a new file appears in lists by name.
const NAME_LAG: Duration = Duration::from_secs(5);

/// Most files on a page, whatever the request asks for, as on shared drives.
const PAGE_SIZE: usize = 100;

/// The media type of folders.
const FOLDER_TYPE: &str = "application/vnd.google-apps.folder";

/// All files of the drive.
pub(super) struct Files {
    pub(super) folder: FolderState,
    pub(super) page_size: usize,
    pub(super) if_match: IfMatch,
    pub(super) accepts_ids_again: bool,
    /// Days since the first day.
    pub(super) day: u64,
    by_id: BTreeMap<String, File>,
    /// Ids that were given out and not used.
    reserved: HashSet<String>,
    /// Ids of all files that ever were.
    used: HashSet<String>,
    /// Number of writes so far. Ids, times and revisions come from it.
    writes: u64,
    /// Name and content of each write so far.
    history: Vec<(String, Bytes)>,
}

struct File {
    name: String,
    media_type: String,
    parents: Vec<String>,
    properties: Map<String, Value>,
    bytes: Bytes,
    /// Number of the write that created the file. It is the file's place in lists.
    created: u64,
    created_at: Instant,
    /// Day of the creation.
    day: u64,
    revision: u64,
    /// Number of the last write, of metadata too. The etag comes from it.
    version: u64,
    trashed: bool,
    is_listed: bool,
}

/// Content of an upload: metadata, and bytes with their media type.
pub(super) struct Upload {
    pub(super) metadata: Map<String, Value>,
    media_type: String,
    pub(super) bytes: Bytes,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            folder: FolderState::default(),
            page_size: PAGE_SIZE,
            if_match: IfMatch::default(),
            accepts_ids_again: false,
            day: 0,
            by_id: BTreeMap::new(),
            reserved: HashSet::new(),
            used: HashSet::new(),
            writes: 0,
            history: Vec::new(),
        }
    }
}

impl Upload {
    /// Reads the two parts of a body.
    pub(super) fn parse(parameters: &Parameters, headers: &HeaderMap, body: &Bytes) -> Result<Self, DriveError> {
        if parameters.get("uploadType") != "multipart" {
            return Err(DriveError::invalid("uploadType must be multipart"));
        }
        let malformed = || DriveError::new(400, "badContent", "Malformed multipart body.");
        let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = content_type.strip_prefix("multipart/related; boundary=").ok_or_else(malformed)?;
        let delimiter = format!("--{boundary}\r\n").into_bytes();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        let rest =
            body.strip_prefix(&delimiter[..]).and_then(|rest| rest.strip_suffix(&end[..])).ok_or_else(malformed)?;
        let (metadata, media) = split_at(rest, &[b"\r\n", &delimiter[..]].concat()).ok_or_else(malformed)?;
        let (_, metadata) = split_at(metadata, b"\r\n\r\n").ok_or_else(malformed)?;
        let (head, bytes) = split_at(media, b"\r\n\r\n").ok_or_else(malformed)?;
        let head = String::from_utf8_lossy(head);
        let media_type = head.strip_prefix("Content-Type: ").ok_or_else(malformed)?.to_owned();
        let metadata = serde_json::from_slice(metadata).map_err(|_| malformed())?;
        Ok(Self { metadata, media_type, bytes: Bytes::copy_from_slice(bytes) })
    }
}

impl Files {
    pub(super) fn generate_ids(&mut self, parameters: &Parameters) -> Result<Response<Bytes>, DriveError> {
        let count: usize = parameters.get("count").parse().unwrap_or(10);
        if !(1..=1000).contains(&count) || !matches!(parameters.get("space"), "" | "drive") {
            return Err(DriveError::invalid("Invalid Value"));
        }
        let ids: Vec<String> = (0..count).map(|_| Self::new_id()).collect();
        self.reserved.extend(ids.iter().cloned());
        let body = json!({ "kind": "drive#generatedIds", "space": "drive", "ids": ids });
        Ok(selected(&body, parameters, "kind,space,ids"))
    }

    pub(super) fn create(&mut self, parameters: &Parameters, upload: Upload) -> Result<Response<Bytes>, DriveError> {
        let parent =
            upload.metadata.get("parents").and_then(|parents| parents[0].as_str()).unwrap_or_default().to_owned();
        if !self.sees(parameters, &parent) {
            return Err(DriveError::file_not_found(&parent));
        }
        self.check_permission()?;
        let id = match upload.metadata.get("id").and_then(Value::as_str) {
            Some(id) if self.used.contains(id) && !self.accepts_ids_again => {
                return Err(DriveError::new(409, "fileIdInUse", "A file already exists with the provided ID."));
            }
            Some(id) if !self.used.contains(id) && !self.reserved.remove(id) => {
                return Err(DriveError::invalid("The provided file ID is not usable."));
            }
            Some(id) => id.to_owned(),
            None => Self::new_id(),
        };
        let text = |name: &str| upload.metadata.get(name).and_then(Value::as_str).map(str::to_owned);
        let (name, media_type) = (text("name"), text("mimeType").unwrap_or(upload.media_type));
        self.insert(id.clone(), name.unwrap_or_else(|| "Untitled".to_owned()), media_type, upload.bytes);
        self.change(&id, &upload.metadata)?;
        Ok(self.describe(&id, parameters))
    }

    pub(super) fn update(
        &mut self,
        parameters: &Parameters,
        id: &str,
        metadata: &Map<String, Value>,
        bytes: Option<Bytes>,
    ) -> Result<Response<Bytes>, DriveError> {
        if !self.sees(parameters, id) {
            return Err(DriveError::file_not_found(id));
        }
        self.check_permission()?;
        self.write(id, bytes)?;
        self.change(id, metadata)?;
        Ok(self.describe(id, parameters))
    }

    /// Counts a write of a file, and replaces the content if there is a new one.
    fn write(&mut self, id: &str, bytes: Option<Bytes>) -> Result<(), DriveError> {
        self.writes += 1;
        let file = self.by_id.get_mut(id).ok_or_else(|| DriveError::file_not_found(id))?;
        file.version = self.writes;
        if let Some(bytes) = bytes {
            (file.bytes, file.revision) = (bytes, self.writes);
            self.history.push((file.name.clone(), file.bytes.clone()));
        }
        Ok(())
    }

    pub(super) fn get(&self, parameters: &Parameters, id: &str) -> Result<Response<Bytes>, DriveError> {
        if !self.sees(parameters, id) {
            return Err(DriveError::file_not_found(id));
        }
        if parameters.get("alt") == "media" {
            let file = self.by_id.get(id).ok_or_else(|| {
                DriveError::new(403, "fileNotDownloadable", "Only files with binary content can be downloaded.")
            })?;
            return Ok(Response::new(file.bytes.clone()));
        }
        Ok(self.describe(id, parameters))
    }

    pub(super) fn list(&self, parameters: &Parameters) -> Result<Response<Bytes>, DriveError> {
        if !parameters.is_true("supportsAllDrives") || !parameters.is_true("includeItemsFromAllDrives") {
            let message = "The supportsAllDrives and includeItemsFromAllDrives parameters must be set to true.";
            return Err(DriveError::new(403, "teamDriveNotSupported", message));
        }
        if parameters.get("corpora") != "drive" || parameters.get("driveId").is_empty() {
            return Err(DriveError::invalid(
                "The driveId parameter must be specified if and only if corpora is set to drive.",
            ));
        }
        if parameters.get("driveId") != DRIVE {
            return Err(DriveError::new(
                404,
                "notFound",
                format!("Shared drive not found: {}", parameters.get("driveId")),
            ));
        }
        let mut conditions = conditions(parameters.get("q"))?;
        if self.folder == FolderState::Missing {
            // Nobody has tried whether Drive gives an error here. An empty list is the worse case.
            conditions.push(Condition::InFolder(String::new()));
        }
        let asked: usize = parameters.get("pageSize").parse().unwrap_or(PAGE_SIZE);
        if !(1..=1000).contains(&asked) {
            return Err(DriveError::invalid("Invalid value for pageSize"));
        }
        // The token is the creation number of the last file of the page before.
        let after: u64 = match parameters.get("pageToken") {
            "" => 0,
            token => token.parse().map_err(|_| DriveError::invalid("Invalid Value: pageToken"))?,
        };
        let mut found: Vec<(&String, &File)> = self.by_id.iter().filter(|(_, file)| file.created > after).collect();
        found.retain(|(_, file)| file.is_listed && conditions.iter().all(|condition| file.meets(condition)));
        found.sort_unstable_by_key(|(_, file)| file.created);
        let size = asked.min(self.page_size);
        let next = (found.len() > size).then(|| found[size - 1].1.created.to_string());
        found.truncate(size);
        let files: Vec<Value> = found.iter().map(|(id, file)| file.metadata(id)).collect();
        let mut body = json!({ "kind": "drive#fileList", "incompleteSearch": false, "files": files });
        if let Some(next) = next {
            body["nextPageToken"] = next.into();
        }
        Ok(selected(&body, parameters, "kind,incompleteSearch,nextPageToken,files(id,name,mimeType)"))
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.by_id.values().filter(|file| !file.trashed).map(|file| file.name.clone()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn contents(&self, name: &str) -> Vec<Bytes> {
        self.by_id.values().filter(|file| file.name == name).map(|file| file.bytes.clone()).collect()
    }

    pub(super) fn history(&self, name: &str) -> Vec<Bytes> {
        self.history.iter().filter(|(written, _)| written == name).map(|(_, bytes)| bytes.clone()).collect()
    }

    pub(super) fn put(&mut self, name: &str, media_type: &str, bytes: Bytes) {
        let id = Self::new_id();
        self.insert(id, name.to_owned(), media_type.to_owned(), bytes);
    }

    pub(super) fn expire_reserved_ids(&mut self) {
        self.reserved.clear();
    }

    pub(super) fn trash(&mut self, name: &str) {
        self.by_id.values_mut().filter(|file| file.name == name).for_each(|file| file.trashed = true);
    }

    pub(super) fn set_listed(&mut self, name: &str, is_listed: bool) {
        self.by_id.values_mut().filter(|file| file.name == name).for_each(|file| file.is_listed = is_listed);
    }

    pub(super) fn set_property(&mut self, name: &str, property: &str, value: &str) {
        for file in self.by_id.values_mut().filter(|file| file.name == name) {
            file.properties.insert(property.to_owned(), value.into());
        }
    }

    pub(super) fn purge(&mut self, name: &str) {
        self.by_id.retain(|_, file| file.name != name);
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.by_id.values_mut().filter(|file| file.name == from).for_each(|file| to.clone_into(&mut file.name));
    }

    /// Whether a request finds this file. On shared drives that needs a parameter. Without access
    /// to the folder there are no files in it either.
    fn sees(&self, parameters: &Parameters, id: &str) -> bool {
        let exists = id == FOLDER || self.by_id.contains_key(id);
        exists && self.folder != FolderState::Missing && parameters.is_true("supportsAllDrives")
    }

    fn check_permission(&self) -> Result<(), DriveError> {
        if self.folder != FolderState::ReadOnly {
            return Ok(());
        }
        let message = "The user does not have sufficient permissions for this file.";
        Err(DriveError::new(403, "insufficientFilePermissions", message))
    }

    fn new_id() -> String {
        // Random, so that the order of ids is not the order of creation, and no two servers give
        // the same id.
        format!("1{:032x}", rand::random::<u128>())
    }

    fn insert(&mut self, id: String, name: String, media_type: String, bytes: Bytes) {
        self.writes += 1;
        self.history.push((name.clone(), bytes.clone()));
        self.used.insert(id.clone());
        let file = File {
            name,
            media_type,
            parents: vec![FOLDER.to_owned()],
            properties: Map::new(),
            bytes,
            created: self.writes,
            created_at: Instant::now(),
            day: self.day,
            revision: self.writes,
            version: self.writes,
            trashed: false,
            is_listed: true,
        };
        self.by_id.insert(id, file);
    }

    /// Changes the properties of a file. A null removes one.
    fn change(&mut self, id: &str, metadata: &Map<String, Value>) -> Result<(), DriveError> {
        let Some(properties) = metadata.get("appProperties").and_then(Value::as_object) else { return Ok(()) };
        let file = self.by_id.get_mut(id).expect("it was just written");
        for (name, value) in properties {
            match value.as_str() {
                Some(text) if name.len() + text.len() > 124 => {
                    return Err(DriveError::invalid("A property has at most 124 bytes."));
                }
                Some(_) => drop(file.properties.insert(name.clone(), value.clone())),
                None => drop(file.properties.remove(name)),
            }
        }
        Ok(())
    }

    fn describe(&self, id: &str, parameters: &Parameters) -> Response<Bytes> {
        let metadata = match self.by_id.get(id) {
            Some(file) => file.metadata(id),
            None => self.folder.metadata(),
        };
        selected(&metadata, parameters, "kind,id,name,mimeType")
    }
}

impl File {
    fn meets(&self, condition: &Condition) -> bool {
        match condition {
            Condition::InFolder(folder) => self.parents.contains(folder),
            Condition::Name(name) => self.name == *name && self.created_at.elapsed() >= NAME_LAG,
            Condition::Type(media_type) => self.media_type == *media_type,
            Condition::TypeContains(text) => self.media_type.starts_with(text),
            Condition::Trashed(trashed) => self.trashed == *trashed,
        }
    }

    fn metadata(&self, id: &str) -> Value {
        let md5 = Md5::digest(&self.bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        // Two files in a row have the same time.
        let ms = self.created / 4;
        let (day, minute, second, ms) = (1 + self.day, ms / 60_000, ms / 1000 % 60, ms % 1000);
        let mut metadata = json!({
            "kind": "drive#file", "id": id, "name": self.name, "mimeType": self.media_type, "parents": self.parents,
            "driveId": DRIVE, "createdTime": format!("2026-01-{day:02}T00:{minute:02}:{second:02}.{ms:03}Z"),
            "headRevisionId": format!("r{:08}", self.revision), "md5Checksum": md5,
            "size": self.bytes.len().to_string(), "trashed": self.trashed,
        });
        if !self.properties.is_empty() {
            metadata["appProperties"] = Value::Object(self.properties.clone());
        }
        metadata
    }
}

impl FolderState {
    fn metadata(self) -> Value {
        let mut metadata = json!({
            "kind": "drive#file", "id": FOLDER, "name": "registered-users", "mimeType": FOLDER_TYPE, "driveId": DRIVE,
            "trashed": self == Self::Trashed, "capabilities": { "canAddChildren": self != Self::ReadOnly, "canEdit": true },
        });
        match self {
            Self::OnAnotherDrive => metadata["driveId"] = "0Another-Drive".into(),
            Self::OnNoSharedDrive => drop(metadata.as_object_mut().expect("an object").remove("driveId")),
            Self::File => metadata["mimeType"] = "text/plain".into(),
            Self::Writable | Self::ReadOnly | Self::Missing | Self::Trashed => {}
        }
        metadata
    }
}

/// A response with the fields that the request asked for.
fn selected(body: &Value, parameters: &Parameters, default: &str) -> Response<Bytes> {
    let fields = parameters.get("fields");
    let fields = if fields.is_empty() { default } else { fields };
    answer(&Value::Object(select(body.as_object().expect("an object"), fields)))
}

/// The bytes before and after the first place of `separator`.
fn split_at<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}
