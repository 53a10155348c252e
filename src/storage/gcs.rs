//! Store in a bucket of Google Cloud Storage. A Firebase bucket is such a bucket too.
//!
//! Reads and writes use Google's crate. Lists and deletes are JSON requests with the same
//! credentials, because the crate offers them over gRPC only. The version of an object is its
//! generation, the number that Cloud Storage gives each write. A write with the condition
//! "generation 0" is create-only. Google's crate never retries here: the policy of
//! [`Bucket`](super::Bucket) is the only one.

mod access;
mod json_api;
mod request_failure;

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use compact_str::format_compact;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage;
use google_cloud_storage::read_resume_policy::NeverResume;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::json_api::JsonApi;
use self::request_failure::RequestFailure;
use super::{Backend, BackendError, Folder, Key, ListPage, MAX_OBJECT_BYTES, Object, ObjectVersion};

/// Endpoint of Cloud Storage, unless an emulator replaces it.
const GOOGLE_ENDPOINT: &str = "https://storage.googleapis.com";
/// Size from which Google's crate uploads an object in several requests, in bytes. Above the
/// largest object, so that every upload is one request.
const RESUMABLE_UPLOAD_THRESHOLD_BYTES: usize = MAX_OBJECT_BYTES + 1;

/// Configuration of a [`GcsBackend`]: bucket, endpoint and credentials.
#[derive(Clone, Debug)]
pub struct GcsConfig {
    bucket: String,
    endpoint: Option<String>,
    key_file: Option<PathBuf>,
    page_size: usize,
}

impl GcsConfig {
    /// Most names per page of a listing that Cloud Storage allows, and the default.
    pub const MAX_PAGE_SIZE: usize = 1000;

    /// A bucket at Google, with the credentials in `key_file` (`GOOGLE_APPLICATION_CREDENTIALS`).
    /// The name may have the form `gs://name`.
    #[must_use]
    pub fn google(bucket: &str, key_file: PathBuf) -> Self {
        Self { bucket: bucket.to_owned(), endpoint: None, key_file: Some(key_file), page_size: Self::MAX_PAGE_SIZE }
    }

    /// A bucket of an emulator, without credentials. `host` is `STORAGE_EMULATOR_HOST`:
    /// `host:port`, with or without `http://`.
    #[must_use]
    pub fn emulator(bucket: &str, host: &str) -> Self {
        let host = host.trim_end_matches('/');
        let endpoint = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Self { bucket: bucket.to_owned(), endpoint: Some(endpoint), key_file: None, page_size: Self::MAX_PAGE_SIZE }
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
    bucket: String,
    /// The bucket's name in the form that Google's crate requires.
    resource: String,
    endpoint: Option<String>,
}

impl GcsBackend {
    /// Reads the credentials and creates the clients. No request is sent: the first operation shows
    /// whether Google accepts the credentials and whether the bucket exists.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if the bucket's name or the key file is invalid. The error names
    /// the variable and the remedy.
    pub async fn connect(config: GcsConfig) -> Result<Self, BackendError> {
        let bucket = access::bucket_name(&config.bucket)?;
        let credentials = access::credentials(config.key_file.as_deref()).await?;
        access::install_tls_provider();
        let endpoint = config.endpoint.as_deref().unwrap_or(GOOGLE_ENDPOINT);
        let json = JsonApi::new(endpoint, &bucket, credentials.clone(), config.page_size)?;
        let client = Storage::builder()
            .with_endpoint(endpoint)
            .with_credentials(credentials)
            .with_retry_policy(NeverRetry)
            .with_read_resume_policy(NeverResume)
            .with_resumable_upload_threshold(RESUMABLE_UPLOAD_THRESHOLD_BYTES)
            .build()
            .await
            .map_err(|error| BackendError::Permanent(format!("cannot make a client for {endpoint}: {error}")))?;
        let resource = format!("projects/_/buckets/{bucket}");
        Ok(Self { client, json, bucket, resource, endpoint: config.endpoint })
    }

    async fn write(&self, key: &Key, generation: i64, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        let write = self.client.write_object(&self.resource, key.path(), bytes);
        // With this condition a repeated write cannot replace the object a second time.
        let write = write.set_if_generation_match(generation).set_content_type(key.media_type());
        // Boxed, because this future is 29 KB large.
        match Box::pin(write.send_unbuffered()).await {
            Ok(object) => Ok(version(object.generation)),
            Err(error) => Err(RequestFailure::from_google(&error).into_write_error(&self.bucket)),
        }
    }

    async fn read(&self, key: &Key) -> Result<Object, google_cloud_storage::Error> {
        // Google's crate puts the name into the URL of a read without encoding every character: "%"
        // and "\" are missing. It leaves an encoded name as it is. Writes do not need this.
        let name = utf8_percent_encode(&key.path(), NON_ALPHANUMERIC).to_string();
        let mut response = self.client.read_object(&self.resource, name).send().await?;
        let version = version(response.object().generation);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.next().await.transpose()? {
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
        self.write(key, 0, bytes).await
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
            Ok(generation) if generation > 0 => self.write(key, generation, bytes).await,
            _ => Err(BackendError::Precondition),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        match self.read(key).await {
            Ok(entry) if entry.bytes.len() > MAX_OBJECT_BYTES => Err(BackendError::Unreadable(format!(
                "{key} is larger than {MAX_OBJECT_BYTES} bytes; Rollcall did not write it, move it away"
            ))),
            Ok(entry) => Ok(Some(entry)),
            Err(error) => match RequestFailure::from_google(&error) {
                failure if failure.is_object_not_found() => Ok(None),
                failure => Err(failure.into_error(&self.bucket)),
            },
        }
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        self.json.list(folder, page).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        self.json.delete(key).await
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
