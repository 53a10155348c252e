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
use super::engine::{Action, Contact, Draw, Engine, Entry, Event, Known, LinkId, Notice, Now};
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
const LONGEST_SLEEP_MS: u64 = 3_600_000;
/// The longest that the links may take to write what was said last.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a person wants.
#[derive(Debug)]
pub enum PeerRequest {
    /// Say something to everybody.
    Post(String),
    /// Say something to one.
    Whisper {
        /// Whom.
        to: String,
        /// What.
        text: String,
    },
    /// Say who this peer is.
    Introduce(PeerProfile),
    /// Know who is there.
    List(oneshot::Sender<Vec<Known>>),
    /// Know what those who are there are called, without asking anybody else.
    Names(oneshot::Sender<Vec<String>>),
    /// Know what was said.
    History(oneshot::Sender<Vec<(Contact, Entry)>>),
    /// Know how the peer is doing.
    Measure(oneshot::Sender<PeerStats>),
}

/// What the driver holds.
pub(super) struct PeerDriver {
    pub(super) engine: Engine,
    pub(super) network: MeshNetwork,
    pub(super) sockets: Option<LanSockets>,
    pub(super) log: Option<HistoryLog>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) outboxes: SendQueues,
    pub(super) drops: DropCounters,
    /// Whether the person was told that there is more than can be told.
    pub(super) complained: bool,
}

/// What comes in from everywhere.
pub(super) struct Inputs {
    pub(super) news: mpsc::Receiver<ConnectionEvent>,
    pub(super) datagrams: mpsc::Receiver<ReceivedDatagram>,
    pub(super) found: mpsc::Receiver<Vec<PeerEndpoint>>,
    pub(super) asks: mpsc::Receiver<PeerRequest>,
    pub(super) stop: CancellationToken,
}

impl PeerDriver {
    /// Runs until the end is wanted; then everything that was said is in the queues of the links, and these are closed.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        self.feed(Event::Woke);
        let (mut alarm, mut rings_at) = (std::pin::pin!(sleep(Duration::ZERO)), None);
        let stop = inputs.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let wake_at = self.engine.wake_at();
            if rings_at != Some(wake_at) {
                let wait = wake_at.since(boot_now()).min(LONGEST_SLEEP_MS);
                alarm.as_mut().reset(Instant::now() + Duration::from_millis(wait));
                rings_at = Some(wake_at);
            }
            tokio::select! {
                () = &mut stopped => break,
                () = &mut alarm => {
                    rings_at = None;
                    self.feed(Event::Woke);
                }
                Some(news) = inputs.news.recv() => {
                    self.take(news);
                    self.let_links_write().await;
                }
                Some(heard) = inputs.datagrams.recv() => {
                    let ReceivedDatagram { from, shared, datagram, dialect } = heard;
                    self.feed(Event::HeardDatagram { from, shared, datagram, dialect });
                }
                Some(endpoints) = inputs.found.recv() => self.feed(Event::Told(endpoints)),
                Some(ask) = inputs.asks.recv() => {
                    self.asked(ask);
                    self.let_links_write().await;
                }
            }
        }
        // What the person said last may be waiting still.
        while let Ok(ask) = inputs.asks.try_recv() {
            self.asked(ask);
            self.let_links_write().await;
        }
        self.feed(Event::Left);
        self.outboxes.close();
        self.network.stop.cancel();
        self.network.tasks.close();
        let tasks = self.network.tasks.clone();
        let ended = timeout(FAREWELL, tasks.wait());
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
                Some(news) = inputs.news.recv() => {
                    if let ConnectionEvent::Linked { outbox, .. } = news {
                        outbox.close();
                    }
                }
            }
        }
    }

    /// If a link's queue is crowded, waits until it is not nearly so, and takes nothing in meanwhile: a burst goes at the pace
    /// of its readers. Who makes no room in time does not read, or so slowly that everybody else would wait for it.
    async fn let_links_write(&mut self) {
        for link in self.outboxes.wait_for_room().await {
            self.drop_slow(link);
        }
    }

    fn take(&mut self, news: ConnectionEvent) {
        match news {
            ConnectionEvent::Linked { link, peer, dialled, remote, outbox } => {
                event_log::linked(link, peer, dialled.as_ref(), remote);
                self.outboxes.insert(link, peer, outbox);
                self.feed(Event::Linked { link, peer, dialled, remote });
            }
            ConnectionEvent::DialFailed { endpoint, why } => {
                event_log::dial_failed(&endpoint, &why, self.engine.expects(&endpoint));
                self.feed(Event::DialFailed { endpoint, why });
            }
            ConnectionEvent::Heard { link, messages } => {
                for bytes in messages {
                    self.heard(link, &bytes);
                }
            }
            ConnectionEvent::Unlinked { link, why } => {
                if let Some(line) = self.outboxes.remove(link) {
                    event_log::unlinked(link, line.peer, &why);
                }
                self.feed(Event::Unlinked { link, why });
            }
        }
    }

    fn heard(&mut self, link: LinkId, bytes: &[u8]) {
        let now = now();
        let head = MeshMessage::read_chat_header(bytes);
        if let Some(ChatHeader { sender, number, .. }) = head
            && self.engine.hears_again(link, sender, number, now.boot)
        {
            return;
        }
        let simple = head.and_then(|head| MeshMessage::read_chat_fast(bytes, head)).map(|message| (message, false));
        if let Some((message, text_times)) = simple.or_else(|| MeshMessage::read(bytes)) {
            self.feed_at(Event::Heard { link, message, text_times }, now);
        } else {
            // What is no message by its content does not break the stream.
            event_log::unread(link, bytes.len());
            self.network.tallies.unread_messages.add(1);
        }
    }

    fn asked(&mut self, ask: PeerRequest) {
        match ask {
            PeerRequest::Post(text) => self.feed(Event::Posted(text)),
            PeerRequest::Whisper { to, text } => self.feed(Event::Whispered { to, text }),
            PeerRequest::Introduce(profile) => self.feed(Event::Introduced(profile)),
            PeerRequest::List(answer) => {
                // Who does not wait for the answer does not want it.
                let _ = answer.send(self.engine.known());
                self.feed(Event::Listed);
            }
            PeerRequest::Names(answer) => {
                let names = self.engine.known().into_iter().map(|known| known.contact.uid).collect();
                let _ = answer.send(names);
            }
            PeerRequest::History(answer) => {
                let entries = self.engine.history().entries().into_iter();
                let said = entries.map(|entry| (self.engine.author(&entry.author, entry.name.as_ref()), entry.clone()));
                let _ = answer.send(said.collect());
            }
            PeerRequest::Measure(answer) => {
                let _ = answer.send(PeerStats::of(&self.engine, self.drops));
            }
        }
    }

    fn feed(&mut self, event: Event) {
        self.feed_at(event, now());
    }

    fn feed_at(&mut self, event: Event, now: Now) {
        let actions = self.engine.handle(event, now, Draw(draw()));
        for action in actions {
            self.act(action);
        }
        // Only now: what the engine says to that must not overtake what it said before.
        while let Some(link) = self.outboxes.take_slow() {
            self.drop_slow(link);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial(endpoint) => {
                event_log::dialling(&endpoint);
                self.network.dial(endpoint);
            }
            Action::Send { links, message, form } => {
                let Some(bytes) = message.write(form) else {
                    self.drops.too_long += links.len() as u64;
                    return;
                };
                self.outboxes.push(links, &bytes, !form.extended);
            }
            Action::Close { link, why } => {
                if let Some(line) = self.outboxes.remove(link) {
                    event_log::unlinked(link, line.peer, why);
                    line.outbox.close();
                }
            }
            Action::Shout(datagram) => {
                if let (Some(sockets), Some(bytes)) = (&self.sockets, datagram.write(Dialect::Compact)) {
                    sockets.shout(&bytes);
                }
            }
            Action::SendDatagram { to, datagram, dialect } => {
                if let (Some(sockets), Some(bytes)) = (&self.sockets, datagram.write(dialect)) {
                    sockets.send(to, &bytes);
                }
            }
            Action::Keep(entry) => {
                if let Some(log) = &mut self.log
                    && !log.add(entry)
                {
                    self.drops.unkept += 1;
                }
            }
            Action::Tell(notice) => {
                event_log::told(&notice);
                // A person who does not read must not keep the links from being served.
                if self.notices.try_send(notice).is_err() {
                    self.drops.unread += 1;
                    if !std::mem::replace(&mut self.complained, true) {
                        warn!("more happens than is read; some of it is not shown");
                    }
                }
            }
        }
    }

    /// A link whose other end does not read.
    fn drop_slow(&mut self, link: LinkId) {
        // What is in its queue is of no use to anybody.
        if let Some(line) = self.outboxes.remove(link) {
            event_log::too_slow(link, line.peer, line.outbox.queued_bytes());
            self.drops.slow_links += 1;
            line.outbox.abandon();
            self.feed(Event::Unlinked { link, why: "it reads too slowly".to_owned() });
        }
    }
}

/// Now on both clocks.
pub(super) fn now() -> Now {
    Now { boot: boot_now(), unix_s: wall_now().unix_seconds() }
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the engine gets its randomness from here")]
fn draw() -> u64 {
    rand::rng().random()
}
