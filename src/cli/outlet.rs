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
const MOST_BYTES: usize = 256 * 1024;

/// The way to somebody who reads. If nobody does any more, what is written is thrown away.
///
/// Invariant: on its way are at most [`MOST_BYTES`] and what is given at once. The channel has no bound of its own, since
/// whoever writes waits for [`Self::room`] first, or gives only what there is room for ([`Self::try_write`]). The session
/// waits before each batch of notices and before each line that it takes, which gives one answer. Only at the end nobody
/// waits, and what is written then has been in memory before, in the queue of notices, which has a bound.
#[derive(Clone)]
pub(super) struct Outlet {
    texts: mpsc::Sender<String>,
    way: Arc<Way>,
}

/// What was given and not written yet.
#[derive(Default)]
struct Way {
    bytes: AtomicUsize,
    /// Texts that there was no room for since this was last said.
    lost: AtomicU64,
    written: Notify,
}

impl Outlet {
    /// Standard output, by a thread that ends with the process.
    pub(super) fn stdout() -> io::Result<Self> {
        Self::writing_to("stdout", io::stdout(), |_| String::new())
    }

    /// Standard error, likewise; `complaint` is the line which says that so many were lost.
    pub(super) fn stderr(complaint: fn(u64) -> String) -> io::Result<Self> {
        Self::writing_to("log", io::stderr(), complaint)
    }

    fn writing_to(name: &str, mut out: impl Write + Send + 'static, complaint: fn(u64) -> String) -> io::Result<Self> {
        let (texts, queue) = mpsc::channel::<String>();
        let way = Arc::new(Way::default());
        let written = Arc::clone(&way);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            for text in queue {
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                let bytes = written.bytes.fetch_sub(text.len(), Ordering::Relaxed) - text.len();
                // Not with each text of somebody who reads slowly all the time.
                let lost = if bytes <= MOST_BYTES / 2 { written.lost.swap(0, Ordering::Relaxed) } else { 0 };
                if lost > 0 {
                    let _ = out.write_all(complaint(lost).as_bytes()).and_then(|()| out.flush());
                }
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

    /// Gives a text to be written if there is room for it; else it is counted as lost, which is said later.
    pub(super) fn try_write(&self, text: &str) {
        if self.way.bytes.load(Ordering::Relaxed) < MOST_BYTES {
            self.write(text);
        } else {
            self.way.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until little is on its way.
    pub(super) async fn room(&self) {
        self.until(|bytes| bytes < MOST_BYTES).await;
    }

    /// Waits until nothing is, or nothing more was written for as long as `patience`.
    pub(super) async fn end(&self, patience: Duration) {
        loop {
            let before = self.way.bytes.load(Ordering::Relaxed);
            if before == 0 || timeout(patience, self.until(|bytes| bytes < before)).await.is_err() {
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

    fn complaint(lost: u64) -> String {
        format!("{lost} lost")
    }

    #[tokio::test]
    async fn who_does_not_read_makes_others_wait_and_no_thread() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = Outlet::writing_to("test", writer, complaint).unwrap();
        let text = "x".repeat(MOST_BYTES);
        // A pipe holds less.
        out.write(&text);
        out.write("end");
        assert!(timeout(SHORT, out.room()).await.is_err());
        timeout(LONG, out.end(SHORT)).await.expect("not for ever");
        let mut bytes = vec![0; text.len() + 3];
        io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        assert!(bytes.ends_with(b"xend"));
        timeout(LONG, out.end(LONG)).await.unwrap();
        assert_eq!(out.way.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_lost_and_that_is_said_once_there_is() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = Outlet::writing_to("test", writer, complaint).unwrap();
        let text = "x".repeat(MOST_BYTES);
        for text in [text.as_str(), "a", "b"] {
            out.try_write(text);
        }
        let reading = thread::spawn(move || {
            let mut read = String::new();
            io::Read::read_to_string(&mut reader, &mut read).map(|_| read)
        });
        timeout(LONG, out.end(LONG)).await.unwrap();
        out.try_write("c");
        drop(out);
        assert!(reading.join().unwrap().unwrap() == text + "2 lostc", "said once, and nothing is lost any more");
    }

    #[tokio::test]
    async fn if_nobody_reads_any_more_nobody_waits() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = Outlet::writing_to("test", writer, complaint).unwrap();
        out.write(&"x".repeat(MOST_BYTES));
        timeout(LONG, out.end(LONG)).await.unwrap();
        assert_eq!(out.way.bytes.load(Ordering::Relaxed), 0);
    }
}
