//! Idle timer of a connection: the time before its first request, between two requests, and during
//! the head of a request.
//!
//! hyper has a similar timeout, but it sets and clears a timer for each request. Here a request
//! only stores the time of its end, and the connection checks that time when the timer could
//! expire.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// Stored in place of a time while a request runs.
const IN_REQUEST: u64 = u64::MAX;

/// Idle timer of one connection. It stores since when no request runs. Clones share one state.
#[derive(Clone)]
pub(super) struct IdleTimer {
    opened: Instant,
    /// Milliseconds since `opened`, or [`IN_REQUEST`].
    idle_since_ms: Arc<AtomicU64>,
}

/// A running request. Dropping it restarts the idle time.
pub(super) struct ActiveRequest(IdleTimer);

/// The body of a response. The request ends when this body is dropped.
pub(super) struct TrackedBody<B> {
    body: B,
    _request: ActiveRequest,
}

impl IdleTimer {
    /// Creates a timer whose idle time starts now.
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), idle_since_ms: Arc::default() }
    }

    /// Marks the start of a request. HTTP/1.1 runs one request at a time on a connection.
    pub(super) fn start_request(&self) -> ActiveRequest {
        self.idle_since_ms.store(IN_REQUEST, Ordering::Relaxed);
        ActiveRequest(self.clone())
    }

    /// The idle time so far. `None` while a request runs.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        match self.idle_since_ms.load(Ordering::Relaxed) {
            IN_REQUEST => None,
            ms => Some(self.opened.elapsed().saturating_sub(Duration::from_millis(ms))),
        }
    }

    /// Waits until the connection has been idle for `limit`.
    pub(super) async fn expired(&self, limit: Duration) {
        loop {
            let since = match self.idle_since_ms.load(Ordering::Relaxed) {
                IN_REQUEST => Instant::now(),
                ms => self.opened + Duration::from_millis(ms),
            };
            let expires_at = since + limit;
            if expires_at <= Instant::now() {
                return;
            }
            sleep_until(expires_at).await;
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let ms = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(IN_REQUEST - 1);
        self.0.idle_since_ms.store(ms, Ordering::Relaxed);
    }
}

impl ActiveRequest {
    /// Ends the request when `body` has been sent or dropped.
    pub(super) fn until_body_sent<B>(self, body: B) -> TrackedBody<B> {
        TrackedBody { body, _request: self }
    }
}

impl<B: HttpBody + Unpin> HttpBody for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_timer_expires_exactly_at_the_limit() {
        let (idle, started) = (IdleTimer::new(), Instant::now());
        idle.expired(LIMIT).await;
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_restarts_the_timer_and_a_running_request_stops_it() {
        let idle = IdleTimer::new();
        let mut expired = Box::pin(idle.expired(LIMIT));
        assert!(timeout(LIMIT / 2, &mut expired).await.is_err());
        let answered = idle.start_request().until_body_sent(axum::body::Body::empty());
        assert!(timeout(LIMIT * 5, &mut expired).await.is_err());
        drop(answered);
        let ended = Instant::now();
        expired.await;
        // A check during a request schedules the next check after the full limit.
        assert!((LIMIT..=LIMIT * 2).contains(&ended.elapsed()), "{:?}", ended.elapsed());
    }
}
