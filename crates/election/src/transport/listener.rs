//! Listener on the election port: accepts links, admits members, and reads their frames. It
//! contains no rules of the election.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::handshake::{self, IncomingHandshake};
use super::hello::HelloPolicy;
use super::link::{Link, LinkEnd, set_options};
use super::link_stream::LinkStream;
use super::log_throttle::MAX_QUOTED_CHARS;
use super::payload::Inbound;
use super::pending_connections::{PendingConnections, PendingSlot};
use super::tls_handshakes::tls_failure;
use crate::process::{BootId, NodeId, Process};
use crate::wire::frame::{Envelope, Frame, looks_like_http, looks_like_tls};
use crate::wire::hello::Purpose;
use crate::wire::refusal::RefusalKind;
use rollcall_core::clock::boot_now;
use rollcall_core::escape::sanitize_line;

/// Event of a link, for the driver.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Frames can be sent to `node`. `boot` is the process at the other end.
    LinkUp { node: NodeId, boot: BootId, api_url: String },
    /// Frames to `node` are lost from now on.
    LinkDown { node: NodeId },
    /// A message arrived from an admitted process. Payloads do not go to the driver.
    MessageReceived { from: Process, envelope: Box<Envelope> },
    /// A process was admitted.
    ProcessConnected { process: Process },
    /// The link of an admitted process ended. Not sent if a newer link replaced it. `is_direct`:
    /// both ends named the same two addresses in Hello, so no proxy between the nodes can have
    /// ended the link.
    IncomingLinkEnded { from: Process, end: LinkEnd, is_direct: bool },
    /// A member reports that another living process has this node's address. `reason` is for the
    /// operator.
    AddressConflict { reason: String },
}

/// Number of evictions of pending connections after which the listener pauses. The pause leaves CPU
/// time for other work during a flood of connections.
const EVICTIONS_BEFORE_PAUSE: u32 = 8;
/// Length of that pause.
const EVICTION_PAUSE: Duration = Duration::from_millis(1);

/// Pause after a failed accept, for example when there are no free file descriptors. Also the
/// longest wait for the bytes of an HTTP request.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Listener on the election port.
pub(crate) struct LinkListener {
    /// This node's Hello, and the rules by which it admits other nodes.
    pub(crate) policy: Arc<HelloPolicy>,
    /// Events for the driver.
    pub(crate) events: mpsc::Sender<LinkEvent>,
    /// Wakes the outbound link to a node that has just connected.
    pub(crate) redial_signals: HashMap<NodeId, Arc<Notify>>,
    /// Port of the HTTP API, for HTTP requests on the election port.
    pub(crate) api_port: u16,
    /// Ends the listener and its links.
    pub(crate) stop: CancellationToken,
    /// The tasks of the connections.
    pub(crate) tasks: TaskTracker,
    /// Payloads for the subsystems that use the transport. If the queue is full, a payload is
    /// dropped.
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// Per node, the token that ends the reader of its present link. A newer link of the same node
    /// replaces the present one.
    pub(crate) current_links: Mutex<HashMap<NodeId, CancellationToken>>,
}

impl LinkListener {
    /// Accepts connections until `stop` is cancelled.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let pending = PendingConnections::new(&self.policy.peers);
        let mut evictions = 0;
        loop {
            let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await else { return };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "the election port cannot accept a connection");
                    sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let slot = pending.admit(remote);
            evictions += u32::from(slot.evicted_another);
            if evictions >= EVICTIONS_BEFORE_PAUSE {
                evictions = 0;
                sleep(EVICTION_PAUSE).await;
            }
            let this = Arc::clone(&self);
            self.tasks.spawn(async move {
                let stop = this.stop.clone();
                stop.run_until_cancelled(Box::pin(this.handle_connection(stream, slot))).await;
            });
        }
    }

    /// Handles one connection: handshake, admission, then its frames until the link ends.
    async fn handle_connection(&self, stream: TcpStream, slot: PendingSlot) {
        // One timeout for the whole handshake. With a timeout per read, single bytes could hold a
        // slot for a long time.
        let handshake = timeout(self.policy.net_timeout(), self.handshake(stream));
        let Some(Ok(Some((link, incoming)))) = slot.evicted.run_until_cancelled(handshake).await else { return };
        drop(slot);
        if let Some((link, from, is_direct)) = self.admit(link, incoming).await {
            self.read_link(link, from, is_direct).await;
        }
    }

    /// Performs the handshake. `None` if the other end is not a node.
    async fn handshake(&self, mut stream: TcpStream) -> Option<(Link, IncomingHandshake)> {
        let mut first = [0; 4];
        peek_all(&stream, &mut first).await.ok()?;
        if looks_like_http(first) {
            let _ = self.answer_http(&mut stream).await;
            return None;
        }
        set_options(&stream, self.policy.net_timeout()).ok()?;
        let remote = stream.peer_addr().ok()?;
        let secured = match (&self.policy.proofs.tls, looks_like_tls(first)) {
            (None, false) => Ok(LinkStream::Plain(stream)),
            (Some(tls), true) => tls.accept(stream).await,
            (Some(_), false) => {
                self.log_mismatch(remote, "it does not speak TLS: give all nodes the same node_tls and version");
                return None;
            }
            (None, true) => {
                self.log_mismatch(remote, "it speaks TLS, this node does not: give all nodes the same node_tls");
                return None;
            }
        };
        let greeted = match secured {
            Ok(stream) => {
                let mut link = Link::new(stream, self.policy.net_timeout());
                handshake::accept(&self.policy, &mut link).await.map(|incoming| (link, incoming))
            }
            Err(error) => Err(error),
        };
        match greeted {
            Ok(greeted) => Some(greeted),
            Err(error) => {
                if let Some(reason) = tls_failure(&error) {
                    self.log_mismatch(remote, &reason);
                } else {
                    debug!(%remote, %error, "a connection to the election port is not from a node");
                }
                None
            }
        }
    }

    /// Logs a program that speaks TLS differently than this node. It is a warning if the program
    /// runs on a member's host: then it is probably a node with another configuration.
    fn log_mismatch(&self, remote: SocketAddr, reason: &str) {
        let is_member_host = self.policy.peers.addrs().iter().any(|node| node.socket_addr().ip() == remote.ip());
        if is_member_host && self.policy.log_throttle().should_log(None, RefusalKind::ConfigMismatch, boot_now()) {
            warn!(%remote, reason, "a connection to the election port is not from a node of this cluster");
        } else {
            debug!(%remote, reason, "a connection to the election port is not from a node of this cluster");
        }
    }

    /// Admits a member, or sends the reason for the refusal. Returns the link, its process and
    /// whether it is direct. `None` also for a link that only checks which process answers here.
    async fn admit(&self, mut link: Link, incoming: IncomingHandshake) -> Option<(Link, Process, bool)> {
        let (local, remote) = link.addrs().ok()?;
        let refused = match &incoming.admission {
            Ok(admission) => {
                let hello = &admission.peer_hello;
                let process = Process { node: admission.node, boot: hello.boot };
                if hello.purpose == Purpose::Check {
                    admission.accept(&mut link).await.ok()?;
                    // The dialler only checks which process answers here. Wait until it ends the
                    // link.
                    let _ = timeout(self.policy.net_timeout(), link.read()).await;
                    return None;
                }
                match handshake::check_identity(&self.policy, process).await {
                    Ok(()) => {
                        admission.accept(&mut link).await.ok()?;
                        let is_direct = (hello.local, hello.remote) == (remote, local);
                        return Some((link, process, is_direct));
                    }
                    Err(refused) => refused,
                }
            }
            Err(reason) => (RefusalKind::ConfigMismatch, reason.clone()),
        };
        let (kind, reason) = refused;
        let member = self.policy.peers.id(incoming.claimed);
        if self.policy.log_throttle().should_log(member, kind, boot_now()) {
            let reason = sanitize_line(&reason, MAX_QUOTED_CHARS);
            warn!(node = %incoming.claimed, %remote, reason, "refused a link");
        }
        incoming.refuse(&self.policy, link, kind, &reason).await;
        None
    }

    /// Answers an HTTP request with the port of the API.
    async fn answer_http(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let body =
            format!("This is the election port of a Rollcall node; its HTTP API is on port {}.\n", self.api_port);
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length:";
        // Read the request first. A close with unread data resets the connection, and the client
        // could lose the answer.
        let _ = timeout(ACCEPT_RETRY_DELAY, stream.read(&mut [0; 4096])).await;
        stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
        stream.shutdown().await
    }

    /// Reads frames until the link ends or a newer link of the same node replaces it.
    async fn read_link(&self, mut link: Link, from: Process, is_direct: bool) {
        if self.events.send(LinkEvent::ProcessConnected { process: from }).await.is_err() {
            return;
        }
        let replaced = CancellationToken::new();
        let older = self.current_links.lock().expect("never held across a panic").insert(from.node, replaced.clone());
        if let Some(older) = older {
            older.cancel();
        }
        if let Some(redial_signal) = self.redial_signals.get(&from.node) {
            redial_signal.notify_one();
        }
        let certificates = link.certificates().cloned();
        let reading = async {
            tokio::select! {
                end = self.forward_frames(&mut link, from) => end,
                () = self.policy.wait_until_distrusted(certificates.as_ref()) => {
                    info!(node = %self.policy.peers.addr(from.node), "ended a link: its node key was deleted");
                    LinkEnd::Broken
                }
            }
        };
        let end = replaced.run_until_cancelled(reading).await;
        if let Some(end) = end {
            let _ = self.events.send(LinkEvent::IncomingLinkEnded { from, end, is_direct }).await;
        }
    }

    /// Forwards messages to the driver and payloads to the transport. Returns how the link ended.
    async fn forward_frames(&self, link: &mut Link, from: Process) -> LinkEnd {
        loop {
            let envelope = match link.read().await {
                Ok(Frame::Message(envelope)) => envelope,
                Ok(Frame::Payload(payload)) => {
                    if self.inbound.try_send(Inbound { from, payload }).is_err() {
                        debug!(node = %self.policy.peers.addr(from.node), "dropped a payload: the queue is full");
                    }
                    continue;
                }
                Ok(_) => return LinkEnd::Broken,
                Err(end) => return end,
            };
            let claims = (envelope.cluster, self.policy.peers.id(envelope.from), envelope.boot);
            if claims != (self.policy.cluster, Some(from.node), from.boot) {
                warn!(node = %self.policy.peers.addr(from.node), "ended a link: a message names another sender");
                return LinkEnd::Broken;
            }
            if self.events.send(LinkEvent::MessageReceived { from, envelope }).await.is_err() {
                return LinkEnd::Broken;
            }
        }
    }
}

/// Waits until the first bytes of the connection fill the buffer, and leaves them unread.
async fn peek_all(stream: &TcpStream, buffer: &mut [u8; 4]) -> std::io::Result<()> {
    let mut seen = 0;
    while stream.peek(buffer).await? < buffer.len() {
        let now = stream.peek(buffer).await?;
        if now == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if now == seen {
            // The socket stays readable while no new bytes arrive, so check again after a pause.
            sleep(Duration::from_millis(10)).await;
        }
        seen = now;
    }
    Ok(())
}
