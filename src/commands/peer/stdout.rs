//! Standard output, written by a thread of its own: a program that reads it slowly, or not at all, must not stop the peer,
//! which has one thread for everybody.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// With more on its way, what happens waits to be shown.
const MOST_BYTES: usize = 256 * 1024;

/// At the end nobody waits longer for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to standard output. If nobody reads it any more, what is written is thrown away.
///
/// Invariant: on its way are at most [`MOST_BYTES`] and what is given at once. The channel has no bound of its own, since whoever
/// writes waits for [`Self::room`] first: the session does so before each batch of notices and before each line that it takes,
/// which gives one answer. Only at the end nobody waits, and what is written then has been in memory before, in the queue of
/// notices, which has a bound.
pub(super) struct Stdout {
    texts: mpsc::Sender<String>,
    way: Arc<Way>,
}

/// What was given and not written yet.
#[derive(Default)]
struct Way {
    bytes: AtomicUsize,
    written: Notify,
}

impl Stdout {
    /// Starts the thread, which ends with the process.
    pub(super) fn open() -> io::Result<Self> {
        Self::writing_to(io::stdout())
    }

    fn writing_to(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (texts, queue) = mpsc::channel::<String>();
        let way = Arc::new(Way::default());
        let written = Arc::clone(&way);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            for text in queue {
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                written.bytes.fetch_sub(text.len(), Ordering::Relaxed);
                written.written.notify_waiters();
            }
        })?;
        Ok(Self { texts, way })
    }

    /// Gives a text to be written.
    pub(super) fn write(&self, text: &str) {
        self.way.bytes.fetch_add(text.len(), Ordering::Relaxed);
        // The thread lives as long as this does.
        let _ = self.texts.send(text.to_owned());
    }

    /// Waits until little is on its way.
    pub(super) async fn room(&self) {
        self.until(|bytes| bytes < MOST_BYTES).await;
    }

    /// Waits until nothing is, or nothing more was written for [`PATIENCE`].
    pub(super) async fn end(&self) {
        loop {
            let before = self.way.bytes.load(Ordering::Relaxed);
            if before == 0 || timeout(PATIENCE, self.until(|bytes| bytes < before)).await.is_err() {
                return;
            }
        }
    }

    async fn until(&self, is_met: impl Fn(usize) -> bool) {
        loop {
            let mut written = std::pin::pin!(self.way.written.notified());
            // From here on nothing is missed.
            written.as_mut().enable();
            if is_met(self.way.bytes.load(Ordering::Relaxed)) {
                return;
            }
            written.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn who_does_not_read_makes_others_wait_and_no_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = Stdout::writing_to(writer).unwrap();
        let text = "x".repeat(MOST_BYTES);
        // A pipe holds less.
        out.write(&text);
        out.write("end");
        assert!(timeout(SHORT, out.room()).await.is_err());
        timeout(LONG, out.end()).await.expect("not for ever");
        let mut bytes = vec![0; text.len() + 3];
        io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert!(bytes.ends_with(b"xend"));
        timeout(LONG, out.end()).await.unwrap();
        assert_eq!(out.way.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn if_nobody_reads_any_more_nobody_waits() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = Stdout::writing_to(writer).unwrap();
        out.write(&"x".repeat(MOST_BYTES));
        timeout(LONG, out.end()).await.unwrap();
        assert_eq!(out.way.bytes.load(Ordering::Relaxed), 0);
    }
}
