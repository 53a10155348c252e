//! Writer for standard output and standard error on a separate thread. A slow reader must not block
//! the peer, whose event loop runs on one thread.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Size of the queue, in bytes. When it is full, [`NonBlockingWriter::wait_for_room`] waits, and
/// [`NonBlockingWriter::try_write`] drops its text.
const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// Handle to the queue of the writer thread. If the reader has closed the stream, the thread drops
/// the texts.
///
/// The channel itself is unbounded. The callers keep the queue near [`MAX_QUEUED_BYTES`]: they wait
/// with [`Self::wait_for_room`] before they write, or use [`Self::try_write`]. The chat session
/// waits before each batch of notices and before each input line, which has one reply. It does not
/// wait at the shutdown: then it writes only the notices that are left in their bounded queue.
#[derive(Clone)]
pub(super) struct NonBlockingWriter {
    text_tx: mpsc::Sender<String>,
    state: Arc<WriterState>,
}

/// State shared with the writer thread.
#[derive(Default)]
struct WriterState {
    /// Size of the queued texts, in bytes.
    bytes: AtomicUsize,
    /// Number of texts that were dropped since the latest loss notice.
    dropped: AtomicU64,
    /// Notified after each written text.
    written: Notify,
}

impl NonBlockingWriter {
    /// Writer for standard output. Its thread ends with the process.
    ///
    /// # Errors
    /// The error of the system if no thread can be started.
    pub(super) fn stdout() -> io::Result<Self> {
        Self::spawn("stdout", io::stdout(), |_| String::new())
    }

    /// Writer for standard error. `loss_notice` formats the line for a number of dropped texts.
    ///
    /// # Errors
    /// The error of the system if no thread can be started.
    pub(super) fn stderr(loss_notice: fn(u64) -> String) -> io::Result<Self> {
        Self::spawn("log", io::stderr(), loss_notice)
    }

    fn spawn(name: &str, mut out: impl Write + Send + 'static, loss_notice: fn(u64) -> String) -> io::Result<Self> {
        let (text_tx, queue) = mpsc::channel::<String>();
        let state = Arc::new(WriterState::default());
        let writer_state = Arc::clone(&state);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for text in queue {
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                let bytes = writer_state.bytes.fetch_sub(text.len(), Ordering::Relaxed) - text.len();
                // The loss notice waits until the queue is half empty. Otherwise a slow reader
                // would get one after each text.
                let dropped =
                    if bytes <= MAX_QUEUED_BYTES / 2 { writer_state.dropped.swap(0, Ordering::Relaxed) } else { 0 };
                if dropped > 0 {
                    let _ = out.write_all(loss_notice(dropped).as_bytes()).and_then(|()| out.flush());
                }
                writer_state.written.notify_waiters();
            }
        })?;
        Ok(Self { text_tx, state })
    }

    /// Queues a text even if the queue is full.
    pub(super) fn write(&self, text: &str) {
        self.state.bytes.fetch_add(text.len(), Ordering::Relaxed);
        // The thread runs as long as a sender exists.
        let _ = self.text_tx.send(text.to_owned());
    }

    /// Queues a text if the queue is not full. Otherwise counts it as dropped for the next loss
    /// notice.
    pub(super) fn try_write(&self, text: &str) {
        if self.state.bytes.load(Ordering::Relaxed) < MAX_QUEUED_BYTES {
            self.write(text);
        } else {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the queue is not full.
    pub(super) async fn wait_for_room(&self) {
        self.wait_until(|bytes| bytes < MAX_QUEUED_BYTES).await;
    }

    /// Waits until the queue is empty, or until nothing was written for `stall_timeout`.
    pub(super) async fn flush(&self, stall_timeout: Duration) {
        loop {
            let before = self.state.bytes.load(Ordering::Relaxed);
            if before == 0 || timeout(stall_timeout, self.wait_until(|bytes| bytes < before)).await.is_err() {
                return;
            }
        }
    }

    async fn wait_until(&self, is_met: impl Fn(usize) -> bool) {
        loop {
            let mut written = std::pin::pin!(self.state.written.notified());
            // Registered before the check, so no notification is missed.
            written.as_mut().enable();
            if is_met(self.state.bytes.load(Ordering::Relaxed)) {
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

    fn loss_notice(dropped: u64) -> String {
        format!("{dropped} lost")
    }

    #[tokio::test]
    async fn a_full_queue_makes_the_callers_wait_but_blocks_no_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = NonBlockingWriter::spawn("test", writer, loss_notice).unwrap();
        let text = "x".repeat(MAX_QUEUED_BYTES);
        // The buffer of the pipe is smaller, so the thread blocks.
        out.write(&text);
        out.write("end");
        assert!(timeout(SHORT, out.wait_for_room()).await.is_err());
        timeout(LONG, out.flush(SHORT)).await.expect("it stops waiting");
        let mut bytes = vec![0; text.len() + 3];
        io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert!(bytes.ends_with(b"xend"));
        timeout(LONG, out.flush(LONG)).await.unwrap();
        assert_eq!(out.state.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn texts_dropped_by_a_full_queue_are_reported_once_there_is_room() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = NonBlockingWriter::spawn("test", writer, loss_notice).unwrap();
        let text = "x".repeat(MAX_QUEUED_BYTES);
        for text in [text.as_str(), "a", "b"] {
            out.try_write(text);
        }
        let reading = thread::spawn(move || {
            let mut read = String::new();
            io::Read::read_to_string(&mut reader, &mut read).map(|_| read)
        });
        timeout(LONG, out.flush(LONG)).await.unwrap();
        out.try_write("c");
        drop(out);
        assert!(
            reading.join().unwrap().unwrap() == text + "2 lostc",
            "reported once, and no text is dropped afterwards"
        );
    }

    #[tokio::test]
    async fn without_a_reader_nothing_waits() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = NonBlockingWriter::spawn("test", writer, loss_notice).unwrap();
        out.write(&"x".repeat(MAX_QUEUED_BYTES));
        timeout(LONG, out.flush(LONG)).await.unwrap();
        assert_eq!(out.state.bytes.load(Ordering::Relaxed), 0);
    }
}
