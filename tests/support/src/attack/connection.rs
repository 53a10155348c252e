//! A connection of the attacker, and requests as bytes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::ATTACKER;

/// Boundary of the form of an upload.
const BOUNDARY: &str = "attack";

/// A connection from [`ATTACKER`].
pub(super) struct Connection(TcpStream);

/// A response.
pub(super) struct Answer {
    status: String,
    /// The body.
    pub(super) text: String,
}

impl Answer {
    /// The status, and the code of an error.
    pub(super) fn kind(&self) -> String {
        match self.text.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()) {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.clone(),
        }
    }
}

impl Connection {
    pub(super) async fn open(node: SocketAddr, receive_buffer: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
        socket.bind(SocketAddr::new(ATTACKER, 0))?;
        socket.connect(node).await.map(Self)
    }

    /// Ends the connection with a reset. An orderly end would keep the port of the attacker for a
    /// minute.
    pub(super) fn reset(self) -> io::Result<()> {
        self.0.set_zero_linger()
    }

    /// Sends these bytes and waits until the node closes the connection.
    pub(super) async fn hold(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(bytes).await?;
        while self.read_byte().await? {}
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Reads a byte. Returns false at the end of the connection.
    pub(super) async fn read_byte(&mut self) -> io::Result<bool> {
        Ok(self.0.read(&mut [0]).await? > 0)
    }

    /// Sends a request and reads the whole response.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        let mut bytes = Vec::new();
        let head = loop {
            self.read_more(&mut bytes).await?;
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let status = text.get(9..12).unwrap_or_default().to_owned();
        let length = text.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        while bytes.len() < head + length {
            self.read_more(&mut bytes).await?;
        }
        Ok(Answer { status, text: String::from_utf8_lossy(&bytes[head..]).into_owned() })
    }

    async fn read_more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.0.read_buf(bytes).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

pub(super) fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The upload of an image.
pub(super) fn upload(user: &str, picture: &[u8]) -> Vec<u8> {
    let start = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n");
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    let length = start.len() + picture.len() + end.len();
    let head = format!(
        "POST /upload_image/{user} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; \
         boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), start.as_bytes(), picture, end.as_bytes()].concat()
}
