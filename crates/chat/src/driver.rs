//! Event loop of the peer: connects the engine to the sockets, the clock, the history file and the
//! user.
//!
//! It takes one input at a time, passes it to the engine as an [`Event`], and performs the returned
//! [`Action`]s in order. It makes no decision of its own, except that it disconnects links whose
//! send queue is full or does not drain.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::byte_budget::HeldBytes;
use super::data_dir::HistoryLog;
use super::endpoint::PeerEndpoint;
use super::engine::{Action, ChatEntry, Contact, Engine, Event, EventRng, LinkId, Notice, Now, PeerInfo};
use super::event_log;
use super::lan::Dialect;
use super::lan::socket::{LanSockets, ReceivedDatagram};
use super::mesh::connection_event::ConnectionEvent;
use super::mesh::network::MeshNetwork;
use super::mesh::send_queue::SendMode;
use super::mesh::{ChatHeader, MeshMessage};
use super::metrics::{DropCounters, PeerStats};
use super::notice_queue::NoticeSender;
use super::profile::PeerProfile;
use super::send_queues::SendQueues;
use rollcall_core::clock::{boot_now, wall_now};

/// Longest sleep of the timer, in milliseconds. It keeps the time arithmetic in range. An early
/// wake-up does no harm.
const MAX_SLEEP_MS: u64 = 3_600_000;
/// Longest wait at the shutdown until the links have written their send queues.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time of the shutdown if posts wait for the first link, or messages for the pauses
/// between two writes to a peer of another program. Such a peer gets about 300 messages in this
/// time.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(6);
/// Time between two notices about the last messages.
const LAST_MESSAGES_NOTICE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two checks whether the last messages are sent.
const LAST_MESSAGES_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Request to a running peer, from the user or from the metrics endpoint.
#[derive(Debug)]
pub enum PeerRequest {
    /// Post a text to all peers.
    Post(String),
    /// Send a direct message.
    SendDirect {
        /// Name of the recipient, as the user typed it.
        to: String,
        /// Text of the message.
        text: String,
    },
    /// Follow a LAN peer, or no longer follow it.
    Follow {
        /// Name of the LAN peer, as the user typed it.
        to: String,
        /// Whether this peer shall follow it.
        follows: bool,
    },
    /// Check that a name, as the user typed it, means one peer. The error is the reason for the
    /// user.
    CheckPeerName {
        /// The name.
        name: String,
        /// Whether a followed user who has left is enough.
        may_have_left: bool,
        /// The channel for the result.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Set the profile of this peer and send it to all peers.
    SetProfile(PeerProfile),
    /// Return the known peers. Also sends a list request to the LAN.
    ListPeers(oneshot::Sender<Vec<PeerInfo>>),
    /// Return the names of the known peers. Sends nothing.
    PeerNames(oneshot::Sender<Vec<String>>),
    /// Return the history with the contact of each author.
    History(oneshot::Sender<Vec<(Contact, ChatEntry)>>),
    /// Return the counters and sizes of the peer.
    Stats(oneshot::Sender<PeerStats>),
}

/// The event loop: the engine, and the outputs that its actions use.
pub(super) struct PeerDriver {
    pub(super) engine: Engine,
    pub(super) network: MeshNetwork,
    pub(super) sockets: Option<LanSockets>,
    pub(super) log: Option<HistoryLog>,
    pub(super) notices: NoticeSender,
    pub(super) queues: SendQueues,
    /// Dialled connections that wait for the decision of the engine whether this peer greets.
    pub(super) greeted_dials: BTreeMap<PeerEndpoint, oneshot::Sender<()>>,
    pub(super) drops: DropCounters,
    /// Whether the warning about dropped notices was logged. It is logged once.
    pub(super) has_warned_of_dropped_notices: bool,
}

/// The input channels of the driver, and the token that stops it.
pub(super) struct Inputs {
    pub(super) connection_events: mpsc::Receiver<ConnectionEvent>,
    pub(super) datagrams: mpsc::Receiver<(ReceivedDatagram, HeldBytes)>,
    pub(super) discovered: mpsc::Receiver<Vec<PeerEndpoint>>,
    pub(super) requests: mpsc::Receiver<PeerRequest>,
    pub(super) stop: CancellationToken,
}

impl PeerDriver {
    /// Runs until `stop` is cancelled. Then it handles the requests in the queue, waits for the
    /// first link if posts wait for it, closes the send queues and waits until they are written.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        self.feed(Event::TimerFired);
        let stop = inputs.stop.clone();
        self.handle_inputs(&mut inputs, stop.cancelled()).await;
        // The last requests of the user may still be in the queue.
        while let Ok(request) = inputs.requests.try_recv() {
            self.handle_request(request);
            self.apply_backpressure().await;
        }
        let deadline = Instant::now() + LAST_MESSAGES_TIMEOUT;
        let mut notice_at = Instant::now() + LAST_MESSAGES_NOTICE_INTERVAL;
        while self.engine.unsent_posts() > 0 && Instant::now() < deadline {
            self.handle_inputs(&mut inputs, sleep(LAST_MESSAGES_CHECK_INTERVAL)).await;
            self.notify_of_last_messages(self.engine.unsent_posts(), &mut notice_at);
        }
        let unsent = self.engine.unsent_posts();
        if unsent > 0 {
            self.perform(Action::Notify(Notice::NotSent { messages: unsent, to: None }));
        }
        self.feed(Event::ShuttingDown);
        self.close_links(&mut inputs, deadline, notice_at).await;
    }

    /// Handles the inputs until `end`.
    async fn handle_inputs(&mut self, inputs: &mut Inputs, end: impl Future<Output = ()>) {
        let (mut timer, mut timer_set_for) = (std::pin::pin!(sleep(Duration::ZERO)), None);
        let mut ended = std::pin::pin!(end);
        loop {
            let wake_at = self.engine.wake_at();
            if timer_set_for != Some(wake_at) {
                let wait = wake_at.since(boot_now()).min(MAX_SLEEP_MS);
                timer.as_mut().reset(Instant::now() + Duration::from_millis(wait));
                timer_set_for = Some(wake_at);
            }
            tokio::select! {
                () = &mut ended => return,
                () = &mut timer => {
                    timer_set_for = None;
                    self.feed(Event::TimerFired);
                }
                Some(event) = inputs.connection_events.recv() => {
                    self.handle_connection_event(event);
                    self.apply_backpressure().await;
                }
                Some((received, _held)) = inputs.datagrams.recv() => {
                    let ReceivedDatagram { from, shared, datagram, dialect, .. } = received;
                    self.feed(Event::DatagramReceived { source: from, to_shared_port: shared, datagram, dialect });
                }
                Some(endpoints) = inputs.discovered.recv() => self.feed(Event::AddressesFound(endpoints)),
                Some(request) = inputs.requests.recv() => {
                    self.handle_request(request);
                    self.apply_backpressure().await;
                }
            }
        }
    }

    /// Closes the send queues and waits until they are written: [`CLOSE_TIMEOUT`] after the last
    /// message that waits for a pause between two writes, but not longer than `deadline`.
    async fn close_links(&mut self, inputs: &mut Inputs, deadline: Instant, mut notice_at: Instant) {
        self.queues.close();
        self.network.stop.cancel();
        self.network.tasks.close();
        let tasks = self.network.tasks.clone();
        let mut ended = std::pin::pin!(tasks.wait());
        let mut close_by = Instant::now() + CLOSE_TIMEOUT;
        let mut check = interval(LAST_MESSAGES_CHECK_INTERVAL);
        let is_in_time = loop {
            tokio::select! {
                () = &mut ended => break true,
                // A connection task that waits for room in the event channel does not write its
                // send queue. So the events are still received.
                Some(event) = inputs.connection_events.recv() => self.handle_last_event(event),
                _ = check.tick() => {
                    if let Some(messages) = self.queues.paced_messages().into_values().max() {
                        close_by = deadline.min(Instant::now() + CLOSE_TIMEOUT);
                        self.notify_of_last_messages(messages, &mut notice_at);
                    }
                    if Instant::now() >= close_by {
                        break false;
                    }
                }
            }
        };
        for (peer, messages) in self.queues.paced_messages() {
            let to = Some(self.engine.mesh_contact(peer));
            self.perform(Action::Notify(Notice::NotSent { messages, to }));
        }
        if !is_in_time {
            warn!("not all links closed in time: the last messages to them may be lost");
        }
    }

    /// Handles an event of a connection while the links are being closed.
    fn handle_last_event(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Connected { queue, .. } => queue.close(),
            ConnectionEvent::Messages { link, messages, held: _held } => {
                for header in messages.iter().filter_map(|bytes| MeshMessage::read_chat_header(bytes)) {
                    self.queues.withdraw(link, &header);
                }
            }
            _ => {}
        }
    }

    /// Notifies the user from time to time that the last messages are still being sent.
    fn notify_of_last_messages(&mut self, messages: usize, notice_at: &mut Instant) {
        if messages > 0 && Instant::now() >= *notice_at {
            *notice_at += LAST_MESSAGES_NOTICE_INTERVAL;
            self.perform(Action::Notify(Notice::SendingLast { messages }));
        }
    }

    /// Backpressure: if a send queue is above its high-water mark, the driver takes no further
    /// input until the queue is below its low-water mark. A burst is therefore sent at the speed of
    /// the peers that read it. A link whose queue does not drain in time is disconnected, because
    /// all other links wait for it.
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
            ConnectionEvent::DialGreeted { endpoint, peer, greet } => {
                self.greeted_dials.insert(endpoint.clone(), greet);
                self.feed(Event::DialGreeted { endpoint, peer });
            }
            ConnectionEvent::DialFailed { endpoint, reason } => {
                event_log::dial_failed(&endpoint, &reason, self.engine.is_peer_expected_at(&endpoint));
                self.feed(Event::DialFailed { endpoint, reason });
            }
            ConnectionEvent::Messages { link, messages, held: _held } => {
                for bytes in messages {
                    self.handle_message(link, &bytes);
                }
            }
            ConnectionEvent::Disconnected { link, reason } => {
                if let Some(link_queue) = self.queues.remove(link) {
                    event_log::unlinked(link, link_queue.peer, &reason);
                }
                self.feed(Event::LinkClosed { link, reason });
            }
        }
    }

    fn handle_message(&mut self, link: LinkId, bytes: &[u8]) {
        let now = now();
        let header = MeshMessage::read_chat_header(bytes);
        if let Some(header) = &header {
            self.queues.withdraw(link, header);
        }
        if let Some(ChatHeader { sender, number, .. }) = header
            && self.engine.handle_if_duplicate(link, sender, number, now.boot)
        {
            return;
        }
        let fast = header.and_then(|header| MeshMessage::read_chat_fast(bytes, header));
        if let Some(message) = fast.or_else(|| MeshMessage::read(bytes)) {
            self.feed_at(Event::MessageReceived { link, message }, now);
        } else {
            // The framing is intact, so an invalid message does not end the connection.
            event_log::invalid_message(link, bytes.len());
            self.network.io_counters.invalid_messages.add(1);
        }
    }

    fn handle_request(&mut self, request: PeerRequest) {
        match request {
            PeerRequest::Post(text) => self.feed(Event::PostRequested(text)),
            PeerRequest::SendDirect { to, text } => self.feed(Event::DirectRequested { to, text }),
            PeerRequest::Follow { to, follows } => self.feed(Event::FollowRequested { to, follows }),
            PeerRequest::CheckPeerName { name, may_have_left, reply } => {
                let _ = reply.send(self.engine.check_peer_name(&name, may_have_left));
            }
            PeerRequest::SetProfile(profile) => self.feed(Event::ProfileSet(profile)),
            PeerRequest::ListPeers(reply) => {
                // The send fails if the requester has dropped the receiver. Then nobody needs the
                // reply.
                let _ = reply.send(self.engine.peers(boot_now()));
                self.feed(Event::ListRequested);
            }
            PeerRequest::PeerNames(reply) => {
                let names = self.engine.peers(boot_now()).into_iter().map(|known| known.contact.uid).collect();
                let _ = reply.send(names);
            }
            PeerRequest::History(reply) => {
                let entries = self.engine.history().entries().into_iter();
                let with_contacts =
                    entries.map(|entry| (self.engine.contact_of(&entry.author, entry.name.as_ref()), entry.clone()));
                let _ = reply.send(with_contacts.collect());
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
        // A disconnection causes further actions. They must come after the actions of this event.
        while let Some(link) = self.queues.pop_overflowed() {
            self.disconnect_slow_link(link);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { endpoint } => {
                event_log::dialling(&endpoint);
                self.network.dial(endpoint);
            }
            Action::Greet { endpoint } => {
                if let Some(greet) = self.greeted_dials.remove(&endpoint) {
                    // The send fails if the connection has ended meanwhile. It reports that itself.
                    let _ = greet.send(());
                }
            }
            Action::EndDial { endpoint } => drop(self.greeted_dials.remove(&endpoint)),
            Action::Send { links, message, format } => {
                let Some(bytes) = message.write(format) else {
                    self.drops.too_long += links.len() as u64;
                    return;
                };
                self.queues.push(links, &bytes, SendMode::of(&message.body, format));
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
                event_log::lan_notice(&notice);
                // A user interface that does not read must not block the event loop.
                if !self.notices.try_send(notice) {
                    self.drops.unread_notices += 1;
                    if !std::mem::replace(&mut self.has_warned_of_dropped_notices, true) {
                        warn!("notices are dropped: the output is not read fast enough");
                    }
                }
            }
        }
    }

    /// Closes a link whose reader is too slow, and discards its send queue.
    fn disconnect_slow_link(&mut self, link: LinkId) {
        if let Some(link_queue) = self.queues.remove(link) {
            event_log::too_slow(link, link_queue.peer, link_queue.queue.queued_bytes());
            self.drops.slow_links += 1;
            link_queue.queue.discard();
            self.feed(Event::LinkClosed { link, reason: "it reads too slowly".to_owned() });
        }
    }
}

/// The current time on both clocks.
pub(super) fn now() -> Now {
    Now { boot: boot_now(), unix_s: wall_now().unix_seconds() }
}

#[expect(clippy::disallowed_methods, reason = "the driver supplies the randomness of the engine")]
fn random_seed() -> u64 {
    rand::rng().random()
}
