//! Link between two nodes. After the handshake only the node that dialled it writes on it.
//!
//! So the dialling end never has unread data. When its process dies, the kernel therefore closes
//! the connection with FIN and not with RST. The other node takes this orderly end without a Bye as
//! proof of death (rule 5). So a living process must not end a link that way: [`Link`] sends Bye
//! first, or resets the connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::wire::frame::{Frame, MAX_FRAME_BYTES, MAX_HELLO_BYTES};

/// One end of a link.
///
/// Invariant: unless [`Link::close_with_bye`] succeeded, dropping it resets the connection.
pub(crate) struct Link {
    framed: Framed<TcpStream, LengthDelimitedCodec>,
    net_timeout: Duration,
    sent_bye: bool,
}

/// Resets a link that a living process drops without a Bye. The option is set only here. If it were
/// set from the start, the kernel would also reset the links of a killed process, and other
/// nodes could not tell its death from a network failure.
impl Drop for Link {
    fn drop(&mut self) {
        if !self.sent_bye {
            let _ = SockRef::from(self.framed.get_ref()).set_linger(Some(Duration::ZERO));
        }
    }
}

/// How a link ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinkEnd {
    /// End of stream without a Bye.
    Orderly,
    /// The other node sent Bye.
    Bye,
    /// Any other end: a reset, bytes that are not a frame, or a frame that was not complete in
    /// time.
    Broken,
}

impl Link {
    /// Dials `addr`.
    pub(crate) async fn dial(addr: SocketAddr, net_timeout: Duration) -> io::Result<Self> {
        let stream = timeout(net_timeout, TcpStream::connect(addr)).await.map_err(|_| timed_out("connecting"))??;
        Self::from_stream(stream, net_timeout)
    }

    /// Wraps a connection that was accepted or dialled, and sets its TCP options.
    pub(crate) fn from_stream(stream: TcpStream, net_timeout: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        set_tcp_timeouts(&stream, net_timeout)?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_HELLO_BYTES).new_codec();
        Ok(Self { framed: Framed::new(stream, codec), net_timeout, sent_bye: false })
    }

    /// Addresses of the connection as this side sees them: local, remote.
    pub(crate) fn addrs(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.framed.get_ref().local_addr()?, self.framed.get_ref().peer_addr()?))
    }

    /// Permits frames of up to [`MAX_FRAME_BYTES`], after the handshake.
    pub(crate) fn allow_large_frames(&mut self) {
        self.framed.codec_mut().set_max_frame_length(MAX_FRAME_BYTES);
    }

    /// Writes a frame within the timeout.
    pub(crate) async fn write(&mut self, frame: Bytes) -> io::Result<()> {
        timeout(self.net_timeout, self.framed.send(frame)).await.map_err(|_| timed_out("writing"))?
    }

    /// Reads a frame of the handshake within the timeout. Returns the frame and its bytes.
    pub(crate) async fn read_handshake(&mut self) -> io::Result<(Frame, Bytes)> {
        let next = timeout(self.net_timeout, self.framed.next()).await.map_err(|_| timed_out("the handshake"))?;
        let bytes = next.ok_or_else(|| io::Error::other("the connection ended during the handshake"))??;
        Ok((Frame::decode(&bytes).map_err(io::Error::other)?, bytes.freeze()))
    }

    /// Reads the next frame. A silent link is valid. A frame that has begun must be complete within
    /// two timeouts.
    pub(crate) async fn read(&mut self) -> Result<Frame, LinkEnd> {
        let mut was_partial = false;
        loop {
            let Ok(next) = timeout(self.net_timeout, self.framed.next()).await else {
                // The first bytes of a frame may have arrived just before this check, so the frame
                // gets one more timeout to be complete.
                let partial = !self.framed.read_buffer().is_empty();
                if partial && was_partial {
                    return Err(LinkEnd::Broken);
                }
                was_partial = partial;
                continue;
            };
            return match next.map(|bytes| bytes.ok().and_then(|bytes| Frame::decode(&bytes).ok())) {
                Some(Some(Frame::Bye)) => Err(LinkEnd::Bye),
                Some(Some(frame)) => Ok(frame),
                Some(None) => Err(LinkEnd::Broken),
                None => Err(LinkEnd::Orderly),
            };
        }
    }

    /// Sends Bye and closes the connection without a reset, so that the Bye arrives.
    pub(crate) async fn close_with_bye(mut self) {
        self.sent_bye = self.write(Frame::Bye.encode()).await.is_ok();
    }
}

/// TCP user timeout and keepalive: the kernel closes a connection whose other end is gone.
///
/// Data that is not acknowledged within `net_timeout` ends the connection. Otherwise the kernel
/// would retransmit at growing intervals, and the link would stay unusable long after the network
/// has recovered.
fn set_tcp_timeouts(stream: &TcpStream, net_timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(net_timeout))?;
    // TCP keepalive also ends a half-open link without data. It counts in whole seconds, at least
    // one.
    let interval = Duration::from_secs(net_timeout.as_secs().max(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(2))
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    async fn pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (link, accepted) = tokio::join!(Link::dial(addr, TIMEOUT), listener.accept());
        (link.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn a_dropped_link_is_reset() {
        let (link, mut other) = pair().await;
        drop(link);
        let error = other.read(&mut [0; 8]).await.expect_err("no orderly end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn the_linger_option_is_not_set_before_a_link_is_dropped() {
        let (link, _other) = pair().await;
        assert_eq!(SockRef::from(link.framed.get_ref()).linger().unwrap(), None);
    }

    #[tokio::test]
    async fn a_closed_link_sends_bye() {
        let (link, other) = pair().await;
        link.close_with_bye().await;
        assert_eq!(Link::from_stream(other, TIMEOUT).unwrap().read().await.expect_err("ended"), LinkEnd::Bye);
    }

    #[tokio::test]
    async fn a_frame_follows_its_length_in_four_bytes_big_endian() {
        let (mut link, mut other) = pair().await;
        link.write(Frame::Bye.encode()).await.unwrap();
        let mut bytes = [0; 9];
        other.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"\0\0\0\x05\"Bye\"");
    }

    #[tokio::test]
    async fn a_silent_link_is_valid_but_a_partial_frame_times_out() {
        let (mut link, mut other) = pair().await;
        let silent = timeout(TIMEOUT * 3, link.read()).await;
        assert!(silent.is_err(), "still waiting");
        other.write_all(&[0, 0, 0, 9, b'"']).await.unwrap();
        assert_eq!(link.read().await.expect_err("the link ends"), LinkEnd::Broken);
    }

    #[tokio::test]
    async fn a_frame_with_an_excessive_length_is_rejected() {
        let (mut link, mut other) = pair().await;
        other.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        assert_eq!(link.read().await.expect_err("the link ends"), LinkEnd::Broken);
    }
}
