//! Keeps a link to one other node: dials, greets, writes what the machine wants sent, and dials again.

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

/// The pause between two attempts grows from the first to the second.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Keeps a link to `node` until `stop`.
pub(crate) struct OutboundLink {
    pub(crate) node: NodeId,
    pub(crate) policy: Arc<HelloPolicy>,
    pub(crate) outbox: mpsc::Receiver<Bytes>,
    /// What goes out when the outbox is empty, so that it delays no heartbeat by more than a frame.
    pub(crate) payloads: mpsc::Receiver<Bytes>,
    /// The other node was heard: there is no point in waiting longer before dialling.
    pub(crate) redial_signal: Arc<Notify>,
    pub(crate) events: mpsc::Sender<LinkEvent>,
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
                    self.keep(link, hello).await;
                }
                Some(Err(DialError::Unreachable(reason))) => {
                    debug!("the link to {} cannot be made: {reason}", self.addr())
                }
                Some(Err(DialError::Refused(kind, reason))) => {
                    self.refused(kind, &sanitize_line(&reason, MAX_QUOTED_CHARS)).await;
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

    async fn refused(&self, kind: RefusalKind, reason: &str) {
        if self.policy.log_throttle().should_log(Some(self.node), kind, boot_now()) {
            warn!("the link to {} cannot be made: {reason}", self.addr());
        } else {
            debug!("the link to {} cannot be made: {reason}", self.addr());
        }
        if kind == RefusalKind::AddressConflict {
            let _ = self.events.send(LinkEvent::AddressConflict { reason: reason.to_owned() }).await;
        }
    }

    /// Writes until the link ends.
    async fn keep(&mut self, mut link: Link, hello: Hello) {
        // What was meant for an earlier link is stale.
        while self.outbox.try_recv().is_ok() {}
        while self.payloads.try_recv().is_ok() {}
        let linked = LinkEvent::LinkUp { node: self.node, boot: hello.boot, api_url: hello.api_url };
        if self.events.send(linked).await.is_err() {
            return;
        }
        info!("linked to {}", self.addr());
        loop {
            tokio::select! {
                biased;
                frame = self.outbox.recv() => match frame {
                    Some(frame) => {
                        if let Err(error) = link.write(frame).await {
                            info!("the link to {} broke: {error}", self.addr());
                            break;
                        }
                    }
                    None => break link.close_with_bye().await,
                },
                Some(payload) = self.payloads.recv() => {
                    if let Err(error) = link.write(Frame::Payload(payload).encode()).await {
                        info!("the link to {} broke: {error}", self.addr());
                        break;
                    }
                }
                // The other never writes here, so whatever is read is an end.
                end = link.read() => {
                    info!("the link to {} ended: {}", self.addr(), describe_end(&end));
                    break;
                }
                // The outbox comes first, so what was to be said before the end has been said.
                () = self.stop.cancelled() => break link.close_with_bye().await,
            }
        }
        let _ = self.events.send(LinkEvent::LinkDown { node: self.node }).await;
    }
}

fn describe_end(end: &Result<Frame, LinkEnd>) -> &'static str {
    match end {
        Ok(_) => "the other end spoke out of turn",
        Err(LinkEnd::Bye) => "the other end said Bye",
        Err(LinkEnd::Orderly) => "end of stream",
        Err(LinkEnd::Broken) => "broken",
    }
}
