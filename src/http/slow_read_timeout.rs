//! Slow-read timeout: closes a connection whose client reads a long response too slowly.
//!
//! The write timeout does not stop a client that reads single bytes with long pauses. Such a client
//! would keep the permit and the memory of its response. A response body cannot end itself while it
//! is not polled, so the connection watches the progress.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::{MAX_RESPONSE_TIME, MIN_BYTES_PER_WINDOW, SLOW_READ_WINDOW};

/// Slow-read timeout of a connection, shared with its responses. The value says whether the client
/// reads a long response. It is published again each time the client has read enough bytes.
#[derive(Clone, Default)]
pub(super) struct SlowReadTimeout(watch::Sender<bool>);

/// A long response that is being read. Dropping it stops the timeout.
struct ActiveRead(SlowReadTimeout);

impl Drop for ActiveRead {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

impl SlowReadTimeout {
    /// Watches the progress of `chunks` until they are dropped.
    pub(super) fn watch<E>(
        self,
        chunks: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> impl Stream<Item = Result<Bytes, E>> + Send {
        self.0.send_replace(true);
        let reading = ActiveRead(self);
        let mut sent = 0;
        chunks.inspect(move |chunk| {
            sent += chunk.as_ref().map_or(0, Bytes::len);
            if sent >= MIN_BYTES_PER_WINDOW {
                sent = 0;
                reading.0.0.send_replace(true);
            }
        })
    }

    /// Waits until a response is read too slowly.
    pub(super) async fn expired(&self) {
        let mut reading = self.0.subscribe();
        loop {
            // The wait cannot fail, because `self` holds the sender.
            let _ = reading.wait_for(|is_reading| *is_reading).await;
            let while_progressing =
                async { while timeout(SLOW_READ_WINDOW, reading.changed()).await.is_ok() && *reading.borrow() {} };
            let _ = timeout(MAX_RESPONSE_TIME, while_progressing).await;
            if *self.0.borrow() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Reads a chunk of `length` bytes every `pause`. Returns the time until the timeout expires.
    async fn expires_after(length: usize, pause: Duration) -> Duration {
        let (slow_read, started) = (SlowReadTimeout::default(), Instant::now());
        let chunk = move || Ok::<_, Infallible>(Bytes::from(vec![b'x'; length]));
        let mut chunks = Box::pin(slow_read.clone().watch(stream::repeat_with(chunk)));
        tokio::select! {
            () = slow_read.expired() => started.elapsed(),
            () = async { loop { sleep(pause).await; chunks.next().await; } } => Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_expires_when_a_response_is_read_too_slowly() {
        let second = Duration::from_secs(1);
        assert_eq!(expires_after(1, second * 1000).await, SLOW_READ_WINDOW);
        // One byte per second is not enough progress.
        assert_eq!(expires_after(1, second).await, SLOW_READ_WINDOW);
        // With enough progress, the limit on the whole response applies.
        assert_eq!(expires_after(MIN_BYTES_PER_WINDOW / 20, second).await, MAX_RESPONSE_TIME);
        assert_eq!(expires_after(MIN_BYTES_PER_WINDOW, second * 29).await, MAX_RESPONSE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_ended_stops_the_timeout_and_the_next_one_starts_it_again() {
        let slow_read = SlowReadTimeout::default();
        let mut expired = Box::pin(slow_read.expired());
        for _ in 0..3 {
            let chunks = slow_read.clone().watch(stream::pending::<Result<Bytes, Infallible>>());
            assert!(timeout(SLOW_READ_WINDOW / 2, &mut expired).await.is_err());
            drop(chunks);
            assert!(timeout(MAX_RESPONSE_TIME * 2, &mut expired).await.is_err());
        }
    }
}
