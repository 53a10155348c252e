//! Store in a bucket of Google Cloud Storage. A Firebase bucket is such a bucket too.
//!
//! Reads use Google's client, which verifies the checksum of the bytes. Uploads, lists and deletes
//! are JSON requests with the same tokens: the client offers lists and deletes over gRPC only, and
//! its uploads have no Content-Type in their second part, which emulators refuse, and no checksum
//! in the first. The version of an object is its generation, the number that Cloud Storage gives
//! each write. A write with the condition "generation 0" is create-only. Nothing is retried here,
//! except that a request with a refused token is repeated once with a new one.

mod anonymous_requests;
mod json_api;
mod request_failure;

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use compact_str::format_compact;
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage;
use google_cloud_storage::read_resume_policy::NeverResume;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::anonymous_requests::AnonymousRequests;
use self::json_api::JsonApi;
use self::request_failure::RequestFailure;
use super::google::{CredentialsFile, GoogleApi, TokenSource, install_tls_provider};
use super::{AnonymousReader, Backend, BackendError, Folder, Key, ListPage, MAX_OBJECT_BYTES, Object, ObjectVersion};
use rollcall_core::BucketName;

/// Endpoint of Cloud Storage, unless an emulator replaces it.
const GOOGLE_ENDPOINT: &str = "https://storage.googleapis.com";

/// Endpoint of Firebase Storage, whose rules decide what apps and browsers may read.
const FIREBASE_ENDPOINT: &str = "https://firebasestorage.googleapis.com";

/// Configuration of a [`GcsBackend`]: bucket, endpoint and credentials.
#[derive(Clone, Debug)]
pub struct GcsConfig {
    bucket: BucketName,
    endpoint: Option<String>,
    key_file: Option<PathBuf>,
    page_size: usize,
}

impl GcsConfig {
    /// Most names per page of a listing that Cloud Storage allows, and the default.
    pub const MAX_PAGE_SIZE: usize = 1000;

    /// A bucket at Google, with the credentials in `key_file` (`GOOGLE_APPLICATION_CREDENTIALS`).
    #[must_use]
    pub fn google(bucket: &BucketName, key_file: PathBuf) -> Self {
        Self { bucket: bucket.clone(), endpoint: None, key_file: Some(key_file), page_size: Self::MAX_PAGE_SIZE }
    }

    /// A bucket of an emulator, without credentials. `host` is `STORAGE_EMULATOR_HOST`:
    /// `host:port`, with or without `http://`.
    #[must_use]
    pub fn emulator(bucket: &BucketName, host: &str) -> Self {
        let host = host.trim_end_matches('/');
        let endpoint = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Self { bucket: bucket.clone(), endpoint: Some(endpoint), key_file: None, page_size: Self::MAX_PAGE_SIZE }
    }

    /// The same bucket with the credentials in `key_file`, also at an emulator.
    #[must_use]
    pub fn with_key_file(self, key_file: PathBuf) -> Self {
        Self { key_file: Some(key_file), ..self }
    }

    /// The same bucket with another number of names per page of a listing.
    #[must_use]
    pub fn with_page_size(self, names: usize) -> Self {
        Self { page_size: names.clamp(1, Self::MAX_PAGE_SIZE), ..self }
    }
}

/// A bucket of Google Cloud Storage.
#[derive(Debug)]
pub struct GcsBackend {
    client: Storage,
    json: JsonApi,
    /// `None` if there are no credentials: an emulator shows everything to everybody.
    anonymous: Option<AnonymousRequests>,
    tokens: TokenSource,
    bucket: BucketName,
    /// The bucket's name in the form that Google's client requires.
    resource: String,
    endpoint: Option<String>,
}

impl GcsBackend {
    /// Reads the credentials and creates the clients. No request is sent: the first operation shows
    /// whether Google accepts the credentials and whether the bucket exists.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the key file or the endpoint is invalid. The error names the
    /// variable and the remedy, and shows nothing of the key.
    pub async fn connect(config: GcsConfig) -> Result<Self, BackendError> {
        install_tls_provider();
        let key_file = match &config.key_file {
            Some(path) => Some(CredentialsFile::read(path, GoogleApi::Storage).await?),
            None => None,
        };
        let tokens = TokenSource::new(key_file)?;
        let endpoint = config.endpoint.as_deref().unwrap_or(GOOGLE_ENDPOINT);
        let json = JsonApi::new(endpoint, config.bucket.as_str(), tokens.clone(), config.page_size)?;
        let firebase = config.endpoint.as_deref().unwrap_or(FIREBASE_ENDPOINT);
        let anonymous = match &config.key_file {
            Some(_) => Some(AnonymousRequests::new(endpoint, firebase, config.bucket.as_str())?),
            None => None,
        };
        let client = Storage::builder()
            .with_endpoint(endpoint)
            .with_credentials(Credentials::from(tokens.clone()))
            .with_retry_policy(NeverRetry)
            .with_read_resume_policy(NeverResume)
            .build()
            .await
            .map_err(|error| BackendError::Permanent(format!("cannot make a client for {endpoint}: {error}")))?;
        let resource = format!("projects/_/buckets/{}", config.bucket);
        Ok(Self { client, json, anonymous, tokens, bucket: config.bucket, resource, endpoint: config.endpoint })
    }

    async fn write(&self, key: &Key, generation: i64, bytes: &Bytes) -> Result<ObjectVersion, BackendError> {
        // With this condition a repeated write cannot replace the object a second time.
        let written = self.with_token(|| self.json.upload(key, generation, bytes)).await;
        written.map(version).map_err(RequestFailure::into_write_error)
    }

    /// Sends a request, and sends it once more with a new token if the server did not accept the
    /// first one.
    async fn with_token<T, F, R>(&self, request: R) -> Result<T, RequestFailure>
    where
        R: Fn() -> F + Send + Sync,
        F: Future<Output = Result<T, RequestFailure>> + Send,
        T: Send,
    {
        let generation = self.tokens.generation();
        match request().await {
            Err(failure) if failure.is_unauthorized() => {
                self.tokens.refused(generation);
                request().await
            }
            result => result,
        }
    }

    async fn read(&self, key: &Key) -> Result<Object, RequestFailure> {
        // Google's client puts the name into the URL of a read without encoding every character:
        // "%" and "\\" are missing. It leaves an encoded name as it is.
        let name = utf8_percent_encode(&key.path(), NON_ALPHANUMERIC).to_string();
        let failed = |error| RequestFailure::from_google(&error);
        let mut response = self.client.read_object(&self.resource, name).send().await.map_err(failed)?;
        let version = version(response.object().generation);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.next().await.transpose().map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            // `get` rejects such an object.
            if bytes.len() > MAX_OBJECT_BYTES {
                break;
            }
        }
        Ok(Object { bytes: bytes.freeze(), version })
    }
}

#[async_trait]
impl Backend for GcsBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.write(key, 0, &bytes).await
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        // A version that is not a generation comes from another store. Generation 0 would create
        // the object.
        match version.0.parse() {
            Ok(generation) if generation > 0 => self.write(key, generation, &bytes).await,
            _ => Err(BackendError::Precondition),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        match self.with_token(|| self.read(key)).await {
            Ok(object) if object.bytes.len() > MAX_OBJECT_BYTES => Err(BackendError::Unreadable(format!(
                "{key} is larger than {MAX_OBJECT_BYTES} bytes; Rollcall did not write it, move it away"
            ))),
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.is_object_not_found(&key.path()) => Ok(None),
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        self.with_token(|| self.json.list(folder, page)).await.map_err(RequestFailure::into_error)
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        self.with_token(|| self.json.delete(key)).await.map_err(RequestFailure::into_error)
    }

    fn anonymous_reader(&self) -> Option<&dyn AnonymousReader> {
        self.anonymous.as_ref().map(|requests| requests as _)
    }

    fn describe(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("bucket {} of the emulator at {endpoint}", self.bucket),
            None => format!("Cloud Storage bucket {}", self.bucket),
        }
    }
}

fn version(generation: i64) -> ObjectVersion {
    ObjectVersion(format_compact!("{generation}"))
}
