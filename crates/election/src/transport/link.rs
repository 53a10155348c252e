//! Link between two nodes. After the handshake only the node that dialled it writes on it.
//!
//! So the dialling end never has unread data. When its process dies, the kernel therefore closes
//! the connection with FIN and not with RST. The other node takes this orderly end without a Bye as
//! proof of death (rule 5). So a living process must not end a link that way: [`Link`] sends Bye
//! first, or resets the connection.
//!
//! An end within a frame is orderly too: a process may die while it writes one, and a living one
//! that gives up a frame resets the connection.
//!
//! Over TLS the orderly end is an end of stream without `close_notify`: only a process that
//! encrypts its frames can send `close_notify`, so a dead one did not. The acceptor sends no
//! session tickets and its cipher needs no new keys ([`crate::tls`]), so there is no unread data
//! there either.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::link_stream::LinkStream;
use crate::tls::LinkCertificates;
use crate::wire::frame::{Frame, MAX_FRAME_BYTES, MAX_HELLO_BYTES};

/// One end of a link.
///
/// Invariant: unless [`Link::close_with_bye`] succeeded, dropping it resets the connection.
pub(crate) struct Link {
    framed: Framed<LinkStream, LengthDelimitedCodec>,
    net_timeout: Duration,
    sent_bye: bool,
}

/// Resets a link that a living process drops without a Bye. The option is set only here. If it were
/// set from the start, the kernel would also reset the links of a killed process, and other
/// nodes could not tell its death from a network failure.
impl Drop for Link {
    fn drop(&mut self) {
        if !self.sent_bye {
            let _ = SockRef::from(self.framed.get_ref().tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}

/// How a link ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinkEnd {
    /// End of stream without a Bye, also within a frame, and over TLS without `close_notify`.
    Orderly,
    /// The other node sent Bye.
    Bye,
    /// Any other end: a reset, `close_notify`, bytes that are not a frame, or a frame that was not
    /// complete in time.
    Broken,
}

impl Link {
    /// Wraps a stream whose TCP options are set.
    pub(crate) fn new(stream: LinkStream, net_timeout: Duration) -> Self {
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_HELLO_BYTES).new_codec();
        Self { framed: Framed::new(stream, codec), net_timeout, sent_bye: false }
    }

    /// Addresses of the connection as this side sees them: local, remote.
    pub(crate) fn addrs(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let tcp = self.framed.get_ref().tcp();
        Ok((tcp.local_addr()?, tcp.peer_addr()?))
    }

    /// The certificates of both ends. `None` without TLS.
    pub(crate) fn certificates(&self) -> Option<&LinkCertificates> {
        self.framed.get_ref().certificates()
    }

    /// Keying material of the TLS connection, the same at both ends. `None` without TLS.
    pub(crate) fn channel_binding(&self) -> io::Result<Option<[u8; 32]>> {
        self.framed.get_ref().channel_binding()
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
            return match next {
                Some(Ok(bytes)) => match Frame::decode(&bytes) {
                    Ok(Frame::Bye) => Err(LinkEnd::Bye),
                    Ok(frame) => Ok(frame),
                    Err(_) => Err(LinkEnd::Broken),
                },
                Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(LinkEnd::Orderly),
                // `None` is a `close_notify`, which only a living process sends.
                Some(Err(_)) | None => Err(LinkEnd::Broken),
            };
        }
    }

    /// Sends Bye and closes the connection without a reset, so that the Bye arrives.
    pub(crate) async fn close_with_bye(mut self) {
        self.sent_bye = self.write(Frame::Bye.encode()).await.is_ok();
    }
}

/// Dials `addr` and sets the TCP options of a link.
pub(crate) async fn connect(addr: SocketAddr, net_timeout: Duration) -> io::Result<TcpStream> {
    let tcp = timeout(net_timeout, TcpStream::connect(addr)).await.map_err(|_| timed_out("connecting"))??;
    set_options(&tcp, net_timeout)?;
    Ok(tcp)
}

/// Sets the TCP options of a link.
pub(crate) fn set_options(tcp: &TcpStream, net_timeout: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    set_tcp_timeouts(tcp, net_timeout)
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

/// The error for an operation that did not end within its timeout.
pub(crate) fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long"))
}

#[cfg(test)]
mod tests;
