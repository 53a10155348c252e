//! One mesh connection: exchanges greetings, then reads and writes in one task until either end
//! closes it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection_event::EventSender;
use super::framer::JsonFramer;
use super::greeting::{MAX_GREETING_BYTES, greeting, read_greeting};
use super::send_queue::SendQueue;
use crate::engine::LinkId;
use crate::io_counters::IoCounters;
use crate::peer_id::PeerId;

/// Longest wait for the greeting of the other peer before this peer sends its own on a connection
/// that it dialled. Known programs greet at once.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Size of the read buffer, in bytes.
const READ_BYTES: usize = 16 * 1024;
/// Largest number of messages in one event to the driver.
const MAX_BATCH_MESSAGES: usize = 64;
/// Time that the other end has to close a connection after this end has closed it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause between two writes to a peer that parses each read as one message. Without the pause, one
/// read could return two messages and the peer would lose both. This limits such a peer to 50
/// messages per second.
const SINGLE_MESSAGE_INTERVAL: Duration = Duration::from_millis(20);
/// Time without an acknowledgement of sent data after which the connection ends. Also the idle time
/// before the first keep-alive probe.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// Connection after the exchange of greetings.
pub(super) struct MeshConnection {
    stream: TcpStream,
    framer: JsonFramer,
}

impl MeshConnection {
    /// Sends this peer's greeting and reads the greeting of the other peer. Returns the connection
    /// and the id of the other peer.
    ///
    /// With `may_greet`, this peer waits [`LOOK_TIMEOUT`] for the other greeting before it sends
    /// its own. If `may_greet` then returns false for the other peer, the connection is closed and
    /// not returned. So the other program does not see a link that opens and closes.
    ///
    /// # Errors
    /// An I/O error, an invalid greeting, or no greeting within `greeting_timeout`.
    pub(super) async fn exchange_greetings(
        mut stream: TcpStream,
        own_id: PeerId,
        greeting_timeout: Duration,
        may_greet: Option<impl AsyncFnOnce(PeerId) -> bool>,
    ) -> io::Result<(Option<Self>, PeerId)> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_USER_TIMEOUT))?;
        let greeted = async {
            let mut bytes = Vec::with_capacity(MAX_GREETING_BYTES);
            if let Some(may_greet) = may_greet {
                let look_timeout = LOOK_TIMEOUT.min(greeting_timeout / 2);
                if let Ok(looked) = timeout(look_timeout, receive_greeting(&mut stream, &mut bytes)).await {
                    let (peer, _) = looked?;
                    if !may_greet(peer).await {
                        return Ok((None, peer));
                    }
                }
            }
            stream.write_all(greeting(own_id).as_bytes()).await?;
            let (peer, length) = receive_greeting(&mut stream, &mut bytes).await?;
            let mut framer = JsonFramer::default();
            framer.extend(&bytes[length..]);
            io::Result::Ok((Some(framer), peer))
        };
        let (framer, peer) =
            timeout(greeting_timeout, greeted).await.map_err(|_| io::Error::other("the greeting timed out"))??;
        Ok((framer.map(|framer| Self { stream, framer }), peer))
    }

    /// Reads and writes until the connection ends. Returns the reason.
    pub(super) async fn run(
        self,
        link: LinkId,
        queue: SendQueue,
        events: EventSender,
        io_counters: &IoCounters,
    ) -> String {
        let (reader, writer) = self.stream.into_split();
        let mut reading = std::pin::pin!(read_messages(reader, self.framer, link, events, io_counters));
        select! {
            reason = &mut reading => reason,
            written = write_queue(writer, &queue, io_counters) => match written {
                // When the other end closes too, it has received everything.
                Ok(_open) => timeout(CLOSE_TIMEOUT, reading).await.unwrap_or_else(|_| "closed by this peer".to_owned()),
                Err(error) => error.to_string(),
            },
        }
    }
}

/// Reads into `bytes` until they begin with a greeting. Returns the id of the other peer and the
/// length of the greeting. No byte is lost if the future is dropped.
async fn receive_greeting(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<(PeerId, usize)> {
    loop {
        if let Some(greeting) = read_greeting(bytes).map_err(io::Error::other)? {
            return Ok(greeting);
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::Error::other("the connection was closed before the greeting"));
        }
    }
}

async fn read_messages(
    mut reader: OwnedReadHalf,
    mut framer: JsonFramer,
    link: LinkId,
    events: EventSender,
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
            if !messages.is_empty() && events.send_messages(link, messages).await.is_err() {
                return "this peer is ending".to_owned();
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

/// Writes the queue until it is closed and empty. Returns the write half: dropping it would end the
/// connection before the other end has read everything.
async fn write_queue<W: AsyncWrite + Unpin>(
    mut writer: W,
    queue: &SendQueue,
    io_counters: &IoCounters,
) -> io::Result<W> {
    // The greeting was the first write. The peer must not read it together with the first message.
    let mut written_at = Instant::now();
    while let Some((bytes, one_per_write)) = queue.next_write().await {
        if one_per_write {
            sleep_until(written_at + SINGLE_MESSAGE_INTERVAL).await;
        }
        // A write to a peer that does not read never ends. So a discarded queue ends the wait.
        select! {
            biased;
            written = writer.write_all(&bytes) => written?,
            () = queue.wait_discarded() => {}
        }
        io_counters.bytes_out.add(bytes.len());
        // The queue of a peer that parses a stream never returns to one message per write, so the
        // time is needed only here.
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

    use super::super::send_queue::SendMode;
    use super::*;

    /// Two ends of a TCP connection: the end under test, and the other peer.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (dialled, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        (dialled.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn a_peer_that_must_not_be_linked_twice_gets_no_greeting() {
        let (near, mut far) = connected().await;
        far.write_all(greeting(PeerId(7)).as_bytes()).await.unwrap();
        let may_greet = Some(async |peer| peer != PeerId(7));
        let greeted = MeshConnection::exchange_greetings(near, PeerId(1), Duration::from_secs(5), may_greet).await;
        assert!(matches!(greeted, Ok((None, PeerId(7)))));
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"");
    }

    #[tokio::test]
    async fn another_peer_is_greeted_even_if_it_waits_for_the_greeting_of_this_peer() {
        for waits in [false, true] {
            let (near, mut far) = connected().await;
            let other = async {
                if waits {
                    far.read_exact(&mut [0; 33]).await.unwrap();
                }
                far.write_all(greeting(PeerId(8)).as_bytes()).await.unwrap();
            };
            let timeout = Duration::from_millis(400);
            let may_greet = Some(async |peer| peer != PeerId(7));
            let greeted = MeshConnection::exchange_greetings(near, PeerId(1), timeout, may_greet);
            let (greeted, ()) = tokio::join!(greeted, other);
            assert!(matches!(greeted, Ok((Some(_), PeerId(8)))), "waits: {waits}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_is_written_before_the_messages_in_the_queue() {
        let queue = SendQueue::new(1);
        for number in 0..200 {
            queue.push(Bytes::from(format!("{number}")), SendMode::OnePerWrite).unwrap();
        }
        let (writer, mut reader) = tokio::io::duplex(4096);
        let io_counters = IoCounters::default();
        let written = write_queue(writer, &queue, &io_counters);
        let reading = async {
            let mut buffer = [0; 4096];
            let mut next = async || {
                let length = reader.read(&mut buffer).await.unwrap();
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            };
            assert_eq!(next().await, "0");
            // Message 1 already waits for the end of its pause.
            queue.push(Bytes::from("beat"), SendMode::Ahead).unwrap();
            let pushed_at = Instant::now();
            assert_eq!([next().await, next().await, next().await], ["1", "beat", "2"]);
            assert_eq!(pushed_at.elapsed(), SINGLE_MESSAGE_INTERVAL * 3, "each is a write of its own");
            queue.discard();
        };
        let (written, ()) = tokio::join!(written, reading);
        assert!(written.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn writes_to_a_peer_that_parses_each_read_as_one_message_are_spaced() {
        let queue = SendQueue::new(1);
        for text in ["one", "two", "three"] {
            queue.push(Bytes::from(text), SendMode::OnePerWrite).unwrap();
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
            // Now the peer is known to parse a stream: no more pauses.
            for text in ["four", "five"] {
                queue.push(Bytes::from(text), SendMode::Stream).unwrap();
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
