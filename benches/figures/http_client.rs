//! Minimal HTTP client with one keep-alive connection. It must use less processor time than the
//! measured servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Longest wait for a response.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: Stream,
    buffer: Vec<u8>,
    /// Number of bytes at the start of the buffer that belong to the last response.
    filled: usize,
}

/// The bytes of a connection.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A response that borrows from the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Response<'w> {
    pub(crate) status: u16,
    /// The status line and the header lines, with the empty line at the end.
    pub(crate) head: &'w str,
    pub(crate) body: &'w [u8],
}

impl HttpConnection {
    pub(crate) fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self::new(Stream::Plain(connect(to)?)))
    }

    pub(crate) fn connect_with_tls(to: SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let session = ClientConnection::new(Arc::clone(tls), ServerName::from(to.ip()))?;
        let mut stream = Box::new(StreamOwned::new(session, connect(to)?));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::new(Stream::Tls(stream)))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; 64 * 1024], filled: 0 }
    }

    /// Sends a request and waits for the complete response.
    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<Response<'_>> {
        self.stream.write_all(request)?;
        self.filled = 0;
        let head = loop {
            self.read_more()?;
            if let Some(end) = self.buffer[..self.filled].windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status: u16 = text.get(9..12).context("no status line")?.parse()?;
        let length = match content_length(text) {
            Some(length) => length?,
            None if status == 304 => 0,
            None => anyhow::bail!("an answer without Content-Length: {text}"),
        };
        if self.buffer.len() < head + length {
            self.buffer.resize(head + length, 0);
        }
        while self.filled < head + length {
            self.read_more()?;
        }
        let (head, body) = self.buffer[..self.filled].split_at(head);
        Ok(Response { status, head: std::str::from_utf8(head)?, body })
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        anyhow::ensure!(read > 0, "the connection was closed");
        self.filled += read;
        Ok(())
    }
}

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn content_length(head: &str) -> Option<Result<usize, std::num::ParseIntError>> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    })
}

impl Response<'_> {
    /// The value of a header field.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(self.body)?)
    }

    /// Returns the response if it has this status.
    ///
    /// # Errors
    /// The response has another status.
    pub(crate) fn expect(self, status: u16) -> anyhow::Result<Self> {
        let body = || String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        anyhow::ensure!(self.status == status, "the response has status {}: {}", self.status, body());
        Ok(self)
    }
}

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, header: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}{length}\r\n{body}").into_bytes()
}
