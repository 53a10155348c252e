//! Byte stream of a link: TLS over TCP, or plain TCP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::tls::LinkCertificates;

/// Label of the keying material that proofs of the cluster key cover. Only the links export it.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-rollcall-cluster-key";

/// Byte stream of a link.
///
/// An end of stream that does not prove itself is [`io::ErrorKind::UnexpectedEof`], at any byte. A
/// read of zero bytes is a `close_notify` of TLS; plain TCP has none.
#[derive(Debug)]
pub(crate) enum LinkStream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS after its handshake.
    Tls(Box<TlsStream<TcpStream>>, LinkCertificates),
}

impl LinkStream {
    /// The connection under it.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls, _) => tls.get_ref().0,
        }
    }

    /// The certificates of both ends. `None` without TLS.
    pub(crate) fn certificates(&self) -> Option<&LinkCertificates> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, certificates) => Some(certificates),
        }
    }

    /// Keying material of the TLS connection, the same at both ends. `None` without TLS.
    pub(crate) fn channel_binding(&self) -> io::Result<Option<[u8; 32]>> {
        let Self::Tls(tls, _) = self else { return Ok(None) };
        let material = match &**tls {
            TlsStream::Client(client) => client.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None),
            TlsStream::Server(server) => server.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None),
        };
        material.map(Some).map_err(io::Error::other)
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => {
                let before = buffer.remaining();
                let result = Pin::new(tcp).poll_read(cx, buffer);
                let is_end = matches!(result, Poll::Ready(Ok(()))) && before > 0 && buffer.remaining() == before;
                if is_end { Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())) } else { result }
            }
            Self::Tls(tls, _) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls, _) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls, _) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls, _) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
