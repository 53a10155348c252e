//! One connection of the mesh: greeted, then read and written by one task until either end ends it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::greeting::{MAX_GREETING_BYTES, greeting, read_greeting};
use super::message::Message;
use super::network::News;
use super::outbox::Outbox;
use super::splitter::Splitter;
use crate::peer::engine::LinkId;
use crate::peer::peer_id::PeerId;
use crate::peer::tallies::Tallies;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// The most messages that are handed on at once.
const BATCH: usize = 64;
/// How long the other end may take to end a connection that this end has ended.
const FAREWELL: Duration = Duration::from_millis(500);
/// What was sent and is not acknowledged for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A connection after its greeting.
pub(super) struct Link {
    stream: TcpStream,
    splitter: Splitter,
}

impl Link {
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
                    let mut splitter = Splitter::default();
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
    pub(super) async fn run(self, link: LinkId, outbox: Outbox, news: mpsc::Sender<News>, tallies: &Tallies) -> String {
        let (reader, writer) = self.stream.into_split();
        let mut reading = std::pin::pin!(read(reader, self.splitter, link, news, tallies));
        tokio::select! {
            why = &mut reading => why,
            // A write to a reader that does not read would wait for ever.
            () = outbox.abandoned() => "it reads too slowly".to_owned(),
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
    mut splitter: Splitter,
    link: LinkId,
    news: mpsc::Sender<News>,
    tallies: &Tallies,
) -> String {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        loop {
            let mut messages = Vec::new();
            let broken = loop {
                match splitter.next_message() {
                    // What is no message by its content does not break the stream.
                    Ok(Some(bytes)) => match Message::read(&bytes) {
                        Some(message) => messages.push(message),
                        None => tallies.unread_messages.add(1),
                    },
                    Ok(None) => break None,
                    Err(broken) => break Some(broken),
                }
                if messages.len() == BATCH {
                    break None;
                }
            };
            let is_full = messages.len() == BATCH;
            if !messages.is_empty() && news.send(News::Heard { link, messages }).await.is_err() {
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
        match reader.read(&mut buffer).await {
            Ok(0) => return "the other end ended it".to_owned(),
            Ok(length) => {
                tallies.bytes_in.add(length);
                splitter.extend(&buffer[..length]);
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes until the queue ends. The half is given back, so that the connection stays readable.
async fn write(mut writer: OwnedWriteHalf, outbox: &Outbox, tallies: &Tallies) -> io::Result<OwnedWriteHalf> {
    while let Some(bytes) = outbox.next().await {
        writer.write_all(&bytes).await?;
        tallies.bytes_out.add(bytes.len());
    }
    writer.shutdown().await?;
    Ok(writer)
}
