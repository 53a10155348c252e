//! Idle timer of a connection: the time before its first request, between two requests, and during
//! the head of a request. It also reports the progress of requests to the pool of connections.
//!
//! hyper has a similar timeout, but it sets and clears a timer for each request. Here a request
//! only stores the time of its end, and the connection checks that time when the timer could
//! expire.

use std::borrow::Borrow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::fair_pool::PieceProgress;

/// Idle timer of one connection. It stores since when no request runs. Clones share one state.
#[derive(Clone)]
pub(super) struct IdleTimer(PieceProgress);

/// A running request. Dropping it restarts the idle time.
pub(super) struct ActiveRequest(IdleTimer);

/// The body of a response. The request ends when this body is dropped.
///
/// While a part of the body waits for the client to read it, the connection waits for its client.
pub(super) struct TrackedBody<B> {
    body: B,
    request: ActiveRequest,
}

/// The body of a request. While it does not arrive, the connection waits for its client.
pub(super) struct ArrivingBody<B, T> {
    body: B,
    timer: T,
}

impl IdleTimer {
    /// A timer of the connection with this progress, which is idle since the connection was
    /// accepted.
    pub(super) fn new(progress: PieceProgress) -> Self {
        Self(progress)
    }

    /// Marks the start of a request. HTTP/1.1 runs one request at a time on a connection.
    pub(super) fn start_request(&self) -> ActiveRequest {
        self.0.set_working();
        ActiveRequest(self.clone())
    }

    /// Whether a request runs that does not wait for the client.
    pub(super) fn is_working(&self) -> bool {
        self.0.is_working()
    }

    /// Waits until the connection has been idle for `limit`.
    pub(super) async fn expired(&self, limit: Duration) {
        loop {
            let expires_at = self.0.idle_since().unwrap_or_else(Instant::now) + limit;
            if expires_at <= Instant::now() {
                return;
            }
            sleep_until(expires_at).await;
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.0.set_idle();
    }
}

impl ActiveRequest {
    /// Ends the request when `body` has been sent or dropped.
    pub(super) fn until_body_sent<B>(self, body: B) -> TrackedBody<B> {
        TrackedBody { body, request: self }
    }
}

impl<B, T: Borrow<IdleTimer>> ArrivingBody<B, T> {
    pub(super) fn new(body: B, timer: T) -> Self {
        Self { body, timer }
    }
}

impl<B: HttpBody + Unpin> HttpBody for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let IdleTimer(progress) = &self.request.0;
        match &frame {
            // The next part is asked for when the client has read enough. After the last part, the
            // body is dropped at once.
            Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => progress.set_waiting(),
            Poll::Ready(_) => {}
            Poll::Pending => progress.set_working(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: HttpBody + Unpin, T: Borrow<IdleTimer> + Unpin> HttpBody for ArrivingBody<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let IdleTimer(progress) = self.timer.borrow();
        match &frame {
            Poll::Ready(_) => progress.set_working(),
            Poll::Pending => progress.set_waiting(),
        }
        frame
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
    use axum::body::{Body, Bytes};
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::BodyExt;
    use tokio::time::timeout;

    use super::*;
    use crate::fair_pool::FairPool;

    const LIMIT: Duration = Duration::from_secs(30);

    fn timer() -> IdleTimer {
        IdleTimer::new(FairPool::new(1, 1).new_progress())
    }

    /// A body of one part that never ends.
    fn endless() -> Body {
        Body::from_stream(stream::iter([Ok::<_, std::io::Error>("part")]).chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_expires_exactly_at_the_limit() {
        let (idle, started) = (timer(), Instant::now());
        idle.expired(LIMIT).await;
        assert_eq!(started.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_restarts_the_timer_and_a_running_request_stops_it() {
        let idle = timer();
        let mut expired = Box::pin(idle.expired(LIMIT));
        assert!(timeout(LIMIT / 2, &mut expired).await.is_err());
        let answered = idle.start_request().until_body_sent(Body::empty());
        assert!(timeout(LIMIT * 5, &mut expired).await.is_err());
        drop(answered);
        let ended = Instant::now();
        expired.await;
        // A check during a request schedules the next check after the full limit.
        assert!((LIMIT..=LIMIT * 2).contains(&ended.elapsed()), "{:?}", ended.elapsed());
    }

    #[tokio::test]
    async fn a_request_waits_for_its_client_while_its_body_does_not_arrive() {
        let idle = timer();
        let _request = idle.start_request();
        let mut body = ArrivingBody::new(endless(), &idle);
        assert!(idle.is_working());
        let _: Bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(idle.is_working());
        assert!(body.frame().now_or_never().is_none());
        assert!(!idle.is_working() && idle.0.idle_since().is_none());
    }

    #[tokio::test]
    async fn a_request_waits_for_its_client_while_a_part_of_the_response_is_not_read() {
        let idle = timer();
        let mut body = idle.start_request().until_body_sent(endless());
        assert!(idle.is_working());
        let _: Bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!idle.is_working() && idle.0.idle_since().is_none());
        assert!(body.frame().now_or_never().is_none());
        assert!(idle.is_working(), "the server has no further part yet");
    }
}
