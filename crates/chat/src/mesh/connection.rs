//! One connection of the mesh: greeted, then read and written by one task until either end ends it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection_event::ConnectionEvent;
use super::framer::JsonFramer;
use super::greeting::{MAX_GREETING_BYTES, greeting, read_greeting};
use super::send_queue::SendQueue;
use crate::engine::LinkId;
use crate::io_counters::IoCounters;
use crate::peer_id::PeerId;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// The most messages that are handed on at once.
const BATCH: usize = 64;
/// How long the other end may take to end a connection that this end has ended.
const FAREWELL: Duration = Duration::from_millis(500);
/// Between two writes to a reader that takes one read for one message: by then it has read the first. What comes faster it
/// reads as one, and loses both. So it gets at most 50 messages a second.
const ALONE: Duration = Duration::from_millis(20);
/// What was sent and is not acknowledged for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A connection after its greeting.
pub(super) struct MeshConnection {
    stream: TcpStream,
    splitter: JsonFramer,
}

impl MeshConnection {
    /// Says who is here and hears who is there, both at once.
    pub(super) async fn greet(mut stream: TcpStream, me: PeerId, within: Duration) -> io::Result<(Self, PeerId)> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED))?;
        let greeted = async {
            stream.write_all(greeting(me).as_bytes()).await?;
            let mut bytes = Vec::with_capacity(MAX_GREETING_BYTES);
            loop {
                if let Some((peer, length)) = read_greeting(&bytes).map_err(io::Error::other)? {
                    let mut splitter = JsonFramer::default();
                    splitter.extend(&bytes[length..]);
                    return Ok((splitter, peer));
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(io::Error::other("the connection ended before a greeting came"));
                }
            }
        };
        let (splitter, peer) =
            timeout(within, greeted).await.map_err(|_| io::Error::other("no greeting came in time"))??;
        Ok((Self { stream, splitter }, peer))
    }

    /// Reads and writes until the end; why it ended.
    pub(super) async fn run(
        self,
        link: LinkId,
        outbox: SendQueue,
        news: mpsc::Sender<ConnectionEvent>,
        tallies: &IoCounters,
    ) -> String {
        let (reader, writer) = self.stream.into_split();
        let mut reading = std::pin::pin!(read(reader, self.splitter, link, news, tallies));
        select! {
            why = &mut reading => why,
            written = write(writer, &outbox, tallies) => match written {
                // The other end has what was written once it ends the connection, too.
                Ok(_open) => timeout(FAREWELL, reading).await.unwrap_or_else(|_| "it was ended".to_owned()),
                Err(error) => error.to_string(),
            },
        }
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    mut splitter: JsonFramer,
    link: LinkId,
    news: mpsc::Sender<ConnectionEvent>,
    tallies: &IoCounters,
) -> String {
    loop {
        loop {
            let mut messages = Vec::new();
            let broken = loop {
                match splitter.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break None,
                    Err(broken) => break Some(broken),
                }
                if messages.len() == BATCH {
                    break None;
                }
            };
            let is_full = messages.len() == BATCH;
            if !messages.is_empty() && news.send(ConnectionEvent::Heard { link, messages }).await.is_err() {
                return "this peer ends".to_owned();
            }
            if let Some(broken) = broken {
                tallies.broken_streams.add(1);
                return broken.to_string();
            }
            if !is_full {
                break;
            }
        }
        match reader.read_buf(splitter.room(READ_BYTES)).await {
            Ok(0) => return "the other end ended it".to_owned(),
            Ok(length) => tallies.bytes_in.add(length),
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes until the queue ends. The half is given back, so that the connection stays readable.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, outbox: &SendQueue, tallies: &IoCounters) -> io::Result<W> {
    // The greeting was written before, and is read by itself, too.
    let mut written_at = Instant::now();
    while let Some((bytes, alone)) = outbox.next().await {
        if alone {
            sleep_until(written_at + ALONE).await;
        }
        // To a reader that does not read a write would wait for ever.
        select! {
            biased;
            written = writer.write_all(&bytes) => written?,
            () = outbox.abandoned() => {}
        }
        tallies.bytes_out.add(bytes.len());
        // Who is known to read a stream is never again taken for one that does not.
        if alone {
            written_at = Instant::now();
        }
    }
    if outbox.is_abandoned() {
        return Err(io::Error::other("it reads too slowly"));
    }
    writer.shutdown().await?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_one_read_for_one_message_is_given_time_to_read_each() {
        let outbox = SendQueue::new(1);
        for text in ["one", "two", "three"] {
            outbox.push(Bytes::from(text), true).unwrap();
        }
        let (writer, mut reader) = tokio::io::duplex(4096);
        let start = Instant::now();
        let tallies = IoCounters::default();
        let written = write(writer, &outbox, &tallies);
        let read = async {
            let mut buffer = [0; 4096];
            for (index, text) in ["one", "two", "three"].into_iter().enumerate() {
                let length = reader.read(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], text.as_bytes());
                let pauses = u32::try_from(index).unwrap() + 1;
                assert!(start.elapsed() >= ALONE * pauses, "{text} came after {:?}", start.elapsed());
            }
            // It shows that it reads a stream: nothing waits any more.
            for text in ["four", "five"] {
                outbox.push(Bytes::from(text), false).unwrap();
            }
            let before = Instant::now();
            let length = reader.read(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], before.elapsed()), (&b"fourfive"[..], Duration::ZERO));
            outbox.close();
        };
        let (written, ()) = tokio::join!(written, read);
        written.unwrap();
    }
}
