//! How long a connection may be without a request: until its first, between two, and while the head of one comes.
//!
//! hyper can limit that, too, but sets up a timer for each request and takes it down again. Here a request costs a note of
//! when it ended, and a connection a look now and then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// In the place of a time: a request is being answered.
const IN_REQUEST: u64 = u64::MAX;

/// Since when a connection is without a request.
#[derive(Clone)]
pub(super) struct IdleTimer {
    opened: Instant,
    /// Milliseconds since then, or [`IN_REQUEST`].
    since_ms: Arc<AtomicU64>,
}

/// A request that is being answered, until it is dropped.
pub(super) struct ActiveRequest(IdleTimer);

/// An answer's body, with which the request ends.
pub(super) struct TrackedBody<B> {
    body: B,
    _request: ActiveRequest,
}

impl IdleTimer {
    /// IdleTimer from now on.
    pub(super) fn new() -> Self {
        Self { opened: Instant::now(), since_ms: Arc::default() }
    }

    /// A request came; there are no two at a time.
    pub(super) fn start_request(&self) -> ActiveRequest {
        self.since_ms.store(IN_REQUEST, Ordering::Relaxed);
        ActiveRequest(self.clone())
    }

    /// For how long there has been no request; `None` while one is being answered.
    pub(super) fn idle_time(&self) -> Option<Duration> {
        match self.since_ms.load(Ordering::Relaxed) {
            IN_REQUEST => None,
            ms => Some(self.opened.elapsed().saturating_sub(Duration::from_millis(ms))),
        }
    }

    /// Waits until there was no request for as long as `limit`.
    pub(super) async fn expired(&self, limit: Duration) {
        loop {
            let since = match self.since_ms.load(Ordering::Relaxed) {
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
        self.0.since_ms.store(ms, Ordering::Relaxed);
    }
}

impl ActiveRequest {
    /// Ends the request when `body` is sent.
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
    async fn a_connection_is_over_exactly_when_it_was_idle_for_long() {
        let (idle, started) = (IdleTimer::new(), Instant::now());
        idle.expired(LIMIT).await;
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_begins_the_time_anew_and_none_passes_while_one_is_answered() {
        let idle = IdleTimer::new();
        let mut expired = Box::pin(idle.expired(LIMIT));
        assert!(timeout(LIMIT / 2, &mut expired).await.is_err());
        let answered = idle.start_request().until_body_sent(axum::body::Body::empty());
        assert!(timeout(LIMIT * 5, &mut expired).await.is_err());
        drop(answered);
        let ended = Instant::now();
        expired.await;
        // A look may come as late as it would have taken the request that was being answered.
        assert!((LIMIT..=LIMIT * 2).contains(&ended.elapsed()), "{:?}", ended.elapsed());
    }
}
