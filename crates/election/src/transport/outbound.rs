//! Outbound link to one other node: dials, performs the handshake, writes the frames of the
//! machine, and dials again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::handshake::{self, DialError};
use super::hello::HelloPolicy;
use super::link::{Link, LinkEnd};
use super::listener::LinkEvent;
use super::log_throttle::MAX_QUOTED_CHARS;
use crate::process::{NodeId, Process};
use crate::wire::frame::Frame;
use crate::wire::hello::{Hello, Purpose};
use crate::wire::refusal::RefusalKind;
use rollcall_core::clock::boot_now;
use rollcall_core::escape::sanitize_line;

/// Shortest pause between two attempts to dial. It doubles after each failure.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest pause between two attempts to dial.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Task that keeps a link to `node` until `stop`.
pub(crate) struct OutboundLink {
    /// The node to dial.
    pub(crate) node: NodeId,
    /// This node's Hello, and the admission of others.
    pub(crate) policy: Arc<HelloPolicy>,
    /// Encoded frames of the election.
    pub(crate) outbox: mpsc::Receiver<Bytes>,
    /// Payloads of other subsystems. One is sent only when the outbox is empty, so that payloads
    /// delay a heartbeat by at most one frame.
    pub(crate) payloads: mpsc::Receiver<Bytes>,
    /// Notified when the other node connects. It is reachable then, so this node dials at once.
    pub(crate) redial_signal: Arc<Notify>,
    /// Events for the driver.
    pub(crate) events: mpsc::Sender<LinkEvent>,
    /// Ends the link.
    pub(crate) stop: CancellationToken,
}

impl OutboundLink {
    pub(crate) async fn run(mut self) {
        let mut pause = MIN_RETRY_DELAY;
        while !self.stop.is_cancelled() {
            let dialled = handshake::dial(&self.policy, self.addr(), Purpose::Link);
            match self.stop.clone().run_until_cancelled(dialled).await {
                None => return,
                Some(Ok((link, hello))) => {
                    pause = MIN_RETRY_DELAY;
                    self.policy.identities().confirm(Process { node: self.node, boot: hello.boot });
                    self.policy.log_throttle().reset(self.node);
                    self.run_link(link, hello).await;
                }
                Some(Err(DialError::Unreachable(reason))) => {
                    debug!(node = %self.addr(), reason, "cannot link to the node");
                }
                Some(Err(DialError::Refused(kind, reason))) => {
                    self.report_refusal(kind, &sanitize_line(&reason, MAX_QUOTED_CHARS)).await;
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(MAX_RETRY_DELAY),
                () = self.redial_signal.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn addr(&self) -> rollcall_core::NodeAddr {
        self.policy.peers.addr(self.node)
    }

    async fn report_refusal(&self, kind: RefusalKind, reason: &str) {
        if self.policy.log_throttle().should_log(Some(self.node), kind, boot_now()) {
            warn!(node = %self.addr(), reason, "cannot link to the node");
        } else {
            debug!(node = %self.addr(), reason, "cannot link to the node");
        }
        if kind == RefusalKind::AddressConflict {
            let _ = self.events.send(LinkEvent::AddressConflict { reason: reason.to_owned() }).await;
        }
    }

    /// Writes frames until the link ends.
    async fn run_link(&mut self, mut link: Link, hello: Hello) {
        // Frames for an earlier link are outdated.
        while self.outbox.try_recv().is_ok() {}
        while self.payloads.try_recv().is_ok() {}
        let linked = LinkEvent::LinkUp { node: self.node, boot: hello.boot, api_url: hello.api_url };
        if self.events.send(linked).await.is_err() {
            return;
        }
        info!(node = %self.addr(), "link established");
        let policy = Arc::clone(&self.policy);
        let certificates = link.certificates().cloned();
        let distrusted = policy.wait_until_distrusted(certificates.as_ref());
        tokio::pin!(distrusted);
        loop {
            tokio::select! {
                biased;
                frame = self.outbox.recv() => match frame {
                    Some(frame) => {
                        if let Err(error) = link.write(frame).await {
                            info!(node = %self.addr(), %error, "link failed");
                            break;
                        }
                    }
                    None => break link.close_with_bye().await,
                },
                Some(payload) = self.payloads.recv() => {
                    if let Err(error) = link.write(Frame::Payload(payload).encode()).await {
                        info!(node = %self.addr(), %error, "link failed");
                        break;
                    }
                }
                // After the handshake the other node never writes on this link. So any result of
                // the read ends it.
                end = link.read() => {
                    info!(node = %self.addr(), reason = describe_end(&end), "link ended");
                    break;
                }
                () = &mut distrusted => {
                    info!(node = %self.addr(), "ended a link: its node key was deleted");
                    break;
                }
                // The outbox has priority, so all frames are written before the link ends.
                () = self.stop.cancelled() => break link.close_with_bye().await,
            }
        }
        let _ = self.events.send(LinkEvent::LinkDown { node: self.node }).await;
    }
}

fn describe_end(end: &Result<Frame, LinkEnd>) -> &'static str {
    match end {
        Ok(_) => "unexpected frame",
        Err(LinkEnd::Bye) => "Bye",
        Err(LinkEnd::Orderly) => "end of stream",
        Err(LinkEnd::Broken) => "connection failed",
    }
}
