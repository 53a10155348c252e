//! What all uploads together may take: memory while their bodies arrive, and places to be checked and stored.
//!
//! A body takes memory as it arrives and no place, so one that comes slowly keeps nobody else out.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body;
use super::error::ApiError;
use super::limits::{MAX_UPLOADS, UPLOAD_BODY_TIME, UPLOAD_MEMORY_KIB, UPLOAD_WAIT};

/// The bounds on uploads. All clones share them.
#[derive(Clone)]
pub(super) struct UploadLimit {
    memory_kib: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// A body, and the memory that it is given until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Default for UploadLimit {
    fn default() -> Self {
        Self::new(UPLOAD_MEMORY_KIB, MAX_UPLOADS)
    }
}

impl UploadLimit {
    fn new(bodies_kib: usize, places: usize) -> Self {
        Self { memory_kib: Arc::new(Semaphore::new(bodies_kib)), places: Arc::new(Semaphore::new(places)) }
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// `body_too_large` if it has more, `invalid_body` if it ended early, `request_timeout` if it takes too long,
    /// `overloaded` if there is no memory for it.
    pub(super) async fn read(&self, request: Request, limit: usize) -> Result<Held, ApiError> {
        timeout(UPLOAD_BODY_TIME, self.collect(request, limit)).await.unwrap_or(Err(ApiError::TooSlow))
    }

    /// A place to check and store a picture, until it is dropped.
    ///
    /// # Errors
    /// `overloaded` if none becomes free.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        take(&self.places, 1).await
    }

    async fn collect(&self, request: Request, limit: usize) -> Result<Held, ApiError> {
        // What the client says beforehand saves reading it.
        if request.body().size_hint().lower() > limit as u64 {
            body::discard(request).await;
            return Err(ApiError::BodyTooLarge { limit });
        }
        let (parts, mut body) = request.into_parts();
        let mut bytes = BytesMut::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::InvalidBody(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            let held_kib = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let further_kib = length.div_ceil(1024).saturating_sub(held_kib);
            let further = match further_kib {
                _ if length > limit => Err(ApiError::BodyTooLarge { limit }),
                0 => Ok(None),
                kib => take(&self.memory_kib, kib).await.map(Some),
            };
            match (further, &mut memory) {
                (Ok(None), _) => {}
                (Ok(Some(further)), Some(memory)) => memory.merge(further),
                (Ok(further), memory) => *memory = further,
                (Err(refusal), _) => {
                    // Not kept while the rest is thrown away.
                    drop((bytes, memory));
                    body::discard_rest(&parts.headers, body).await;
                    return Err(refusal);
                }
            }
            // Copied, for a frame can be a small part of a large buffer.
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), _memory: memory })
    }
}

async fn take(from: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let permits = u32::try_from(permits).map_err(|_| ApiError::Overloaded)?;
    match timeout(UPLOAD_WAIT, Arc::clone(from).acquire_many_owned(permits)).await {
        Ok(Ok(permit)) => Ok(permit),
        // Too late; or the semaphore was closed, which nobody does.
        Err(_) | Ok(Err(_)) => Err(ApiError::Overloaded),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;

    use super::*;

    fn of(length: usize) -> Request {
        Request::new(Body::from(vec![b'x'; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_for_which_there_is_no_memory_is_refused_after_two_seconds() {
        let uploads = UploadLimit::new(3, 1);
        let first = uploads.read(of(2048), 4096).await.unwrap();
        let started = Instant::now();
        assert!(matches!(uploads.read(of(1025), 4096).await, Err(ApiError::Overloaded)));
        assert_eq!(started.elapsed(), UPLOAD_WAIT);
        let second = uploads.read(of(1024), 4096).await.unwrap();
        assert_eq!((first.bytes.len(), second.bytes.len()), (2048, 1024));
        drop((first, second));
        assert_eq!(uploads.memory_kib.available_permits(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_memory_as_it_arrives_and_leaves_after_ten_seconds() {
        let uploads = UploadLimit::new(8, 1);
        let part = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 1500])]);
        let endless = Request::new(Body::from_stream(part.chain(stream::pending())));
        let started = Instant::now();
        let mut reading = Box::pin(uploads.read(endless, 8192));
        assert!(futures_util::poll!(&mut reading).is_pending());
        assert_eq!(uploads.memory_kib.available_permits(), 6);
        assert!(matches!(reading.await, Err(ApiError::TooSlow)));
        assert_eq!((started.elapsed(), uploads.memory_kib.available_permits()), (UPLOAD_BODY_TIME, 8));
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_refused() {
        let uploads = UploadLimit::default();
        let unannounced =
            |length| Request::new(Body::from_stream(stream::iter([Ok::<_, std::io::Error>(vec![b'x'; length])])));
        for request in [of(64), unannounced(64)] {
            assert_eq!(uploads.read(request, 64).await.unwrap().bytes.len(), 64);
        }
        for request in [of(65), unannounced(65)] {
            assert!(matches!(uploads.read(request, 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_told_so_after_two_seconds() {
        let uploads = UploadLimit::new(1, 1);
        let place = uploads.place().await.unwrap();
        assert!(matches!(uploads.place().await, Err(ApiError::Overloaded)));
        drop(place);
        assert!(uploads.place().await.is_ok());
    }
}
