//! Standard output and standard error, each written by a thread of its own: a program that reads them slowly, or not at all,
//! must not stop the peer, which has one thread for everybody.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// With more on its way, what happens waits to be shown, and lines of a log are lost.
const MAX_QUEUED_BYTES: usize = 256 * 1024;

/// The way to somebody who reads. If nobody does any more, what is written is thrown away.
///
/// Invariant: on its way are at most [`MOST_BYTES`] and what is given at once. The channel has no bound of its own, since
/// whoever writes waits for [`Self::room`] first, or gives only what there is room for ([`Self::try_write`]). The session
/// waits before each batch of notices and before each line that it takes, which gives one answer. Only at the end nobody
/// waits, and what is written then has been in memory before, in the queue of notices, which has a bound.
#[derive(Clone)]
pub(super) struct NonBlockingWriter {
    text_tx: mpsc::Sender<String>,
    state: Arc<WriterState>,
}

/// What was given and not written yet.
#[derive(Default)]
struct WriterState {
    bytes: AtomicUsize,
    /// Texts that there was no room for since this was last said.
    dropped: AtomicU64,
    written: Notify,
}

impl NonBlockingWriter {
    /// Standard output, by a thread that ends with the process.
    pub(super) fn stdout() -> io::Result<Self> {
        Self::spawn("stdout", io::stdout(), |_| String::new())
    }

    /// Standard error, likewise; `complaint` is the line which says that so many were lost.
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
                // Not with each text of somebody who reads slowly all the time.
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

    /// Gives a text to be written.
    pub(super) fn write(&self, text: &str) {
        self.state.bytes.fetch_add(text.len(), Ordering::Relaxed);
        // The thread lives as long as this does.
        let _ = self.text_tx.send(text.to_owned());
    }

    /// Gives a text to be written if there is room for it; else it is counted as lost, which is said later.
    pub(super) fn try_write(&self, text: &str) {
        if self.state.bytes.load(Ordering::Relaxed) < MAX_QUEUED_BYTES {
            self.write(text);
        } else {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until little is on its way.
    pub(super) async fn wait_for_room(&self) {
        self.wait_until(|bytes| bytes < MAX_QUEUED_BYTES).await;
    }

    /// Waits until nothing is, or nothing more was written for as long as `patience`.
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
            // From here on nothing is missed.
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
    async fn who_does_not_read_makes_others_wait_and_no_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = NonBlockingWriter::spawn("test", writer, loss_notice).unwrap();
        let text = "x".repeat(MAX_QUEUED_BYTES);
        // A pipe holds less.
        out.write(&text);
        out.write("end");
        assert!(timeout(SHORT, out.wait_for_room()).await.is_err());
        timeout(LONG, out.flush(SHORT)).await.expect("not for ever");
        let mut bytes = vec![0; text.len() + 3];
        io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert!(bytes.ends_with(b"xend"));
        timeout(LONG, out.flush(LONG)).await.unwrap();
        assert_eq!(out.state.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_lost_and_that_is_said_once_there_is() {
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
        assert!(reading.join().unwrap().unwrap() == text + "2 lostc", "said once, and nothing is lost any more");
    }

    #[tokio::test]
    async fn if_nobody_reads_any_more_nobody_waits() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = NonBlockingWriter::spawn("test", writer, loss_notice).unwrap();
        out.write(&"x".repeat(MAX_QUEUED_BYTES));
        timeout(LONG, out.flush(LONG)).await.unwrap();
        assert_eq!(out.state.bytes.load(Ordering::Relaxed), 0);
    }
}
