//! Requests without credentials: what Cloud Storage and Firebase Storage show to everybody.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join;
use reqwest::{Client, StatusCode, Url, redirect};

use super::super::error_text::error_chain;
use super::super::google::read_at_most;
use super::super::{AnonymousReader, BackendError, Key};

/// Longest time for one request and its response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an object that are read. A secret is much smaller.
const MAX_BYTES: usize = 64 << 10;

/// Client for reads of one bucket without credentials.
#[derive(Debug)]
pub(super) struct AnonymousRequests {
    client: Client,
    /// The objects of the bucket in Cloud Storage, where roles of `allUsers` count.
    cloud_storage: Url,
    /// The objects of the bucket in Firebase Storage, where its rules count.
    firebase: Url,
}

impl AnonymousRequests {
    /// Client for a bucket at these endpoints of Cloud Storage and Firebase Storage.
    pub(super) fn new(cloud_storage: &str, firebase: &str, bucket: &str) -> Result<Self, BackendError> {
        let url = |endpoint: &str, path: &str| {
            Url::parse(&format!("{endpoint}{path}/b/{bucket}/o"))
                .map_err(|error| BackendError::Permanent(format!("the endpoint of the bucket is not a URL: {error}")))
        };
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT).build();
        Ok(Self {
            client: client.map_err(|error| BackendError::Permanent(error_chain(&error)))?,
            cloud_storage: url(cloud_storage, "/storage/v1")?,
            firebase: url(firebase, "/v0")?,
        })
    }

    /// The first bytes of the object at a service. `None` if the service refuses them, or does not
    /// know the object or the bucket.
    async fn read_at(&self, objects: &Url, key: &Key) -> Result<Option<Bytes>, String> {
        let mut url = objects.clone();
        // The path is one segment, so that the slashes in the object's name are escaped.
        url.path_segments_mut().expect("an http URL has a path").push(&key.path());
        let host = url.host_str().unwrap_or_default().to_owned();
        let failed = |error: reqwest::Error| format!("{host} did not answer: {}", error_chain(&error.without_url()));
        let response = self.client.get(url).query(&[("alt", "media")]).send().await.map_err(failed)?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(format!("{host} answered {status}"));
        }
        let (bytes, _) = read_at_most(response, MAX_BYTES).await.map_err(failed)?;
        Ok(Some(bytes.into()))
    }
}

#[async_trait]
impl AnonymousReader for AnonymousRequests {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, String> {
        let reads = join(self.read_at(&self.cloud_storage, key), self.read_at(&self.firebase, key)).await;
        match reads {
            // The bytes from one service count, whatever happened at the other one.
            (Ok(Some(bytes)), _) | (_, Ok(Some(bytes))) => Ok(Some(bytes)),
            (Err(cause), _) | (_, Err(cause)) => Err(cause),
            (Ok(None), Ok(None)) => Ok(None),
        }
    }
}
