//! Client of the Drive API: the calls that Rollcall needs, each with the parameters of shared
//! drives. All are calls of version 3 but two: only version 2 has etags. A request is sent once,
//! and once more with a new token if the drive did not accept the first one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::super::error_text::error_chain;
use super::super::google::{
    CredentialsFile, GoogleApi, MAX_ERROR_BODY_BYTES, Refusal, TokenSource, UploadBody, install_tls_provider,
    random_boundary, read_at_most,
};
use super::super::{BackendError, MAX_OBJECT_BYTES};
use super::config::DriveConfig;
use super::drive_failure::DriveFailure;
use super::drive_file::{DriveFile, FIELDS, TAGGED_FIELDS, TaggedFile};
use super::slot_table::BLOCK_SLOTS;

/// Endpoint of Google's APIs, unless a stand-in replaces it.
const GOOGLE_ENDPOINT: &str = "https://www.googleapis.com";

/// Paths of calls, in parts.
const FILES: [&str; 4] = ["", "drive", "v3", "files"];
const UPLOADS: [&str; 4] = ["upload", "drive", "v3", "files"];
const FILES_V2: [&str; 4] = ["", "drive", "v2", "files"];
const UPLOADS_V2: [&str; 4] = ["upload", "drive", "v2", "files"];

/// Types of answers. They tell an empty answer from an empty JSON object.
const LIST_KIND: &str = "drive#fileList";
const IDS_KIND: &str = "drive#generatedIds";

/// Time for which an answer from within the folder shows that the account may see the folder. A
/// drive answers "not found" for a missing file, and also for all files if the account has lost its
/// access. Without this proof that would look like an empty bucket.
const ACCESS_PROOF: Duration = Duration::from_secs(10);

/// Client of one folder of a shared drive.
#[derive(Debug)]
pub(super) struct DriveClient {
    http: Client,
    tokens: TokenSource,
    endpoint: Url,
    drive: String,
    folder: String,
    page_size: usize,
    /// When the drive last showed a file of the folder, or the folder.
    accessed_at: Mutex<Option<Instant>>,
    access: FolderAccess,
}

/// Right of a client in the folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FolderAccess {
    /// Read and write.
    ReadWrite,
    /// Read. A write fails, and sends no request.
    ReadOnly,
}

/// One page of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FileList {
    kind: String,
    incomplete_search: bool,
    pub(super) files: Vec<DriveFile>,
    pub(super) next_page_token: Option<String>,
}

/// The folder as the drive describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FolderInfo {
    pub(super) id: String,
    pub(super) mime_type: String,
    /// The shared drive that contains it. `None` if it is on no shared drive.
    pub(super) drive_id: Option<String>,
    pub(super) trashed: bool,
    pub(super) capabilities: Capabilities,
}

/// Rights of the account on the folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Capabilities {
    pub(super) can_add_children: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GeneratedIds {
    kind: String,
    ids: Vec<String>,
}

impl DriveClient {
    /// Reads the credentials and creates the client. No request is sent.
    pub(super) async fn new(config: &DriveConfig, access: FolderAccess) -> Result<Self, BackendError> {
        install_tls_provider();
        let key_file = match &config.endpoint {
            Some(_) => None,
            None => Some(CredentialsFile::read(&config.credentials, GoogleApi::Drive).await?),
        };
        let endpoint = config.endpoint.as_deref().unwrap_or(GOOGLE_ENDPOINT);
        let endpoint = Url::parse(endpoint).map_err(|error| {
            BackendError::Permanent(format!("DRIVE_EMULATOR_HOST {endpoint:?} is not an address: {error}"))
        })?;
        // The API never redirects. A redirect comes from a proxy, which must not get the token.
        let http = Client::builder().redirect(redirect::Policy::none()).build();
        Ok(Self {
            http: http.map_err(|error| BackendError::Permanent(error_chain(&error)))?,
            tokens: TokenSource::new(key_file)?,
            endpoint,
            drive: config.drive.clone(),
            folder: config.folder.clone(),
            page_size: config.page_size,
            accessed_at: Mutex::default(),
            access,
        })
    }

    pub(super) fn access(&self) -> FolderAccess {
        self.access
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// The folder. `None` if it does not exist, or the account may not see it.
    pub(super) async fn folder_info(&self) -> Result<Option<FolderInfo>, DriveFailure> {
        let fields = "id,mimeType,driveId,trashed,capabilities(canAddChildren)";
        let request = self
            .http
            .get(self.url(FILES, Some(&self.folder)))
            .query(&[("supportsAllDrives", "true"), ("fields", fields)]);
        match self.fetch::<FolderInfo>(request).await {
            Ok(info) if info.id == self.folder => {
                self.note_access();
                Ok(Some(info))
            }
            Ok(_) => Err(DriveFailure::Unproven("the response is not about the folder".to_owned())),
            Err(failure) if failure.is_file_not_found(&self.folder) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reserves the ids of one block.
    pub(super) async fn generate_ids(&self) -> Result<Vec<String>, DriveFailure> {
        let url = self.url(FILES, Some("generateIds"));
        let request = self.http.get(url).query(&[
            ("count", &*BLOCK_SLOTS.to_string()),
            ("space", "drive"),
            ("fields", "kind,ids"),
        ]);
        let generated: GeneratedIds = self.fetch(request).await?;
        if generated.kind == IDS_KIND && generated.ids.len() == BLOCK_SLOTS {
            return Ok(generated.ids);
        }
        Err(DriveFailure::Unproven(format!("the drive gave {} ids instead of {BLOCK_SLOTS}", generated.ids.len())))
    }

    /// Creates a file. If the metadata has an id, only one create of all succeeds.
    pub(super) async fn create(
        &self,
        metadata: &Value,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<DriveFile, DriveFailure> {
        let file = self.upload(Method::POST, None, metadata, media_type, bytes).await?;
        match metadata["id"].as_str() {
            Some(id) if id != file.id => Err(DriveFailure::Unproven("the drive created another file".to_owned())),
            _ => Ok(file),
        }
    }

    /// Replaces the content of a file, and changes its metadata.
    pub(super) async fn update(
        &self,
        id: &str,
        metadata: &Value,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<DriveFile, DriveFailure> {
        about(id, self.upload(Method::PATCH, Some(id), metadata, media_type, bytes).await?)
    }

    /// Changes the metadata of a file, and not its content.
    pub(super) async fn change(&self, id: &str, metadata: &Value) -> Result<DriveFile, DriveFailure> {
        self.require_write()?;
        let request = self
            .http
            .patch(self.url(FILES, Some(id)))
            .query(&[("supportsAllDrives", "true"), ("fields", FIELDS)])
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(metadata.to_string());
        about(id, self.fetch(request).await?)
    }

    /// The etag of a file.
    pub(super) async fn tag(&self, id: &str) -> Result<TaggedFile, DriveFailure> {
        let url = self.url(FILES_V2, Some(id));
        let request = self.http.get(url).query(&[("supportsAllDrives", "true"), ("fields", TAGGED_FIELDS)]);
        let file: TaggedFile = self.fetch(request).await?;
        if file.id == id { Ok(file) } else { Err(other_file()) }
    }

    /// Replaces the content of a file if it still has this etag.
    pub(super) async fn replace_tagged(
        &self,
        id: &str,
        etag: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<TaggedFile, DriveFailure> {
        self.require_write()?;
        let request = self
            .http
            .put(self.url(UPLOADS_V2, Some(id)))
            .query(&[("uploadType", "media"), ("supportsAllDrives", "true"), ("fields", TAGGED_FIELDS)])
            .header(http::header::IF_MATCH, etag)
            .header(http::header::CONTENT_TYPE, media_type)
            .body(bytes.clone());
        let file: TaggedFile = self.fetch(request).await?;
        if file.id == id && file.content().is_some() { Ok(file) } else { Err(other_file()) }
    }

    async fn upload(
        &self,
        method: Method,
        id: Option<&str>,
        metadata: &Value,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<DriveFile, DriveFailure> {
        self.require_write()?;
        let upload = UploadBody::new(metadata, media_type, bytes, random_boundary());
        let request = self
            .http
            .request(method, self.url(UPLOADS, id))
            .query(&[("uploadType", "multipart"), ("supportsAllDrives", "true"), ("fields", FIELDS)])
            .header(http::header::CONTENT_TYPE, upload.content_type)
            .body(upload.body);
        let file: DriveFile = self.fetch(request).await?;
        if file.content().is_none() {
            return Err(DriveFailure::Unproven("the response to the upload names no revision or checksum".to_owned()));
        }
        self.note_access();
        Ok(file)
    }

    /// The description of a file. `None` if there is none with this id, trash included.
    pub(super) async fn get(&self, id: &str) -> Result<Option<DriveFile>, DriveFailure> {
        let request =
            self.http.get(self.url(FILES, Some(id))).query(&[("supportsAllDrives", "true"), ("fields", FIELDS)]);
        match self.fetch::<DriveFile>(request).await {
            Ok(file) if file.id == id => {
                self.note_access();
                Ok(Some(file))
            }
            Ok(_) => Err(DriveFailure::Unproven("the response is about another file".to_owned())),
            Err(failure) if failure.is_file_not_found(id) => {
                self.prove_access().await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The content of a file. `None` if there is no such file.
    pub(super) async fn media(&self, id: &str) -> Result<Option<Bytes>, DriveFailure> {
        let request =
            self.http.get(self.url(FILES, Some(id))).query(&[("supportsAllDrives", "true"), ("alt", "media")]);
        match self.send(request).await {
            Ok(body) => Ok(Some(body.into())),
            Err(failure) if failure.is_file_not_found(id) => {
                self.prove_access().await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// One page of the files in the folder that meet a condition, trash included. An empty
    /// condition is met by all. Files by parent and type are listed at once after their creation;
    /// files by name are not.
    pub(super) async fn list(&self, condition: &str, page: Option<&str>) -> Result<FileList, DriveFailure> {
        let and = if condition.is_empty() { "" } else { " and " };
        let search = format!("'{}' in parents{and}{condition}", self.folder);
        let page_size = self.page_size.to_string();
        let fields = format!("kind,incompleteSearch,nextPageToken,files({FIELDS})");
        let mut query = vec![
            ("corpora", "drive"),
            ("driveId", &self.drive),
            ("includeItemsFromAllDrives", "true"),
            ("supportsAllDrives", "true"),
            ("q", &search),
            ("pageSize", &page_size),
            ("fields", &fields),
        ];
        query.extend(page.map(|token| ("pageToken", token)));
        let mut list: FileList = self.fetch(self.http.get(self.url(FILES, None)).query(&query)).await?;
        if list.kind != LIST_KIND || list.incomplete_search {
            return Err(DriveFailure::Unproven("the response is no complete listing".to_owned()));
        }
        list.next_page_token = list.next_page_token.filter(|token| !token.is_empty());
        // A folder that the account may no longer see must not look like an empty one.
        if list.files.is_empty() {
            self.prove_access().await?;
        } else {
            self.note_access();
        }
        Ok(list)
    }

    /// Checks that the account may see the folder, unless it was seen just now.
    async fn prove_access(&self) -> Result<(), DriveFailure> {
        let accessed_at = *self.accessed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if accessed_at.is_some_and(|at| at.elapsed() < ACCESS_PROOF) {
            return Ok(());
        }
        match self.folder_info().await? {
            Some(_) => Ok(()),
            None => Err(DriveFailure::FolderNotFound),
        }
    }

    fn note_access(&self) {
        *self.accessed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn require_write(&self) -> Result<(), DriveFailure> {
        match self.access {
            FolderAccess::ReadWrite => Ok(()),
            FolderAccess::ReadOnly => Err(DriveFailure::ReadOnly),
        }
    }

    /// The URL of a call, for one file or for all.
    fn url(&self, path: [&str; 4], id: Option<&str>) -> Url {
        let mut url = self.endpoint.clone();
        let path = path.into_iter().filter(|part| !part.is_empty());
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(path).extend(id);
        url
    }

    /// Sends a request whose response is JSON. The fields of the response prove the success, so
    /// they must be there.
    async fn fetch<T: for<'a> Deserialize<'a>>(&self, request: RequestBuilder) -> Result<T, DriveFailure> {
        let unproven =
            |why: &dyn std::fmt::Display| DriveFailure::Unproven(format!("the response cannot be read: {why}"));
        match self.send(request).await {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| unproven(&error)),
            // This is no file, so no file is too large. A write may have taken effect.
            Err(DriveFailure::TooLarge) => Err(unproven(&"it is too long")),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a request, and sends it once more with a new token if the first one was refused.
    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, DriveFailure> {
        let again = request.try_clone();
        let generation = self.tokens.generation();
        match (self.send_once(request).await, again) {
            (Err(failure), Some(again)) if failure.is_unauthorized() => {
                self.tokens.refused(generation);
                self.send_once(again).await
            }
            (result, _) => result,
        }
    }

    async fn send_once(&self, request: RequestBuilder) -> Result<Vec<u8>, DriveFailure> {
        let unproven = |error: reqwest::Error| DriveFailure::Unproven(error_chain(&error));
        let headers = self.tokens.token_headers().await.map_err(DriveFailure::Credentials)?;
        let response = request.headers(headers).send().await.map_err(unproven)?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let (body, _) = read_at_most(response, MAX_ERROR_BODY_BYTES).await.map_err(unproven)?;
            return Err(DriveFailure::Refused(Refusal::parse(status.as_u16(), &headers, &body)));
        }
        match read_at_most(response, MAX_OBJECT_BYTES + 1).await.map_err(unproven)? {
            (body, true) => Ok(body),
            (_, false) => Err(DriveFailure::TooLarge),
        }
    }
}

/// The file, if an answer is about the one with this id.
fn about(id: &str, file: DriveFile) -> Result<DriveFile, DriveFailure> {
    if file.id == id { Ok(file) } else { Err(other_file()) }
}

fn other_file() -> DriveFailure {
    DriveFailure::Unproven("the response does not prove a change of the file".to_owned())
}
