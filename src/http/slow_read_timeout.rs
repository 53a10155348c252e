//! How slowly a long answer may be read before its connection is closed.
//!
//! The bound on a stalled write does not hold who reads a byte now and then, and keeps a download's place and memory with
//! it. An answer that is not asked for its next part cannot end itself, so the connection watches.

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::limits::{MAX_RESPONSE_TIME, MIN_BYTES_PER_WINDOW, SLOW_READ_WINDOW};

/// What a connection and the answers on it share: whether a long answer is being read; set again at each progress.
#[derive(Clone, Default)]
pub(super) struct SlowReadTimeout(watch::Sender<bool>);

/// A long answer that is being read, until it is dropped.
struct ActiveRead(SlowReadTimeout);

impl Drop for ActiveRead {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

impl SlowReadTimeout {
    /// The same chunks, watched from now on until they are dropped.
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

    /// Waits until an answer is read too slowly.
    pub(super) async fn expired(&self) {
        let mut reading = self.0.subscribe();
        loop {
            // Neither fails, for this end of the channel is here.
            let _ = reading.wait_for(|is_reading| *is_reading).await;
            let ended =
                async { while timeout(SLOW_READ_WINDOW, reading.changed()).await.is_ok() && *reading.borrow() {} };
            let _ = timeout(MAX_RESPONSE_TIME, ended).await;
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

    /// Reads a chunk of `length` bytes every `pause` and gives the time after which that is too slow.
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
    async fn an_answer_that_is_read_too_slowly_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(expires_after(1, second * 1000).await, SLOW_READ_WINDOW);
        // A byte now and then is no progress.
        assert_eq!(expires_after(1, second).await, SLOW_READ_WINDOW);
        // Progress helps until the answer as a whole takes too long.
        assert_eq!(expires_after(MIN_BYTES_PER_WINDOW / 20, second).await, MAX_RESPONSE_TIME);
        assert_eq!(expires_after(MIN_BYTES_PER_WINDOW, second * 29).await, MAX_RESPONSE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_ended_does_not_close_its_connection_and_the_next_is_watched_again() {
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
