//! Upload limit: bounds the memory of uploaded bodies, and the number of images that are checked
//! and stored at once. Both are fair pools.
//!
//! While its body arrives, an upload takes memory, but no permit to be checked and stored. So a
//! slow client does not block other uploads. An upload whose memory was displaced is rejected. One
//! that is being checked and stored is never displaced, because that could store an image whose
//! client was told otherwise; the clients wait for it in turn.

use axum::RequestExt;
use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body;
use super::error::ApiError;
use super::limits::{
    MAX_CONCURRENT_UPLOADS, MAX_UPLOAD_MEMORY_KIB, MAX_UPLOAD_WAIT, MAX_WAITING_REQUESTS, UPLOAD_BODY_TIMEOUT,
    UPLOAD_MEMORY_STEP_KIB,
};
use super::pool_client::PoolClient;
use crate::fair_pool::{Claim, Claimant, FairPool, Piece, PieceProgress};
use rollcall_core::AddressBlock;

/// The limits on uploads. Clones share one state.
#[derive(Clone)]
pub(super) struct UploadLimit {
    memory_kib: FairPool,
    /// Permits to check and store one image each.
    permits: FairPool,
}

/// The body of an upload, with its share of the memory. Dropping it returns the memory.
#[derive(Debug)]
pub(super) struct BufferedUpload {
    pub(super) bytes: Bytes,
    memory: UploadMemory,
}

/// The memory of one upload, in steps of [`UPLOAD_MEMORY_STEP_KIB`].
#[derive(Debug)]
struct UploadMemory {
    pool: FairPool,
    client: AddressBlock,
    progress: PieceProgress,
    /// Cancelled when another client needs the memory or the connection.
    displaced: CancellationToken,
    steps: Vec<Piece>,
}

impl Default for UploadLimit {
    fn default() -> Self {
        Self::new(MAX_UPLOAD_MEMORY_KIB, MAX_CONCURRENT_UPLOADS)
    }
}

impl UploadLimit {
    fn new(memory_kib: usize, permits: usize) -> Self {
        Self {
            memory_kib: FairPool::new(memory_kib, MAX_WAITING_REQUESTS),
            permits: FairPool::new(permits, MAX_WAITING_REQUESTS),
        }
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// `body_too_large` if it is longer, `invalid_body` if it ends early, `request_timeout` if it
    /// takes longer than [`UPLOAD_BODY_TIMEOUT`], `overloaded` if no memory for it becomes free
    /// within [`MAX_UPLOAD_WAIT`] or if another client needs the memory.
    pub(super) async fn read_body(&self, mut request: Request, limit: usize) -> Result<BufferedUpload, ApiError> {
        let client = request.extract_parts::<PoolClient>().await?;
        timeout(UPLOAD_BODY_TIMEOUT, self.collect(&client, request, limit))
            .await
            .unwrap_or(Err(ApiError::RequestTimeout))
    }

    /// Waits for a permit to check and store the image of `upload`.
    ///
    /// # Errors
    /// `overloaded` if no permit becomes free within [`MAX_UPLOAD_WAIT`], or if another client
    /// needs the memory or the connection.
    pub(super) async fn acquire_permit(&self, upload: &BufferedUpload) -> Result<Piece, ApiError> {
        let UploadMemory { client, displaced, .. } = &upload.memory;
        let claimant = Claimant { block: *client, connection: Some(displaced) };
        self.permits.acquire(Claim::fixed(claimant), MAX_UPLOAD_WAIT).await.map_err(|_| ApiError::Overloaded)
    }

    async fn collect(&self, client: &PoolClient, request: Request, limit: usize) -> Result<BufferedUpload, ApiError> {
        // With a declared length, a body that is too large is rejected before it is read.
        if request.body().size_hint().lower() > limit as u64 {
            body::discard(request).await;
            return Err(ApiError::BodyTooLarge { limit });
        }
        let (parts, mut body) = request.into_parts();
        let mut bytes = BytesMut::new();
        let mut memory = UploadMemory::new(&self.memory_kib, client);
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = memory.displaced.cancelled() => Some(Ok(hyper::body::Frame::data(Bytes::new()))),
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| ApiError::InvalidBody(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            let reserved = match length {
                _ if memory.displaced.is_cancelled() => Err(ApiError::Overloaded),
                length if length > limit => Err(ApiError::BodyTooLarge { limit }),
                length => memory.grow_to(length).await,
            };
            if let Err(error) = reserved {
                // The memory is returned before the rest is discarded.
                drop((bytes, memory));
                body::discard_remaining(&parts.headers, body).await;
                return Err(error);
            }
            // The bytes are copied. A frame can be a small part of a large buffer, and would keep
            // all of it in memory.
            bytes.extend_from_slice(&data);
        }
        memory.progress.set_working();
        Ok(BufferedUpload { bytes: bytes.freeze(), memory })
    }
}

impl UploadMemory {
    fn new(pool: &FairPool, client: &PoolClient) -> Self {
        let (progress, displaced) = (pool.new_progress(), client.connection.0.child_token());
        Self { pool: pool.clone(), client: client.block(), progress, displaced, steps: Vec::new() }
    }

    /// Takes memory for `length` bytes, and records that the client must send more.
    async fn grow_to(&mut self, length: usize) -> Result<(), ApiError> {
        let steps = length.div_ceil(UPLOAD_MEMORY_STEP_KIB * 1024);
        while self.steps.len() < steps {
            let claim = Claim::displaceable(self.client, self.progress.clone(), self.displaced.clone())
                .units(UPLOAD_MEMORY_STEP_KIB);
            let step = self.pool.acquire(claim, MAX_UPLOAD_WAIT).await;
            self.steps.push(step.map_err(|_| ApiError::Overloaded)?);
        }
        self.progress.set_waiting();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;

    use super::*;
    use crate::http::params::ClientAddr;
    use crate::http::pool_client::DisplacedConnection;

    const STEP: usize = UPLOAD_MEMORY_STEP_KIB * 1024;

    fn request(body: Body) -> Request {
        request_from(1, body)
    }

    fn request_from(n: u8, body: Body) -> Request {
        let mut request = Request::new(body);
        request.extensions_mut().insert(ClientAddr([10, 0, 0, n].into()));
        request
    }

    fn request_of(length: usize) -> Request {
        request(Body::from(vec![b'x'; length]))
    }

    /// A body that does not end after this part.
    fn endless(length: usize) -> Body {
        let part = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; length])]);
        Body::from_stream(part.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_memory_is_rejected_after_two_seconds() {
        let uploads = UploadLimit::new(3 * UPLOAD_MEMORY_STEP_KIB, 1);
        let first = uploads.read_body(request_of(2 * STEP), 4 * STEP).await.unwrap();
        let started = Instant::now();
        assert!(matches!(uploads.read_body(request_of(STEP + 1), 4 * STEP).await, Err(ApiError::Overloaded)));
        assert_eq!(started.elapsed(), MAX_UPLOAD_WAIT);
        let second = uploads.read_body(request_of(STEP), 4 * STEP).await.unwrap();
        assert_eq!((first.bytes.len(), second.bytes.len()), (2 * STEP, STEP));
        drop((first, second));
        assert_eq!(uploads.memory_kib.free(), 3 * UPLOAD_MEMORY_STEP_KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_memory_as_it_arrives_and_times_out_after_ten_seconds() {
        let uploads = UploadLimit::new(8 * UPLOAD_MEMORY_STEP_KIB, 1);
        let started = Instant::now();
        let mut reading = Box::pin(uploads.read_body(request(endless(STEP + 1)), 8 * STEP));
        assert!(futures_util::poll!(&mut reading).is_pending());
        assert_eq!(uploads.memory_kib.free(), 6 * UPLOAD_MEMORY_STEP_KIB);
        assert!(matches!(reading.await, Err(ApiError::RequestTimeout)));
        assert_eq!((started.elapsed(), uploads.memory_kib.free()), (UPLOAD_BODY_TIMEOUT, 8 * UPLOAD_MEMORY_STEP_KIB));
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_client_loses_its_slowest_body_to_an_upload_of_another_client() {
        let uploads = UploadLimit::new(4 * UPLOAD_MEMORY_STEP_KIB, 1);
        let slow = |length| Box::pin(uploads.read_body(request(endless(length)), 8 * STEP));
        let (mut first, mut second) = (slow(2 * STEP), slow(2 * STEP));
        assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut second).is_pending());
        let body = request_from(2, Body::from(vec![b'x'; STEP]));
        let mut other = Box::pin(uploads.read_body(body, 8 * STEP));
        assert!(futures_util::poll!(&mut other).is_pending());
        assert!(matches!(futures_util::poll!(&mut second), std::task::Poll::Pending));
        // The answer waits until the rest of the body was discarded, but its memory is free.
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut other).is_ready());
        assert!(matches!(first.await, Err(ApiError::Overloaded)));
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_rejected() {
        let uploads = UploadLimit::default();
        let unannounced =
            |length| request(Body::from_stream(stream::iter([Ok::<_, std::io::Error>(vec![b'x'; length])])));
        for request in [request_of(64), unannounced(64)] {
            assert_eq!(uploads.read_body(request, 64).await.unwrap().bytes.len(), 64);
        }
        for request in [request_of(65), unannounced(65)] {
            assert!(matches!(uploads.read_body(request, 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_without_a_permit_is_rejected_after_two_seconds() {
        let uploads = UploadLimit::new(UPLOAD_MEMORY_STEP_KIB, 1);
        let upload = uploads.read_body(request_of(STEP), STEP).await.unwrap();
        let permit = uploads.acquire_permit(&upload).await.unwrap();
        let started = Instant::now();
        assert!(matches!(uploads.acquire_permit(&upload).await, Err(ApiError::Overloaded)));
        assert_eq!(started.elapsed(), MAX_UPLOAD_WAIT);
        drop(permit);
        assert!(uploads.acquire_permit(&upload).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_waits_ends_at_once_when_its_connection_is_displaced() {
        let uploads = UploadLimit::new(2 * UPLOAD_MEMORY_STEP_KIB, 1);
        let stored = uploads.read_body(request_of(STEP), STEP).await.unwrap();
        let _permit = uploads.acquire_permit(&stored).await.unwrap();
        let connection = DisplacedConnection::default();
        let request = || {
            let mut request = request_of(STEP);
            request.extensions_mut().insert(connection.clone());
            request
        };
        let upload = uploads.read_body(request(), STEP).await.unwrap();
        let mut for_permit = Box::pin(uploads.acquire_permit(&upload));
        let mut for_memory = Box::pin(uploads.read_body(request(), STEP));
        assert!(futures_util::poll!(&mut for_permit).is_pending() && futures_util::poll!(&mut for_memory).is_pending());
        connection.0.cancel();
        assert!(matches!(futures_util::poll!(&mut for_permit), std::task::Poll::Ready(Err(ApiError::Overloaded))));
        assert!(matches!(futures_util::poll!(&mut for_memory), std::task::Poll::Ready(Err(ApiError::Overloaded))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_waits_for_a_permit_ends_at_once_when_another_client_needs_its_memory() {
        let uploads = UploadLimit::new(2 * UPLOAD_MEMORY_STEP_KIB, 1);
        let stored = uploads.read_body(request_of(STEP), STEP).await.unwrap();
        let _permit = uploads.acquire_permit(&stored).await.unwrap();
        let upload = uploads.read_body(request_of(STEP), STEP).await.unwrap();
        let mut for_permit = Box::pin(uploads.acquire_permit(&upload));
        assert!(futures_util::poll!(&mut for_permit).is_pending());
        let body = request_from(2, Body::from(vec![b'x'; STEP]));
        let mut other = Box::pin(uploads.read_body(body, STEP));
        assert!(futures_util::poll!(&mut other).is_pending());
        assert!(matches!(futures_util::poll!(&mut for_permit), std::task::Poll::Ready(Err(ApiError::Overloaded))));
    }
}
