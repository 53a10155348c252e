//! Reads request bodies up to a limit, and discards the bodies of rejected requests.
//!
//! If the server closes a connection while the client still sends, the client receives a TCP reset.
//! A reset can destroy the response before the client reads it. So the body of a rejected request
//! is read and discarded, within limits.

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::error::ApiError;
use super::limits::{DISCARD_TIMEOUT, MAX_DISCARDED_BYTES};

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// `body_too_large` if it is longer, `invalid_body` if it ends early.
pub(super) async fn read<B>(request: Request<B>, limit: usize) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let too_large = ApiError::BodyTooLarge { limit };
    // With a declared length, a body that is too large is rejected before it is read.
    if request.body().size_hint().lower() > limit as u64 {
        discard(request).await;
        return Err(too_large);
    }
    let (parts, mut body) = request.into_parts();
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard_remaining(&parts.headers, body).await;
            Err(too_large)
        }
        Err(error) => Err(ApiError::InvalidBody(error.to_string())),
    }
}

/// Reads and discards the body of a rejected request, within the limits.
pub(super) async fn discard(request: Request<impl HttpBody<Data = Bytes> + Unpin>) {
    let (parts, body) = request.into_parts();
    discard_remaining(&parts.headers, body).await;
}

/// Reads and discards the rest of the body of a rejected request, within the limits.
pub(super) async fn discard_remaining(headers: &HeaderMap, mut body: impl HttpBody<Data = Bytes> + Unpin) {
    // A client that waits for "100 Continue" sends nothing before the response. Waiting for its
    // body would block both sides.
    if headers.contains_key(header::EXPECT) || body.is_end_stream() {
        return;
    }
    let read = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // The response is sent now, even if the body has not ended in time.
    let _ = timeout(DISCARD_TIMEOUT, read).await;
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use axum::body::Body;
    use axum::extract::Request;
    use futures_util::stream;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body of chunks that counts how many of them were read.
    struct Chunks {
        left: usize,
        size: usize,
        declared: bool,
        read: Arc<AtomicUsize>,
    }

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
            self.left = left;
            self.read.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.size].into()))))
        }

        fn size_hint(&self) -> SizeHint {
            if self.declared { SizeHint::with_exact((self.left * self.size) as u64) } else { SizeHint::default() }
        }
    }

    fn chunked(chunks: usize, size: usize) -> Request {
        Request::new(Body::new(Chunks { left: chunks, size, declared: false, read: Arc::default() }))
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_discarded_up_to_the_discard_limit() {
        let discarded_chunks = MAX_DISCARDED_BYTES / 1024;
        for (left, declared, expected) in [
            (10, false, 10),
            (10, true, 10),
            // One chunk exceeds the limit of the body, and the last one exceeds the limit of
            // discarded bytes.
            (5 * discarded_chunks, false, discarded_chunks + 2),
            (5 * discarded_chunks, true, discarded_chunks + 1),
        ] {
            let read_chunks = Arc::new(AtomicUsize::new(0));
            let body = Chunks { left, size: 1024, declared, read: Arc::clone(&read_chunks) };
            assert!(matches!(read(Request::new(Body::new(body)), 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
            assert_eq!(read_chunks.load(Ordering::Relaxed), expected, "{left} {declared}");
        }
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_rejected() {
        assert_eq!(read(chunked(2, 32), 64).await.unwrap().len(), 64);
        assert!(matches!(read(chunked(2, 32), 63).await, Err(ApiError::BodyTooLarge { limit: 63 })));
        let declared = Request::new(Body::from(vec![b'x'; 65]));
        assert!(matches!(read(declared, 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_body_that_does_not_end_is_discarded_for_two_seconds() {
        let started = tokio::time::Instant::now();
        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        discard(Request::new(Body::from_stream(endless))).await;
        assert_eq!(started.elapsed(), DISCARD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_100_continue_is_answered_at_once() {
        let started = tokio::time::Instant::now();
        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        let mut request = Request::new(Body::from_stream(endless));
        request.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
        discard(request).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
