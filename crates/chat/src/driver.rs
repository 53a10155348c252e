//! Joins the engine to the links, the clock, the disk and the person. It holds no policy: one event, the engine's answer,
//! the actions.

use std::time::Duration;

use rand::RngExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::data_dir::HistoryLog;
use super::endpoint::PeerEndpoint;
use super::engine::{Action, ChatEntry, Contact, Engine, Event, EventRng, LinkId, Notice, Now, PeerInfo};
use super::event_log;
use super::lan::Dialect;
use super::lan::socket::{LanSockets, ReceivedDatagram};
use super::mesh::connection_event::ConnectionEvent;
use super::mesh::network::MeshNetwork;
use super::mesh::{ChatHeader, MeshMessage};
use super::metrics::{DropCounters, PeerStats};
use super::profile::PeerProfile;
use super::send_queues::SendQueues;
use rollcall_core::clock::{boot_now, wall_now};

/// A sleep without anything to wake for.
const MAX_SLEEP_MS: u64 = 3_600_000;
/// The longest that the links may take to write what was said last.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a person wants.
#[derive(Debug)]
pub enum PeerRequest {
    /// Say something to everybody.
    Post(String),
    /// Say something to one.
    SendDirect {
        /// Whom.
        to: String,
        /// What.
        text: String,
    },
    /// Say who this peer is.
    SetProfile(PeerProfile),
    /// Know who is there.
    ListPeers(oneshot::Sender<Vec<PeerInfo>>),
    /// Know what those who are there are called, without asking anybody else.
    PeerNames(oneshot::Sender<Vec<String>>),
    /// Know what was said.
    History(oneshot::Sender<Vec<(Contact, ChatEntry)>>),
    /// Know how the peer is doing.
    Stats(oneshot::Sender<PeerStats>),
}

/// What the driver holds.
pub(super) struct PeerDriver {
    pub(super) engine: Engine,
    pub(super) network: MeshNetwork,
    pub(super) sockets: Option<LanSockets>,
    pub(super) log: Option<HistoryLog>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) queues: SendQueues,
    pub(super) drops: DropCounters,
    /// Whether the person was told that there is more than can be told.
    pub(super) has_warned_of_dropped_notices: bool,
}

/// What comes in from everywhere.
pub(super) struct Inputs {
    pub(super) connection_events: mpsc::Receiver<ConnectionEvent>,
    pub(super) datagrams: mpsc::Receiver<ReceivedDatagram>,
    pub(super) discovered: mpsc::Receiver<Vec<PeerEndpoint>>,
    pub(super) requests: mpsc::Receiver<PeerRequest>,
    pub(super) stop: CancellationToken,
}

impl PeerDriver {
    /// Runs until the end is wanted; then everything that was said is in the queues of the links, and these are closed.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        self.feed(Event::TimerFired);
        let (mut timer, mut timer_set_for) = (std::pin::pin!(sleep(Duration::ZERO)), None);
        let stop = inputs.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let wake_at = self.engine.wake_at();
            if timer_set_for != Some(wake_at) {
                let wait = wake_at.since(boot_now()).min(MAX_SLEEP_MS);
                timer.as_mut().reset(Instant::now() + Duration::from_millis(wait));
                timer_set_for = Some(wake_at);
            }
            tokio::select! {
                () = &mut stopped => break,
                () = &mut timer => {
                    timer_set_for = None;
                    self.feed(Event::TimerFired);
                }
                Some(event) = inputs.connection_events.recv() => {
                    self.handle_connection_event(event);
                    self.apply_backpressure().await;
                }
                Some(received) = inputs.datagrams.recv() => {
                    let ReceivedDatagram { from, shared, datagram, dialect } = received;
                    self.feed(Event::DatagramReceived { source: from, to_shared_port: shared, datagram, dialect });
                }
                Some(endpoints) = inputs.discovered.recv() => self.feed(Event::AddressesFound(endpoints)),
                Some(request) = inputs.requests.recv() => {
                    self.handle_request(request);
                    self.apply_backpressure().await;
                }
            }
        }
        // What the person said last may be waiting still.
        while let Ok(request) = inputs.requests.try_recv() {
            self.handle_request(request);
            self.apply_backpressure().await;
        }
        self.feed(Event::ShuttingDown);
        self.queues.close();
        self.network.stop.cancel();
        self.network.tasks.close();
        let tasks = self.network.tasks.clone();
        let ended = timeout(CLOSE_TIMEOUT, tasks.wait());
        let mut ended = std::pin::pin!(ended);
        // The links write what is in their queues, and must not wait for this peer to listen meanwhile.
        loop {
            tokio::select! {
                result = &mut ended => {
                    if result.is_err() {
                        warn!("some links could not be ended in order: what was said last may be lost there");
                    }
                    return;
                }
                Some(event) = inputs.connection_events.recv() => {
                    if let ConnectionEvent::Connected { queue, .. } = event {
                        queue.close();
                    }
                }
            }
        }
    }

    /// If a link's queue is crowded, waits until it is not nearly so, and takes nothing in meanwhile: a burst goes at the pace
    /// of its readers. Who makes no room in time does not read, or so slowly that everybody else would wait for it.
    async fn apply_backpressure(&mut self) {
        for link in self.queues.wait_until_drained().await {
            self.disconnect_slow_link(link);
        }
    }

    fn handle_connection_event(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Connected { link, peer, dialled, remote, queue } => {
                event_log::linked(link, peer, dialled.as_ref(), remote);
                self.queues.insert(link, peer, queue);
                self.feed(Event::LinkOpened { link, peer, dialled, remote });
            }
            ConnectionEvent::DialFailed { endpoint, why } => {
                event_log::dial_failed(&endpoint, &why, self.engine.is_peer_expected_at(&endpoint));
                self.feed(Event::DialFailed { endpoint, reason: why });
            }
            ConnectionEvent::Messages { link, messages } => {
                for bytes in messages {
                    self.handle_message(link, &bytes);
                }
            }
            ConnectionEvent::Disconnected { link, why } => {
                if let Some(link_queue) = self.queues.remove(link) {
                    event_log::unlinked(link, link_queue.peer, &why);
                }
                self.feed(Event::LinkClosed { link, reason: why });
            }
        }
    }

    fn handle_message(&mut self, link: LinkId, bytes: &[u8]) {
        let now = now();
        let header = MeshMessage::read_chat_header(bytes);
        if let Some(ChatHeader { sender, number, .. }) = header
            && self.engine.handle_if_duplicate(link, sender, number, now.boot)
        {
            return;
        }
        let fast = header.and_then(|header| MeshMessage::read_chat_fast(bytes, header)).map(|message| (message, false));
        if let Some((message, text_times)) = fast.or_else(|| MeshMessage::read(bytes)) {
            self.feed_at(Event::MessageReceived { link, message, text_times }, now);
        } else {
            // What is no message by its content does not break the stream.
            event_log::unread(link, bytes.len());
            self.network.io_counters.invalid_messages.add(1);
        }
    }

    fn handle_request(&mut self, request: PeerRequest) {
        match request {
            PeerRequest::Post(text) => self.feed(Event::PostRequested(text)),
            PeerRequest::SendDirect { to, text } => self.feed(Event::DirectRequested { to, text }),
            PeerRequest::SetProfile(profile) => self.feed(Event::ProfileSet(profile)),
            PeerRequest::ListPeers(reply) => {
                // Who does not wait for the answer does not want it.
                let _ = reply.send(self.engine.peers());
                self.feed(Event::ListRequested);
            }
            PeerRequest::PeerNames(reply) => {
                let names = self.engine.peers().into_iter().map(|known| known.contact.uid).collect();
                let _ = reply.send(names);
            }
            PeerRequest::History(reply) => {
                let entries = self.engine.history().entries().into_iter();
                let said =
                    entries.map(|entry| (self.engine.contact_of(&entry.author, entry.name.as_ref()), entry.clone()));
                let _ = reply.send(said.collect());
            }
            PeerRequest::Stats(reply) => {
                let _ = reply.send(PeerStats::of(&self.engine, self.drops));
            }
        }
    }

    fn feed(&mut self, event: Event) {
        self.feed_at(event, now());
    }

    fn feed_at(&mut self, event: Event, now: Now) {
        let actions = self.engine.handle(event, now, EventRng(random_seed()));
        for action in actions {
            self.perform(action);
        }
        // Only now: what the engine says to that must not overtake what it said before.
        while let Some(link) = self.queues.pop_overflowed() {
            self.disconnect_slow_link(link);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial(endpoint) => {
                event_log::dialling(&endpoint);
                self.network.dial(endpoint);
            }
            Action::Send { links, message, format } => {
                let Some(bytes) = message.write(format) else {
                    self.drops.too_long += links.len() as u64;
                    return;
                };
                self.queues.push(links, &bytes, !format.extended);
            }
            Action::Close { link, reason } => {
                if let Some(link_queue) = self.queues.remove(link) {
                    event_log::unlinked(link, link_queue.peer, reason);
                    link_queue.queue.close();
                }
            }
            Action::Broadcast(datagram) => {
                if let (Some(sockets), Some(bytes)) = (&self.sockets, datagram.write(Dialect::Compact)) {
                    sockets.broadcast(&bytes);
                }
            }
            Action::SendDatagram { to, datagram, dialect } => {
                if let (Some(sockets), Some(bytes)) = (&self.sockets, datagram.write(dialect)) {
                    sockets.send(to, &bytes);
                }
            }
            Action::Persist(entry) => {
                if let Some(log) = &mut self.log
                    && !log.add(entry)
                {
                    self.drops.unsaved_entries += 1;
                }
            }
            Action::Notify(notice) => {
                event_log::told(&notice);
                // A person who does not read must not keep the links from being served.
                if self.notices.try_send(notice).is_err() {
                    self.drops.unread_notices += 1;
                    if !std::mem::replace(&mut self.has_warned_of_dropped_notices, true) {
                        warn!("more happens than is read; some of it is not shown");
                    }
                }
            }
        }
    }

    /// A link whose other end does not read.
    fn disconnect_slow_link(&mut self, link: LinkId) {
        // What is in its queue is of no use to anybody.
        if let Some(link_queue) = self.queues.remove(link) {
            event_log::too_slow(link, link_queue.peer, link_queue.queue.queued_bytes());
            self.drops.slow_links += 1;
            link_queue.queue.discard();
            self.feed(Event::LinkClosed { link, reason: "it reads too slowly".to_owned() });
        }
    }
}

/// Now on both clocks.
pub(super) fn now() -> Now {
    Now { boot: boot_now(), unix_s: wall_now().unix_seconds() }
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the engine gets its randomness from here")]
fn random_seed() -> u64 {
    rand::rng().random()
}
