//! Image uploads, with retries that do not store an image twice.
//!
//! If the response to an upload is lost, the user's list of images shows whether the image was
//! stored.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use tokio::time::Instant;

use super::ClientError;
use super::backoff::Backoff;
use super::images::{image as stored_image, images};
use super::path_segment::path_segment;
use super::request::{Idempotency, RequestOptions};
use super::retry::LeaderClient;
use rollcall_core::api::Uploaded;
use rollcall_core::{ImageKind, ImageName, Username};

/// Timeout of one upload. A node waits up to 10 s for the body, and then the upload waits in a
/// queue and for the bucket. The timeout is longer than that, so that a busy node does not count as
/// unreachable.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(25);

/// Uploads images of one user, one after the other.
pub struct Uploads {
    leader: LeaderClient,
    user: Username,
    /// Names of the user's images at the start, and of the images that this value has uploaded
    /// since.
    known: HashSet<String>,
}

impl Uploads {
    /// Reads the list of images, to recognise later which image is new.
    pub(super) async fn start(leader: LeaderClient, user: Username) -> Result<Self, ClientError> {
        let known = images(&leader, &user).await?.images.into_iter().collect();
        Ok(Self { leader, user, known })
    }

    /// Uploads an image.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if the server rejects it. [`ClientError::OutcomeUnknown`] if the
    /// response was lost and the image is not in the list. A node may still store the image.
    /// Otherwise see [`ClientError`].
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
                let message =
                    "Image uploaded successfully; the response was lost, but the image is in the list".to_owned();
                return Ok(Uploaded { success: true, message, filename });
            }
            let delay = backoff.next_delay(rand::random());
            // After a timeout the node may still store the image, so a retry could store it twice.
            // After any other error the node has ended its work, and the list above does not
            // contain the image. Only a write that the bucket completes late can still store it
            // twice.
            if error.is_timeout() || Instant::now() + delay >= deadline {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends the upload once.
    async fn try_once(&self, kind: ImageKind, image: &Bytes) -> Result<Uploaded, ClientError> {
        let form = || {
            let length = u64::try_from(image.len()).unwrap_or(u64::MAX);
            let file = Part::stream_with_length(image.clone(), length).file_name(format!("image.{}", kind.extension()));
            Form::new().part("image", file)
        };
        let options = RequestOptions::new(Idempotency::NotIdempotent).authenticated().timeout(UPLOAD_TIMEOUT);
        let path = format!("upload_image/{}", path_segment(self.user.as_str()));
        let request = |http: &reqwest::Client, base: &str| http.post(format!("{base}/{path}")).multipart(form());
        let response = self.leader.send(options, request).await?;
        // After a success status the image is stored, even if the body cannot be parsed.
        response.parse().map_err(|error| ClientError::OutcomeUnknown { cause: Box::new(error) })
    }

    /// Searches the list for a new image with exactly these bytes. Returns its name.
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
