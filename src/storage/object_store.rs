//! Store in a bucket of S3 or a container of Azure Blob Storage, through the crate `object_store`.
//!
//! The crate signs requests, gets credentials, and reads listings. The version of an object is its
//! `ETag`, as the store gives it. The crate never retries here: the policy of
//! [`Bucket`](super::Bucket) is the only one. [`http_transport`] sends the requests and bounds
//! the responses, and [`remedies`] explains failures.

mod azure_names;
mod config;
mod connect;
mod credentials;
mod http_failure;
mod http_transport;
mod listing;
mod remedies;
mod secrets;

use std::error::Error as _;
use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

use self::http_failure::{HttpFailure, Responder};
use self::http_transport::ListingRequest;
use self::remedies::Store;
use super::error_text::{error_chain, one_line};
use super::{Backend, BackendError, Folder, Key, ListPage, ListedChild, Object, ObjectVersion};

pub use config::{AzureConfig, ConnectionConfig, CredentialVariables, HostReach, S3Config};

/// Bucket of S3, or container of Azure Blob Storage.
pub struct ObjectStoreBackend {
    objects: Box<dyn ObjectStore>,
    listings: Box<dyn PaginatedListStore>,
    store: Store,
    /// Start of every path: empty, or with a slash at its end.
    prefix: String,
    page_size: usize,
    description: String,
}

impl ObjectStoreBackend {
    /// Creates the client of a bucket of S3. No request is sent: the first operation shows whether
    /// the store accepts the credentials and whether the bucket exists.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if a name, a URL, a certificate or a credential is invalid.
    pub fn s3(config: &S3Config) -> Result<Self, BackendError> {
        let client = connect::s3(config)?;
        Ok(Self {
            objects: Box::new(client.clone()),
            listings: Box::new(client),
            store: Store::S3 { bucket: config.bucket.clone(), region: config.region.clone(), url: config.store_url() },
            prefix: path_prefix(&config.prefix),
            page_size: config.connection.page_size,
            description: config.to_string(),
        })
    }

    /// Creates the client of a container of Azure Blob Storage. No request is sent, as in
    /// [`Self::s3`].
    ///
    /// # Errors
    /// [`BackendError::Permanent`] if a name, a URL, a certificate or a credential is invalid.
    pub fn azure(config: &AzureConfig) -> Result<Self, BackendError> {
        let client = connect::azure(config)?;
        Ok(Self {
            objects: Box::new(client.clone()),
            listings: Box::new(client),
            store: Store::Azure {
                account: config.account.clone(),
                container: config.container.clone(),
                url: config.store_url(),
            },
            prefix: path_prefix(&config.prefix),
            page_size: config.connection.page_size,
            description: config.to_string(),
        })
    }

    async fn write(&self, key: &Key, mode: PutMode, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        let attributes = Attributes::from_iter([(Attribute::ContentType, key.media_type())]);
        let is_replacement = matches!(mode, PutMode::Update(_));
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        match unpanicked(self.objects.put_opts(&self.path(key)?, bytes.into(), options)).await {
            Ok(written) => version(written.e_tag),
            Err(error) => match HttpFailure::find(&error) {
                Some(HttpFailure::Status(Responder::Store, status))
                    if self.store.is_precondition(status)
                        || (is_replacement && self.store.is_missing_object(status)) =>
                {
                    Err(BackendError::Precondition)
                }
                failure => Err(self.error(&error, failure)),
            },
        }
    }

    /// The path of an object in the store. Characters of a name are kept as they are.
    fn path(&self, key: &Key) -> Result<Path, BackendError> {
        Path::parse(format!("{}{}", self.prefix, self.encode(key.path())))
            .map_err(|error| BackendError::Permanent(error_chain(&error)))
    }

    fn encode(&self, path: String) -> String {
        match self.store {
            Store::S3 { .. } => path,
            Store::Azure { .. } => azure_names::encode(&path),
        }
    }

    /// The name in a listing of the object or folder at this path. `None` for the folder itself,
    /// which some tools store as an object.
    fn name(&self, path: &Path, folder: &str) -> Option<String> {
        let name = path.as_ref().strip_prefix(folder)?;
        Some(match self.store {
            Store::S3 { .. } => name.to_owned(),
            Store::Azure { .. } => azure_names::decode(name),
        })
    }

    /// The error of an operation, other than a miss and a refused precondition.
    fn error(&self, error: &Error, failure: Option<&HttpFailure>) -> BackendError {
        if let Some(failure) = failure {
            return self.store.error(failure);
        }
        // A response or a file with credentials that cannot be read, a missing header, and the
        // like. Its own text is shown without its causes, which could quote a secret.
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        BackendError::transient(one_line(&text))
    }
}

#[async_trait]
impl Backend for ObjectStoreBackend {
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<ObjectVersion, BackendError> {
        self.write(key, PutMode::Create, bytes).await
    }

    async fn replace_if(
        &self,
        key: &Key,
        version: &ObjectVersion,
        bytes: Bytes,
    ) -> Result<ObjectVersion, BackendError> {
        let version = UpdateVersion { e_tag: Some(version.0.to_string()), version: None };
        self.write(key, PutMode::Update(version), bytes).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Object>, BackendError> {
        let read = async {
            let path = self.path(key)?;
            let found = unpanicked(self.objects.get_opts(&path, GetOptions::default())).await?;
            let e_tag = found.meta.e_tag.clone();
            Ok(Object { bytes: found.bytes().await?, version: version(e_tag)? })
        };
        match read.await {
            Ok(object) => Ok(Some(object)),
            Err(Failed::Ours(error)) => Err(error),
            Err(Failed::Store(error)) => match HttpFailure::find(&error) {
                Some(HttpFailure::Status(Responder::Store, status)) if self.store.is_missing_object(status) => Ok(None),
                failure => Err(self.error(&error, failure)),
            },
        }
    }

    async fn list(&self, folder: &Folder, page: Option<&str>) -> Result<ListPage, BackendError> {
        let prefix = format!("{}{}", self.prefix, self.encode(folder.path()));
        let mut options = PaginatedListOptions {
            delimiter: Some("/".into()),
            max_keys: Some(self.page_size),
            page_token: page.map(str::to_owned),
            ..PaginatedListOptions::default()
        };
        options.extensions.insert(ListingRequest);
        let found = unpanicked(self.listings.list_paginated(Some(&prefix), options)).await;
        let found = found.map_err(|error| self.error(&error, HttpFailure::find(&error)))?;
        let objects = found.result.objects.into_iter().map(|object| (object.location, object.size));
        let paths = objects.chain(found.result.common_prefixes.into_iter().map(|path| (path, 0)));
        let child = |(path, bytes)| Some(ListedChild { name: self.name(&path, &prefix)?, bytes });
        let mut children: Vec<ListedChild> = paths.filter_map(child).collect();
        children.sort_unstable();
        children.dedup_by(|later, earlier| later.name == earlier.name);
        Ok(ListPage { children, next: found.page_token })
    }

    async fn delete(&self, key: &Key) -> Result<(), BackendError> {
        match unpanicked(self.objects.delete(&self.path(key)?)).await {
            Ok(()) => Ok(()),
            Err(error) => match HttpFailure::find(&error) {
                Some(HttpFailure::Status(Responder::Store, status)) if self.store.is_missing_object(status) => Ok(()),
                // Azure deletes in a batch, whose response as a whole is a success.
                None if matches!(error, Error::NotFound { .. }) => Ok(()),
                failure => Err(self.error(&error, failure)),
            },
        }
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

/// The result of a call of the crate. The crate panics if a token that it has read or received
/// cannot be in a header. This must not end the caller's task, and goes away with a new token.
async fn unpanicked<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
        let text = "the request could not be made, because a credential has a line break or another character that no \
                    credential has; check the files with tokens and the service that gives credentials";
        Err(Error::Generic { store: "object_store", source: text.into() })
    })
}

/// Failure of a read: of the store, or found by this file.
enum Failed {
    Store(Error),
    Ours(BackendError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self::Ours(error)
    }
}

fn path_prefix(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!("{prefix}/") }
}

/// The version of an object. Without an `ETag` a success proves nothing. A weak one comes from a
/// proxy that changes responses, and no precondition could use it.
fn version(e_tag: Option<String>) -> Result<ObjectVersion, BackendError> {
    match e_tag {
        Some(e_tag) if !e_tag.is_empty() && !e_tag.starts_with("W/") => Ok(ObjectVersion(e_tag.into())),
        _ => Err(BackendError::transient(
            "the response has no strong ETag, so it does not prove that the store did its part; look for a proxy that \
             changes responses"
                .to_owned(),
        )),
    }
}
