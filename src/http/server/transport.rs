//! Transport of one connection: TCP, or TLS over TCP.

use std::io;
use std::pin::Pin;

use rustls::ContentType;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::http::layers::response_headers::RejectedConnection;
use crate::http::limits::{MAX_TLS_BUFFER_BYTES, WRITE_TIMEOUT};
use crate::http::tls::ApiTls;

/// The bytes of HTTP. A blocked write fails after `WRITE_TIMEOUT`.
///
/// Both streams are boxed, so that a connection without TLS does not need the memory of TLS.
pub(super) type HttpStream = Either<TcpTransport, Box<TlsStream<TcpTransport>>>;

/// TCP with the write timeout.
type TcpTransport = Pin<Box<TimeoutStream<TcpStream>>>;

/// A connection on which requests can be read.
pub(super) struct OpenTransport {
    pub(super) stream: HttpStream,
    /// Set if its requests must be rejected.
    pub(super) rejected: Option<RejectedConnection>,
}

/// A connection without TLS.
pub(super) fn plain(stream: TcpStream) -> HttpStream {
    Either::Left(with_write_timeout(stream))
}

/// Accepts a connection to a port with TLS. A client that speaks plain HTTP is not refused here:
/// it gets a response that tells it the https URL.
///
/// # Errors
/// The TLS handshake failed.
pub(super) async fn accept(stream: TcpStream, tls: &ApiTls) -> io::Result<OpenTransport> {
    // TLS begins with the type of a handshake record, which is no letter (RFC 8446, section 5.1).
    let mut first = [u8::from(ContentType::Handshake)];
    stream.peek(&mut first).await?;
    if first[0].is_ascii_alphabetic() {
        return Ok(OpenTransport { stream: plain(stream), rejected: Some(RejectedConnection::PlainHttp(tls.url())) });
    }
    let acceptor = TlsAcceptor::from(tls.config());
    let bounded = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(MAX_TLS_BUFFER_BYTES));
    let stream = acceptor.accept_with(with_write_timeout(stream), bounded).await?;
    Ok(OpenTransport { stream: Either::Right(Box::new(stream)), rejected: None })
}

fn with_write_timeout(stream: TcpStream) -> TcpTransport {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}
