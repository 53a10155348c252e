//! Image uploads. An upload must not be stored twice.
//!
//! If the response to an upload is lost, the user's list of images shows whether it was stored.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use tokio::time::Instant;

use super::ClientError;
use super::backoff::Backoff;
use super::images::{image as stored_image, images};
use super::request::{Idempotency, RequestOptions};
use super::retry::LeaderClient;
use rollcall_core::api::Uploaded;
use rollcall_core::{ImageKind, ImageName, Username};

/// Timeout of one upload. A node allows 10 s for the body, and then needs time for its queue and
/// for the bucket. This timeout is longer, so that a busy node does not look like a dead one.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(25);

/// Uploads images of one user, one after the other.
pub struct Uploads {
    leader: LeaderClient,
    user: Username,
    /// Names of the images that existed at the start, and of those stored since.
    known: HashSet<String>,
}

impl Uploads {
    pub(super) async fn start(leader: LeaderClient, user: Username) -> Result<Self, ClientError> {
        let known = images(&leader, &user).await?.images.into_iter().collect();
        Ok(Self { leader, user, known })
    }

    /// Uploads an image.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if the server rejects it. [`ClientError::OutcomeUnknown`] if the
    /// response was lost and the image is not in the list; a node may still store it. Otherwise see
    /// [`ClientError`].
    pub async fn send(&mut self, kind: ImageKind, image: Bytes) -> Result<Uploaded, ClientError> {
        let deadline = Instant::now() + self.leader.retry_timeout;
        let mut backoff = Backoff::new();
        loop {
            let error = match self.try_once(kind, &image).await {
                Ok(uploaded) => {
                    self.known.insert(uploaded.filename.clone());
                    return Ok(uploaded);
                }
                Err(error @ ClientError::OutcomeUnknown { .. }) => error,
                Err(error) => return Err(error),
            };
            if let Some(filename) = self.find(kind, &image).await? {
                let message = "Image uploaded successfully; the response was lost, and the list has it".to_owned();
                return Ok(Uploaded { success: true, message, filename });
            }
            let delay = backoff.next_delay(rand::random());
            // After a timeout the node may still store the image, so a retry could store it twice.
            // A node that closed the connection or rejected the upload will not store it.
            if error.is_timeout() || Instant::now() + delay >= deadline {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_once(&self, kind: ImageKind, image: &Bytes) -> Result<Uploaded, ClientError> {
        let form = || {
            let length = u64::try_from(image.len()).unwrap_or(u64::MAX);
            let file = Part::stream_with_length(image.clone(), length).file_name(format!("image.{}", kind.extension()));
            Form::new().part("image", file)
        };
        let options = RequestOptions::new(Idempotency::NotIdempotent).authenticated().timeout(UPLOAD_TIMEOUT);
        let user = &self.user;
        let request =
            |http: &reqwest::Client, base: &str| http.post(format!("{base}/upload_image/{user}")).multipart(form());
        let response = self.leader.send(options, request).await?;
        // The image is stored even if the response cannot be parsed.
        response.parse().map_err(|error| ClientError::OutcomeUnknown { cause: Box::new(error) })
    }

    /// Name of a new image with exactly these bytes; `None` if there is none.
    async fn find(&mut self, kind: ImageKind, image: &Bytes) -> Result<Option<String>, ClientError> {
        let names = images(&self.leader, &self.user).await?.images;
        let new: Vec<String> = names.into_iter().filter(|name| !self.known.contains(name)).collect();
        for filename in new {
            let Ok(name) = ImageName::parse(&filename) else { continue };
            if name.kind() != kind {
                continue;
            }
            let stored = match stored_image(&self.leader, &self.user, &name, None).await {
                Ok(stored) => stored,
                Err(ClientError::Rejected { status: 404, .. }) => continue,
                Err(error) => return Err(error),
            };
            if stored.as_ref() == Some(image) {
                self.known.insert(filename.clone());
                return Ok(Some(filename));
            }
        }
        Ok(None)
    }
}
