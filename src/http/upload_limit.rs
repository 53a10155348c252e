//! Upload limit: bounds the memory of uploaded bodies, and the number of images that are checked
//! and stored at once.
//!
//! While its body arrives, an upload takes memory, but no permit to be checked and stored. So a
//! slow client does not block other uploads.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::body;
use super::error::ApiError;
use super::limits::{MAX_CONCURRENT_UPLOADS, MAX_UPLOAD_MEMORY_KIB, MAX_UPLOAD_WAIT, UPLOAD_BODY_TIMEOUT};

/// The limits on uploads. Clones share one state.
#[derive(Clone)]
pub(super) struct UploadLimit {
    memory_kib: Arc<Semaphore>,
    /// Permits to check and store one image each.
    permits: Arc<Semaphore>,
}

/// The body of an upload, with its share of the memory. Dropping it returns the memory.
#[derive(Debug)]
pub(super) struct BufferedUpload {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Default for UploadLimit {
    fn default() -> Self {
        Self::new(MAX_UPLOAD_MEMORY_KIB, MAX_CONCURRENT_UPLOADS)
    }
}

impl UploadLimit {
    fn new(memory_kib: usize, permits: usize) -> Self {
        Self { memory_kib: Arc::new(Semaphore::new(memory_kib)), permits: Arc::new(Semaphore::new(permits)) }
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// `body_too_large` if it is longer, `invalid_body` if it ends early, `request_timeout` if it
    /// takes longer than [`UPLOAD_BODY_TIMEOUT`], `overloaded` if no memory for it becomes free
    /// within [`MAX_UPLOAD_WAIT`].
    pub(super) async fn read_body(&self, request: Request, limit: usize) -> Result<BufferedUpload, ApiError> {
        timeout(UPLOAD_BODY_TIMEOUT, self.collect(request, limit)).await.unwrap_or(Err(ApiError::RequestTimeout))
    }

    /// Waits for a permit to check and store one image.
    ///
    /// # Errors
    /// `overloaded` if no permit becomes free within [`MAX_UPLOAD_WAIT`].
    pub(super) async fn acquire_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        acquire(&self.permits, 1).await
    }

    async fn collect(&self, request: Request, limit: usize) -> Result<BufferedUpload, ApiError> {
        // With a declared length, a body that is too large is rejected before it is read.
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
            let needed_kib = length.div_ceil(1024).saturating_sub(held_kib);
            let acquired = match needed_kib {
                _ if length > limit => Err(ApiError::BodyTooLarge { limit }),
                0 => Ok(None),
                kib => acquire(&self.memory_kib, kib).await.map(Some),
            };
            match (acquired, &mut memory) {
                (Ok(None), _) => {}
                (Ok(Some(acquired)), Some(memory)) => memory.merge(acquired),
                (Ok(acquired), memory) => *memory = acquired,
                (Err(error), _) => {
                    // The memory is returned before the rest is discarded.
                    drop((bytes, memory));
                    body::discard_remaining(&parts.headers, body).await;
                    return Err(error);
                }
            }
            // The bytes are copied. A frame can be a small part of a large buffer, and would keep
            // all of it in memory.
            bytes.extend_from_slice(&data);
        }
        Ok(BufferedUpload { bytes: bytes.freeze(), _memory: memory })
    }
}

async fn acquire(from: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit, ApiError> {
    let count = u32::try_from(permits).map_err(|_| ApiError::Overloaded)?;
    match timeout(MAX_UPLOAD_WAIT, Arc::clone(from).acquire_many_owned(count)).await {
        Ok(Ok(permit)) => Ok(permit),
        // The timeout expired. The inner error does not occur: the semaphore is never closed.
        Err(_) | Ok(Err(_)) => Err(ApiError::Overloaded),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;

    use super::*;

    fn request_of(length: usize) -> Request {
        Request::new(Body::from(vec![b'x'; length]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_memory_is_rejected_after_two_seconds() {
        let uploads = UploadLimit::new(3, 1);
        let first = uploads.read_body(request_of(2048), 4096).await.unwrap();
        let started = Instant::now();
        assert!(matches!(uploads.read_body(request_of(1025), 4096).await, Err(ApiError::Overloaded)));
        assert_eq!(started.elapsed(), MAX_UPLOAD_WAIT);
        let second = uploads.read_body(request_of(1024), 4096).await.unwrap();
        assert_eq!((first.bytes.len(), second.bytes.len()), (2048, 1024));
        drop((first, second));
        assert_eq!(uploads.memory_kib.available_permits(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_memory_as_it_arrives_and_times_out_after_ten_seconds() {
        let uploads = UploadLimit::new(8, 1);
        let part = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 1500])]);
        let endless = Request::new(Body::from_stream(part.chain(stream::pending())));
        let started = Instant::now();
        let mut reading = Box::pin(uploads.read_body(endless, 8192));
        assert!(futures_util::poll!(&mut reading).is_pending());
        assert_eq!(uploads.memory_kib.available_permits(), 6);
        assert!(matches!(reading.await, Err(ApiError::RequestTimeout)));
        assert_eq!((started.elapsed(), uploads.memory_kib.available_permits()), (UPLOAD_BODY_TIMEOUT, 8));
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_rejected() {
        let uploads = UploadLimit::default();
        let unannounced =
            |length| Request::new(Body::from_stream(stream::iter([Ok::<_, std::io::Error>(vec![b'x'; length])])));
        for request in [request_of(64), unannounced(64)] {
            assert_eq!(uploads.read_body(request, 64).await.unwrap().bytes.len(), 64);
        }
        for request in [request_of(65), unannounced(65)] {
            assert!(matches!(uploads.read_body(request, 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_without_a_permit_is_rejected_after_two_seconds() {
        let uploads = UploadLimit::new(1, 1);
        let permit = uploads.acquire_permit().await.unwrap();
        assert!(matches!(uploads.acquire_permit().await, Err(ApiError::Overloaded)));
        drop(permit);
        assert!(uploads.acquire_permit().await.is_ok());
    }
}
