//! TCP proxy that delivers every byte after a delay. It replaces netem on kernels without it.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Largest number of pieces in flight in one direction of a connection. If there are more, the
/// proxy stops reading.
const MAX_BUFFERED_PIECES: usize = 1024;
const PIECE_BYTES: usize = 16 * 1024;

/// Listen address of the proxy, and the address to which it forwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    from: SocketAddr,
    to: SocketAddr,
}

impl FromStr for Route {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (from, to) = text.split_once('=').context("expected HOST:PORT=HOST:PORT")?;
        Ok(Self { from: from.parse()?, to: to.parse()? })
    }
}

/// Forwards connections until an error occurs.
pub(crate) async fn run(delay: Duration, routes: Vec<Route>) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for route in routes {
        let listener = TcpListener::bind(route.from).await.with_context(|| route.from.to_string())?;
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await?;
                connections.spawn(forward_connection(stream, route.to, delay));
                while connections.try_join_next().is_some() {}
            }
        });
    }
    tasks.join_next().await.context("no route")??
}

async fn forward_connection(near: TcpStream, to: SocketAddr, delay: Duration) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(forward(near_in, far_out, delay), forward(far_in, near_out, delay));
}

/// Forwards one direction. The end of the stream has the same delay as its bytes.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (pieces_in, mut pieces) = mpsc::channel::<(Instant, Bytes)>(MAX_BUFFERED_PIECES);
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let length = from.read(&mut buffer).await.unwrap_or(0);
            let piece = (Instant::now() + delay, Bytes::copy_from_slice(&buffer[..length]));
            if pieces_in.send(piece).await.is_err() || length == 0 {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if piece.is_empty() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
