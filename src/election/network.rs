//! The election port: accepts links, lets in who belongs here, and reads their frames. Holds no policy of the election.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::frame::{Envelope, Frame, looks_like_http};
use super::greeter::Greeter;
use super::link::{End, Link};
use super::process::{BootId, NodeId, Process};

/// What the network tells the driver.
#[derive(Debug)]
pub(super) enum News {
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
}

/// Connections that have not greeted yet; beyond these, newcomers wait.
const MAX_STRANGERS: usize = 32;

/// The pause after an accept that failed, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The accepting side.
pub(super) struct Network {
    pub(super) greeter: Arc<Greeter>,
    pub(super) news: mpsc::Sender<News>,
    /// Wakes the dialler to a node that was just heard.
    pub(super) nudges: HashMap<NodeId, Arc<Notify>>,
    pub(super) api_port: u16,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// The link of each node that is read now; a newer one takes its place.
    pub(super) current: Mutex<HashMap<NodeId, CancellationToken>>,
}

impl Network {
    /// Accepts until `stop`.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = async {
                    let permit = Arc::clone(&strangers).acquire_owned().await;
                    (permit, listener.accept().await)
                } => accepted,
            };
            match accepted {
                (Ok(permit), Ok((stream, _))) => {
                    let this = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let stop = this.stop.clone();
                        stop.run_until_cancelled(async {
                            let Some((link, from, mirrored)) = this.greet(stream).await else { return };
                            drop(permit);
                            this.read(link, from, mirrored).await;
                        })
                        .await;
                    });
                }
                (_, Err(error)) => {
                    warn!("the election port cannot accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), _) => return,
            }
        }
    }

    /// Exchanges Hellos; `None` for whoever does not belong here.
    async fn greet(&self, mut stream: TcpStream) -> Option<(Link, Process, bool)> {
        let net_timeout = self.greeter.net_timeout;
        let mut first = [0; 4];
        let peeked = timeout(net_timeout, peek_all(&stream, &mut first)).await;
        if !matches!(peeked, Ok(Ok(()))) {
            return None;
        }
        if looks_like_http(first) {
            let _ = timeout(net_timeout, self.answer_http(&mut stream)).await;
            return None;
        }
        let mut link = Link::over(stream, net_timeout).ok()?;
        let (local, remote) = link.ends().ok()?;
        let theirs = match link.read_first().await {
            Ok(Frame::Hello(hello)) => *hello,
            Ok(_) => return None,
            Err(error) => {
                debug!("{remote} is no node: {error}");
                return None;
            }
        };
        match self.greeter.admit(&theirs, local, remote) {
            Ok(node) => {
                let mine = self.greeter.hello(theirs.node, local, remote);
                link.write(Frame::Hello(Box::new(mine)).encode()).await.ok()?;
                link.trust();
                let mirrored = (theirs.local, theirs.remote) == (remote, local);
                Some((link, Process { node, boot: theirs.boot }, mirrored))
            }
            Err(reason) => {
                warn!("a link from {} ({remote}) is refused: {reason}", theirs.node);
                // The other end should read the reason from its own point of view.
                let reason = format!("{} refuses this node: {reason}", self.greeter.me());
                link.write(Frame::Refused { reason }.encode()).await.ok()?;
                // Ended in order, so that the reason arrives; nothing was ever promised on this link.
                link.end_in_order().await;
                None
            }
        }
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
