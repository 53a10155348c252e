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
const MAX_BATCH_MESSAGES: usize = 64;
/// How long the other end may take to end a connection that this end has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two writes to a reader that takes one read for one message: by then it has read the first. What comes faster it
/// reads as one, and loses both. So it gets at most 50 messages a second.
const SINGLE_MESSAGE_INTERVAL: Duration = Duration::from_millis(20);
/// What was sent and is not acknowledged for so long ends the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection after its greeting.
pub(super) struct MeshConnection {
    stream: TcpStream,
    framer: JsonFramer,
}

impl MeshConnection {
    /// Says who is here and hears who is there, both at once.
    pub(super) async fn exchange_greetings(
        mut stream: TcpStream,
        me: PeerId,
        within: Duration,
    ) -> io::Result<(Self, PeerId)> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_USER_TIMEOUT))?;
        let greeted = async {
            stream.write_all(greeting(me).as_bytes()).await?;
            let mut bytes = Vec::with_capacity(MAX_GREETING_BYTES);
            loop {
                if let Some((peer, length)) = read_greeting(&bytes).map_err(io::Error::other)? {
                    let mut framer = JsonFramer::default();
                    framer.extend(&bytes[length..]);
                    return Ok((framer, peer));
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(io::Error::other("the connection ended before a greeting came"));
                }
            }
        };
        let (framer, peer) =
            timeout(within, greeted).await.map_err(|_| io::Error::other("no greeting came in time"))??;
        Ok((Self { stream, framer }, peer))
    }

    /// Reads and writes until the end; why it ended.
    pub(super) async fn run(
        self,
        link: LinkId,
        queue: SendQueue,
        events: mpsc::Sender<ConnectionEvent>,
        io_counters: &IoCounters,
    ) -> String {
        let (reader, writer) = self.stream.into_split();
        let mut reading = std::pin::pin!(read_messages(reader, self.framer, link, events, io_counters));
        select! {
            why = &mut reading => why,
            written = write_queue(writer, &queue, io_counters) => match written {
                // The other end has what was written once it ends the connection, too.
                Ok(_open) => timeout(CLOSE_TIMEOUT, reading).await.unwrap_or_else(|_| "it was ended".to_owned()),
                Err(error) => error.to_string(),
            },
        }
    }
}

async fn read_messages(
    mut reader: OwnedReadHalf,
    mut framer: JsonFramer,
    link: LinkId,
    events: mpsc::Sender<ConnectionEvent>,
    io_counters: &IoCounters,
) -> String {
    loop {
        loop {
            let mut messages = Vec::new();
            let framing_error = loop {
                match framer.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break None,
                    Err(framing_error) => break Some(framing_error),
                }
                if messages.len() == MAX_BATCH_MESSAGES {
                    break None;
                }
            };
            let is_full = messages.len() == MAX_BATCH_MESSAGES;
            if !messages.is_empty() && events.send(ConnectionEvent::Messages { link, messages }).await.is_err() {
                return "this peer ends".to_owned();
            }
            if let Some(framing_error) = framing_error {
                io_counters.broken_streams.add(1);
                return framing_error.to_string();
            }
            if !is_full {
                break;
            }
        }
        match reader.read_buf(framer.read_buffer(READ_BYTES)).await {
            Ok(0) => return "the other end ended it".to_owned(),
            Ok(length) => io_counters.bytes_in.add(length),
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes until the queue ends. The half is given back, so that the connection stays readable.
async fn write_queue<W: AsyncWrite + Unpin>(
    mut writer: W,
    queue: &SendQueue,
    io_counters: &IoCounters,
) -> io::Result<W> {
    // The greeting was written before, and is read by itself, too.
    let mut written_at = Instant::now();
    while let Some((bytes, one_per_write)) = queue.next_write().await {
        if one_per_write {
            sleep_until(written_at + SINGLE_MESSAGE_INTERVAL).await;
        }
        // To a reader that does not read a write would wait for ever.
        select! {
            biased;
            written = writer.write_all(&bytes) => written?,
            () = queue.wait_discarded() => {}
        }
        io_counters.bytes_out.add(bytes.len());
        // Who is known to read a stream is never again taken for one that does not.
        if one_per_write {
            written_at = Instant::now();
        }
    }
    if queue.is_discarded() {
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
        let queue = SendQueue::new(1);
        for text in ["one", "two", "three"] {
            queue.push(Bytes::from(text), true).unwrap();
        }
        let (writer, mut reader) = tokio::io::duplex(4096);
        let start = Instant::now();
        let io_counters = IoCounters::default();
        let written = write_queue(writer, &queue, &io_counters);
        let reading = async {
            let mut buffer = [0; 4096];
            for (index, text) in ["one", "two", "three"].into_iter().enumerate() {
                let length = reader.read(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], text.as_bytes());
                let pauses = u32::try_from(index).unwrap() + 1;
                assert!(start.elapsed() >= SINGLE_MESSAGE_INTERVAL * pauses, "{text} came after {:?}", start.elapsed());
            }
            // It shows that it reads a stream: nothing waits any more.
            for text in ["four", "five"] {
                queue.push(Bytes::from(text), false).unwrap();
            }
            let before = Instant::now();
            let length = reader.read(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..length], before.elapsed()), (&b"fourfive"[..], Duration::ZERO));
            queue.close();
        };
        let (written, ()) = tokio::join!(written, reading);
        written.unwrap();
    }
}
