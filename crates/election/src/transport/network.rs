//! The election port: accepts links, lets in who belongs here, and reads their frames. Holds no policy of the election.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::carrier::Parcel;
use super::complaints::MAX_QUOTED_CHARS;
use super::greeter::Greeter;
use super::handshake::{self, Guest};
use super::link::{End, Link};
use super::strangers::{Place, Strangers};
use crate::process::{BootId, NodeId, Process};
use crate::wire::frame::{Envelope, Frame, looks_like_http};
use crate::wire::hello::Purpose;
use crate::wire::refusal::RefusalKind;
use rollcall_core::clock::boot_now;
use rollcall_core::escape::sanitize_line;

/// What the network tells the driver.
#[derive(Debug)]
pub(crate) enum News {
    /// Frames to `node` can be sent; `boot` is the process at the other end.
    LinkedTo {
        node: NodeId,
        boot: BootId,
        api_url: String,
    },
    UnlinkedFrom {
        node: NodeId,
    },
    /// A frame came in from a process that was let in.
    Heard {
        from: Process,
        envelope: Box<Envelope>,
    },
    /// A process was let in.
    Greeted {
        process: Process,
    },
    /// A process that was let in said that it goes, or its link ended. `mirrored`: both ends had named the same two
    /// addresses, so nothing stands between them that could end it for them.
    LinkEnded {
        from: Process,
        end: End,
        mirrored: bool,
    },
    /// Another living process has this node's address, says a member; in words for the operator.
    Doubled {
        reason: String,
    },
}

/// After so many that took another's place at the door, the machine gets a moment: a flood must not starve it.
const CROWD: u32 = 8;
const CROWD_PAUSE: Duration = Duration::from_millis(1);

/// The pause after an accept that failed, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The accepting side.
pub(crate) struct Network {
    pub(crate) greeter: Arc<Greeter>,
    pub(crate) news: mpsc::Sender<News>,
    /// Wakes the dialler to a node that was just heard.
    pub(crate) nudges: HashMap<NodeId, Arc<Notify>>,
    pub(crate) api_port: u16,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// For the part of the program that sends cargo. What does not fit is dropped, as a network would.
    pub(crate) parcels: mpsc::Sender<Parcel>,
    /// The link of each node that is read now; a newer one takes its place.
    pub(crate) current: Mutex<HashMap<NodeId, CancellationToken>>,
}

impl Network {
    /// Accepts until `stop`.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let strangers = Strangers::new(&self.greeter.peers);
        let mut crowd = 0;
        loop {
            let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await else { return };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("the election port cannot accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = strangers.enter(remote);
            crowd += u32::from(place.is_crowded);
            if crowd >= CROWD {
                crowd = 0;
                sleep(CROWD_PAUSE).await;
            }
            let this = Arc::clone(&self);
            self.tasks.spawn(async move {
                let stop = this.stop.clone();
                stop.run_until_cancelled(Box::pin(this.serve(stream, place))).await;
            });
        }
    }

    /// One connection: who is it, may it come in, what does it say.
    async fn serve(&self, stream: TcpStream, place: Place) {
        // One bound for the whole greeting, or a drop now and then could hold a place for long.
        let greeting = timeout(self.greeter.net_timeout(), self.greet(stream));
        let Some(Ok(Some((link, guest)))) = place.taken.run_until_cancelled(greeting).await else { return };
        drop(place);
        if let Some((link, from, mirrored)) = self.admit(link, guest).await {
            self.read(link, from, mirrored).await;
        }
    }

    /// Learns who has connected; `None` for whoever is no node.
    async fn greet(&self, mut stream: TcpStream) -> Option<(Link, Guest)> {
        let mut first = [0; 4];
        peek_all(&stream, &mut first).await.ok()?;
        if looks_like_http(first) {
            let _ = self.answer_http(&mut stream).await;
            return None;
        }
        let mut link = Link::over(stream, self.greeter.net_timeout()).ok()?;
        match handshake::receive(&self.greeter, &mut link).await {
            Ok(guest) => Some((link, guest)),
            Err(error) => {
                debug!("what connected to the election port is no node: {error}");
                None
            }
        }
    }

    /// Lets in who belongs here, and tells the others why they do not.
    async fn admit(&self, mut link: Link, guest: Guest) -> Option<(Link, Process, bool)> {
        let (local, remote) = link.ends().ok()?;
        let refused = match guest.verdict.clone() {
            Ok(node) => {
                let process = Process { node, boot: guest.theirs.boot };
                if guest.theirs.purpose == Purpose::Check {
                    guest.welcome(&self.greeter, &mut link).await.ok()?;
                    // It wanted to know who answers here, and the other ends this link.
                    let _ = timeout(self.greeter.net_timeout(), link.read()).await;
                    return None;
                }
                match handshake::check_identity(&self.greeter, process).await {
                    Ok(()) => {
                        guest.welcome(&self.greeter, &mut link).await.ok()?;
                        let mirrored = (guest.theirs.local, guest.theirs.remote) == (remote, local);
                        return Some((link, process, mirrored));
                    }
                    Err(refused) => refused,
                }
            }
            Err(reason) => (RefusalKind::Different, reason),
        };
        let (kind, reason) = refused;
        let member = self.greeter.peers.id(guest.theirs.node);
        if self.greeter.complaints().is_due(member, kind, boot_now()) {
            warn!(
                "a link from {} ({remote}) is refused: {}",
                guest.theirs.node,
                sanitize_line(&reason, MAX_QUOTED_CHARS)
            );
        }
        guest.refuse(&self.greeter, link, kind, &reason).await;
        None
    }

    async fn answer_http(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let body =
            format!("This is the election port of a Rollcall node; its HTTP API is on port {}.\n", self.api_port);
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length:";
        // Read what is there already, so that closing is no reset that could overtake the answer.
        let _ = timeout(ACCEPT_PAUSE, stream.read(&mut [0; 4096])).await;
        stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
        stream.shutdown().await
    }

    /// Reads frames until the link ends or a newer link from the same node takes its place.
    async fn read(&self, mut link: Link, from: Process, mirrored: bool) {
        if self.news.send(News::Greeted { process: from }).await.is_err() {
            return;
        }
        let replaced = CancellationToken::new();
        let before = self.current.lock().expect("never held across a panic").insert(from.node, replaced.clone());
        if let Some(before) = before {
            before.cancel();
        }
        if let Some(nudge) = self.nudges.get(&from.node) {
            nudge.notify_one();
        }
        let end = replaced.run_until_cancelled(self.pass_on(&mut link, from)).await;
        if let Some(end) = end {
            let _ = self.news.send(News::LinkEnded { from, end, mirrored }).await;
        }
    }

    async fn pass_on(&self, link: &mut Link, from: Process) -> End {
        loop {
            let envelope = match link.read().await {
                Ok(Frame::Message(envelope)) => envelope,
                Ok(Frame::Cargo(cargo)) => {
                    if self.parcels.try_send(Parcel { from, cargo }).is_err() {
                        debug!("cargo from {} is dropped: too much waits", self.greeter.peers.addr(from.node));
                    }
                    continue;
                }
                Ok(_) => return End::Broken,
                Err(end) => return end,
            };
            let claims = (envelope.cluster, self.greeter.peers.id(envelope.from), envelope.boot);
            if claims != (self.greeter.cluster, Some(from.node), from.boot) {
                warn!("a frame on the link of {} claims another sender", self.greeter.peers.addr(from.node));
                return End::Broken;
            }
            if self.news.send(News::Heard { from, envelope }).await.is_err() {
                return End::Broken;
            }
        }
    }
}

/// Peeks until the buffer is full.
async fn peek_all(stream: &TcpStream, buffer: &mut [u8; 4]) -> std::io::Result<()> {
    let mut seen = 0;
    while stream.peek(buffer).await? < buffer.len() {
        let now = stream.peek(buffer).await?;
        if now == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if now == seen {
            // Readiness does not tell that more has come, so look again in a moment.
            sleep(Duration::from_millis(10)).await;
        }
        seen = now;
    }
    Ok(())
}
