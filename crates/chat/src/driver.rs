//! Joins the engine to the links, the clock, the disk and the person. It holds no policy: one event, the engine's answer,
//! the actions.

use std::time::Duration;

use rand::RngExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::archive::Log;
use super::endpoint::PeerEndpoint;
use super::engine::{Action, ChatEntry, Contact, Engine, Event, EventRng, LinkId, Notice, Now, PeerInfo};
use super::lan::Dialect;
use super::lan::socket::{Heard, Sockets};
use super::mesh::network::Network;
use super::mesh::news::News;
use super::mesh::{Head, MeshMessage};
use super::metrics::{Drops, Measures};
use super::narrator;
use super::outboxes::Outboxes;
use super::profile::PeerProfile;
use rollcall_core::clock::{boot_now, wall_now};

/// A sleep without anything to wake for.
const LONGEST_SLEEP_MS: u64 = 3_600_000;
/// The longest that the links may take to write what was said last.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a person wants.
#[derive(Debug)]
pub enum Ask {
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
    List(oneshot::Sender<Vec<PeerInfo>>),
    /// Know what those who are there are called, without asking anybody else.
    Names(oneshot::Sender<Vec<String>>),
    /// Know what was said.
    History(oneshot::Sender<Vec<(Contact, ChatEntry)>>),
    /// Know how the peer is doing.
    Measure(oneshot::Sender<Measures>),
}

/// What the driver holds.
pub(super) struct Driver {
    pub(super) engine: Engine,
    pub(super) network: Network,
    pub(super) sockets: Option<Sockets>,
    pub(super) log: Option<Log>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) outboxes: Outboxes,
    pub(super) drops: Drops,
    /// Whether the person was told that there is more than can be told.
    pub(super) complained: bool,
}

/// What comes in from everywhere.
pub(super) struct Inputs {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) datagrams: mpsc::Receiver<Heard>,
    pub(super) found: mpsc::Receiver<Vec<PeerEndpoint>>,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) stop: CancellationToken,
}

impl Driver {
    /// Runs until the end is wanted; then everything that was said is in the queues of the links, and these are closed.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        self.feed(Event::TimerFired);
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
                    self.feed(Event::TimerFired);
                }
                Some(news) = inputs.news.recv() => {
                    self.take(news);
                    self.let_links_write().await;
                }
                Some(heard) = inputs.datagrams.recv() => {
                    let Heard { from, shared, datagram, dialect } = heard;
                    self.feed(Event::DatagramReceived { source: from, to_shared_port: shared, datagram, dialect });
                }
                Some(endpoints) = inputs.found.recv() => self.feed(Event::AddressesFound(endpoints)),
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
        self.feed(Event::ShuttingDown);
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
                    if let News::Linked { outbox, .. } = news {
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

    fn take(&mut self, news: News) {
        match news {
            News::Linked { link, peer, dialled, remote, outbox } => {
                narrator::linked(link, peer, dialled.as_ref(), remote);
                self.outboxes.insert(link, peer, outbox);
                self.feed(Event::LinkOpened { link, peer, dialled, remote });
            }
            News::DialFailed { endpoint, why } => {
                narrator::dial_failed(&endpoint, &why, self.engine.is_peer_expected_at(&endpoint));
                self.feed(Event::DialFailed { endpoint, reason: why });
            }
            News::Heard { link, messages } => {
                for bytes in messages {
                    self.heard(link, &bytes);
                }
            }
            News::Unlinked { link, why } => {
                if let Some(line) = self.outboxes.remove(link) {
                    narrator::unlinked(link, line.peer, &why);
                }
                self.feed(Event::LinkClosed { link, reason: why });
            }
        }
    }

    fn heard(&mut self, link: LinkId, bytes: &[u8]) {
        let now = now();
        let head = MeshMessage::read_head(bytes);
        if let Some(Head { sender, number, .. }) = head
            && self.engine.handle_if_duplicate(link, sender, number, now.boot)
        {
            return;
        }
        let simple = head.and_then(|head| MeshMessage::read_simple(bytes, head)).map(|message| (message, false));
        if let Some((message, text_times)) = simple.or_else(|| MeshMessage::read(bytes)) {
            self.feed_at(Event::MessageReceived { link, message, text_times }, now);
        } else {
            // What is no message by its content does not break the stream.
            narrator::unread(link, bytes.len());
            self.network.tallies.unread_messages.add(1);
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Post(text) => self.feed(Event::PostRequested(text)),
            Ask::Whisper { to, text } => self.feed(Event::DirectRequested { to, text }),
            Ask::Introduce(profile) => self.feed(Event::ProfileSet(profile)),
            Ask::List(answer) => {
                // Who does not wait for the answer does not want it.
                let _ = answer.send(self.engine.peers());
                self.feed(Event::ListRequested);
            }
            Ask::Names(answer) => {
                let names = self.engine.peers().into_iter().map(|known| known.contact.uid).collect();
                let _ = answer.send(names);
            }
            Ask::History(answer) => {
                let entries = self.engine.history().entries().into_iter();
                let said =
                    entries.map(|entry| (self.engine.contact_of(&entry.author, entry.name.as_ref()), entry.clone()));
                let _ = answer.send(said.collect());
            }
            Ask::Measure(answer) => {
                let _ = answer.send(Measures::of(&self.engine, self.drops));
            }
        }
    }

    fn feed(&mut self, event: Event) {
        self.feed_at(event, now());
    }

    fn feed_at(&mut self, event: Event, now: Now) {
        let actions = self.engine.handle(event, now, EventRng(draw()));
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
                narrator::dialling(&endpoint);
                self.network.dial(endpoint);
            }
            Action::Send { links, message, format } => {
                let Some(bytes) = message.write(format) else {
                    self.drops.too_long += links.len() as u64;
                    return;
                };
                self.outboxes.push(links, &bytes, !format.extended);
            }
            Action::Close { link, reason } => {
                if let Some(line) = self.outboxes.remove(link) {
                    narrator::unlinked(link, line.peer, reason);
                    line.outbox.close();
                }
            }
            Action::Broadcast(datagram) => {
                if let (Some(sockets), Some(bytes)) = (&self.sockets, datagram.write(Dialect::Compact)) {
                    sockets.shout(&bytes);
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
                    self.drops.unkept += 1;
                }
            }
            Action::Notify(notice) => {
                narrator::told(&notice);
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
            narrator::too_slow(link, line.peer, line.outbox.queued_bytes());
            self.drops.slow_links += 1;
            line.outbox.abandon();
            self.feed(Event::LinkClosed { link, reason: "it reads too slowly".to_owned() });
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
