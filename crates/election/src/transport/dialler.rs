//! Keeps a link to one other node: dials, greets, writes what the machine wants sent, and dials again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::complaints::MAX_QUOTED_CHARS;
use super::greeter::Greeter;
use super::handshake::{self, Failure};
use super::link::{End, Link};
use super::network::News;
use crate::process::{NodeId, Process};
use crate::wire::frame::Frame;
use crate::wire::hello::{Hello, Purpose};
use crate::wire::refusal::RefusalKind;
use rollcall_core::clock::boot_now;
use rollcall_core::escape::sanitize_line;

/// The pause between two attempts grows from the first to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Keeps a link to `node` until `stop`.
pub(crate) struct Dialler {
    pub(crate) node: NodeId,
    pub(crate) greeter: Arc<Greeter>,
    pub(crate) outbox: mpsc::Receiver<Bytes>,
    /// What goes out when the outbox is empty, so that it delays no heartbeat by more than a frame.
    pub(crate) cargo: mpsc::Receiver<Bytes>,
    /// The other node was heard: there is no point in waiting longer before dialling.
    pub(crate) nudge: Arc<Notify>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) stop: CancellationToken,
}

impl Dialler {
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_cancelled() {
            let dialled = handshake::dial(&self.greeter, self.addr(), Purpose::Link);
            match self.stop.clone().run_until_cancelled(dialled).await {
                None => return,
                Some(Ok((link, hello))) => {
                    pause = FIRST_PAUSE;
                    self.greeter.identities().answered(Process { node: self.node, boot: hello.boot });
                    self.greeter.complaints().forget(self.node);
                    self.keep(link, hello).await;
                }
                Some(Err(Failure::Absent(reason))) => debug!("the link to {} cannot be made: {reason}", self.addr()),
                Some(Err(Failure::Refused(kind, reason))) => {
                    self.refused(kind, &sanitize_line(&reason, MAX_QUOTED_CHARS)).await;
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.nudge.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn addr(&self) -> rollcall_core::NodeAddr {
        self.greeter.peers.addr(self.node)
    }

    async fn refused(&self, kind: RefusalKind, reason: &str) {
        if self.greeter.complaints().is_due(Some(self.node), kind, boot_now()) {
            warn!("the link to {} cannot be made: {reason}", self.addr());
        } else {
            debug!("the link to {} cannot be made: {reason}", self.addr());
        }
        if kind == RefusalKind::Doubled {
            let _ = self.news.send(News::Doubled { reason: reason.to_owned() }).await;
        }
    }

    /// Writes until the link ends.
    async fn keep(&mut self, mut link: Link, hello: Hello) {
        // What was meant for an earlier link is stale.
        while self.outbox.try_recv().is_ok() {}
        while self.cargo.try_recv().is_ok() {}
        let linked = News::LinkedTo { node: self.node, boot: hello.boot, api_url: hello.api_url };
        if self.news.send(linked).await.is_err() {
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
                    None => break link.end_in_order().await,
                },
                Some(cargo) = self.cargo.recv() => {
                    if let Err(error) = link.write(Frame::Cargo(cargo).encode()).await {
                        info!("the link to {} broke: {error}", self.addr());
                        break;
                    }
                }
                // The other never writes here, so whatever is read is an end.
                end = link.read() => {
                    info!("the link to {} ended: {}", self.addr(), describe(&end));
                    break;
                }
                // The outbox comes first, so what was to be said before the end has been said.
                () = self.stop.cancelled() => break link.end_in_order().await,
            }
        }
        let _ = self.news.send(News::UnlinkedFrom { node: self.node }).await;
    }
}

fn describe(end: &Result<Frame, End>) -> &'static str {
    match end {
        Ok(_) => "the other end spoke out of turn",
        Err(End::Bye) => "the other end said Bye",
        Err(End::Orderly) => "end of stream",
        Err(End::Broken) => "broken",
    }
}
