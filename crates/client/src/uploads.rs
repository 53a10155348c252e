//! Uploads, which must not be done twice: when it is not sure whether one was done, the list of pictures tells.

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

/// More than a node gives an upload (10 s for its body, then its place, then the bucket): a node that is busy is not
/// taken for one that is lost.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(25);

/// Uploads of pictures of one user, one after the other.
pub struct Uploads {
    leader: LeaderClient,
    user: Username,
    /// What was there before, and what is known to be stored since.
    known: HashSet<String>,
}

impl Uploads {
    pub(super) async fn begin(leader: LeaderClient, user: Username) -> Result<Self, ClientError> {
        let known = images(&leader, &user).await?.images.into_iter().collect();
        Ok(Self { leader, user, known })
    }

    /// Stores a picture.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] if the server does not take it; [`ClientError::OutcomeUnknown`] if the answer was lost and the
    /// picture cannot be found yet, while a node may still be storing it; else see [`ClientError`].
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
                let message = "Image uploaded successfully; the answer was lost, and the list has it".to_owned();
                return Ok(Uploaded { success: true, message, filename });
            }
            let delay = backoff.next_delay(rand::random());
            // A node that took too long may store it yet; one that is gone, or said no, will not.
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
        let answer = self.leader.send(options, request).await?;
        // What was stored under a name that cannot be read is stored all the same.
        answer.parse().map_err(|error| ClientError::OutcomeUnknown { cause: Box::new(error) })
    }

    /// The name of a picture that was not there before and has these bytes.
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
