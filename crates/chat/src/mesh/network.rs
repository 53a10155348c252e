//! Listener and dialler of the mesh. Each connection runs in a task of its own.

use std::future::Ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::connection::MeshConnection;
use super::connection_event::{ConnectionEvent, EventSender};
use super::send_queue::SendQueue;
use crate::endpoint::PeerEndpoint;
use crate::engine::LinkId;
use crate::io_counters::IoCounters;
use crate::peer_id::PeerId;

/// Largest number of accepted connections in addition to `max_connections`: those that exchange
/// greetings, and those that are being closed. Further connections wait in the backlog of the
/// listening socket.
const MAX_PENDING_CONNECTIONS: usize = 64;
/// For an accepted connection, nobody is asked before this peer greets.
const NOT_ASKED: Option<fn(PeerId) -> Ready<bool>> = None;
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// State shared by the listener, the dialler and all connections.
#[derive(Clone, Debug)]
pub(crate) struct MeshNetwork {
    pub(crate) own_id: PeerId,
    pub(crate) connect_timeout: Duration,
    /// Capacity of each send queue, in messages of the largest size.
    pub(crate) queue_messages: usize,
    pub(crate) events: EventSender,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) next_link: Arc<AtomicU64>,
    pub(crate) io_counters: Arc<IoCounters>,
}

impl MeshNetwork {
    /// Spawns the task that accepts connections until `stop` is cancelled. The engine keeps at most
    /// `max_connections` of them.
    pub(crate) fn listen(&self, listener: TcpListener, max_connections: usize) {
        let network = self.clone();
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let open = Arc::new(Semaphore::new(max_connections + MAX_PENDING_CONNECTIONS));
            loop {
                let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, remote)) => {
                        let accepted_network = network.clone();
                        network.tasks.spawn(async move {
                            accepted_network.handle_accepted(stream, remote).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        network.io_counters.accept_errors.add(1);
                        warn!(reason = error.to_string(), "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }));
    }

    async fn handle_accepted(self, stream: TcpStream, remote: SocketAddr) {
        let greeting = MeshConnection::exchange_greetings(stream, self.own_id, self.connect_timeout, NOT_ASKED);
        let Some(greeted) = self.stop.run_until_cancelled(greeting).await else { return };
        match greeted {
            Ok((link, peer)) => {
                if let Some(link) = link {
                    self.serve(link, peer, None, remote.ip()).await;
                }
            }
            Err(error) => {
                self.io_counters.failed_greetings.add(1);
                debug!(address = %remote, reason = error.to_string(), "rejected a connection without a valid greeting");
            }
        }
    }

    /// Spawns a task that dials an address. It asks with [`ConnectionEvent::DialGreeted`] before it
    /// greets.
    pub(crate) fn dial(&self, endpoint: PeerEndpoint) {
        let network = self.clone();
        self.tasks.spawn(async move {
            let Some(dialled) = network.stop.run_until_cancelled(network.connect(&endpoint)).await else {
                return;
            };
            match dialled {
                Ok((Some(link), peer, remote)) => network.serve(link, peer, Some(endpoint), remote).await,
                // The engine has ended this dial.
                Ok((None, ..)) => {}
                Err(error) => {
                    let _ =
                        network.events.send(ConnectionEvent::DialFailed { endpoint, reason: error.to_string() }).await;
                }
            }
        });
    }

    async fn connect(&self, endpoint: &PeerEndpoint) -> io::Result<(Option<MeshConnection>, PeerId, IpAddr)> {
        let connecting = TcpStream::connect((endpoint.host(), endpoint.port()));
        let stream =
            timeout(self.connect_timeout, connecting).await.map_err(|_| io::Error::other("connecting timed out"))??;
        let remote = stream.peer_addr()?.ip();
        let may_greet = async |peer| {
            let (greet, answer) = oneshot::channel();
            let asked = ConnectionEvent::DialGreeted { endpoint: endpoint.clone(), peer, greet };
            self.events.send(asked).await.is_ok() && answer.await.is_ok()
        };
        let (link, peer) =
            MeshConnection::exchange_greetings(stream, self.own_id, self.connect_timeout, Some(may_greet)).await?;
        Ok((link, peer, remote))
    }

    /// Runs a connection whose greetings were exchanged: reports it to the driver, then reads and
    /// writes until it ends.
    async fn serve(self, link: MeshConnection, peer: PeerId, dialled: Option<PeerEndpoint>, remote: IpAddr) {
        let id = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let queue = SendQueue::new(self.queue_messages);
        let connected =
            ConnectionEvent::Connected { link: id, peer, dialled, remote: remote.to_canonical(), queue: queue.clone() };
        if self.events.send(connected).await.is_err() {
            return;
        }
        let reason = link.run(id, queue, self.events.clone(), &self.io_counters).await;
        let _ = self.events.send(ConnectionEvent::Disconnected { link: id, reason }).await;
    }
}
