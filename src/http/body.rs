//! Reads a request's body up to a limit, and throws away what is not wanted.
//!
//! A connection that is closed while the client still sends is reset, and a reset can swallow the answer. So a body
//! that is refused is read and thrown away, within limits.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::error::ApiError;

/// The most of a refused body that is read.
const DISCARD_BYTES: usize = 1024 * 1024;

/// The longest that a refused body is read.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// The body, if it has at most `limit` bytes.
///
/// # Errors
/// `body_too_large` if it has more, `invalid_body` if it ended early.
pub(super) async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = ApiError::BodyTooLarge { limit };
    // What the client says beforehand saves reading it.
    if request.body().size_hint().lower() > limit as u64 {
        discard(request).await;
        return Err(too_large);
    }
    let (parts, mut body) = request.into_parts();
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard_body(&parts.headers, body).await;
            Err(too_large)
        }
        Err(error) => Err(ApiError::InvalidBody(error.to_string())),
    }
}

/// Reads and throws away the body of a request that is refused.
pub(super) async fn discard(request: Request) {
    let (parts, body) = request.into_parts();
    discard_body(&parts.headers, body).await;
}

async fn discard_body(headers: &HeaderMap, mut body: Body) {
    // A client that waits for "100 Continue" sends nothing before our answer, so the answer must not wait for it.
    if headers.contains_key(header::EXPECT) || body.is_end_stream() {
        return;
    }
    let read = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whether the body ended or the patience: the answer goes out now.
    let _ = timeout(DISCARD_TIME, read).await;
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn chunked(chunks: usize, size: usize) -> Request {
        let chunks = (0..chunks).map(move |_| Ok::<_, std::io::Error>(vec![b'x'; size]));
        Request::new(Body::from_stream(stream::iter(chunks)))
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_refused() {
        assert_eq!(read(chunked(2, 32), 64).await.unwrap().len(), 64);
        assert!(matches!(read(chunked(2, 32), 63).await, Err(ApiError::BodyTooLarge { limit: 63 })));
        let announced = Request::new(Body::from(vec![b'x'; 65]));
        assert!(matches!(read(announced, 64).await, Err(ApiError::BodyTooLarge { limit: 64 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_body_that_does_not_end_is_left_after_two_seconds() {
        let started = tokio::time::Instant::now();
        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        discard(Request::new(Body::from_stream(endless))).await;
        assert_eq!(started.elapsed(), DISCARD_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_leave_to_send_is_answered_at_once() {
        let started = tokio::time::Instant::now();
        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        let mut request = Request::new(Body::from_stream(endless));
        request.headers_mut().insert(header::EXPECT, "100-continue".parse().unwrap());
        discard(request).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
