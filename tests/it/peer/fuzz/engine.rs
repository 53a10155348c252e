//! Fuzzing of the engine with the decoded values. It must return a bounded number of actions per
//! event, use only open links, and show no message twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::engine::{Action, Author, Engine, EngineConfig, Event, EventRng, LanConfig, LinkId, Notice, Now};
use rollcall_chat::lan::{Datagram, Dialect};
use rollcall_chat::mesh::MeshMessage;
use rollcall_chat::{LanUserId, Nickname, PeerEndpoint, PeerId};
use rollcall_core::BootMs;

use super::FuzzCounts;
use super::samples;

const MAX_CONNECTIONS: usize = 4;
const HISTORY_SIZE: usize = 20;
/// Largest number of actions per event, in addition to two for each peer: the longest history
/// answer, and the actions of due timers.
const MAX_ACTIONS: usize = 64 + 40;
/// Largest number of LAN peers.
const MAX_LAN_PEERS: usize = 1024;

struct FuzzedEngine {
    engine: Engine,
    now: u64,
    links: BTreeSet<LinkId>,
    next_link: u64,
    dialled: Vec<PeerEndpoint>,
    shown: HashSet<(String, String, String)>,
}

pub(super) fn round(
    rng: &mut SmallRng,
    counts: &mut FuzzCounts,
    datagrams: Vec<(Datagram, Dialect)>,
    messages: Vec<MeshMessage>,
) {
    let now = 1_000_000;
    let is_on_lan = rng.random();
    let engine = Engine::new(config(is_on_lan), Vec::new(), at(now));
    let mut fuzzed =
        FuzzedEngine { engine, now, links: BTreeSet::new(), next_link: 0, dialled: Vec::new(), shown: HashSet::new() };
    for _ in 0..3 {
        fuzzed.link(rng);
    }
    let datagrams = datagrams.into_iter().map(|(datagram, dialect)| Event::DatagramReceived {
        source: source(rng, &datagram),
        to_shared_port: rng.random(),
        datagram,
        dialect,
    });
    let mut events: Vec<Event> = datagrams.collect();
    for message in messages {
        let link = LinkId(rng.random_range(0..5));
        events.push(Event::MessageReceived { link, message });
    }
    while !events.is_empty() {
        let event = events.swap_remove(rng.random_range(0..events.len()));
        let copies = if rng.random_range(0..4) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            fuzzed.feed(&event, rng);
        }
        match rng.random_range(0..13) {
            0 => fuzzed.link(rng),
            1 => fuzzed.feed(&Event::PostRequested(samples::text(rng)), rng),
            2 => fuzzed
                .feed(&Event::DirectRequested { to: samples::user(rng).to_string(), text: samples::text(rng) }, rng),
            3 => fuzzed.feed(&Event::ListRequested, rng),
            12 => {
                let to = samples::user(rng).to_string();
                fuzzed.feed(&Event::FollowRequested { to, follows: rng.random() }, rng);
            }
            4 => {
                fuzzed.now += rng.random_range(0..100_000);
                fuzzed.feed(&Event::TimerFired, rng);
            }
            5 => fuzzed.feed(&Event::ProfileSet(samples::profile(rng)), rng),
            6 => {
                if let Some(endpoint) = fuzzed.dialled.pop() {
                    fuzzed.feed(&Event::DialFailed { endpoint, reason: samples::text(rng) }, rng);
                }
            }
            _ => {}
        }
    }
    fuzzed.check_history();
    counts.events +=
        fuzzed.next_link + fuzzed.engine.counters().received.total() + fuzzed.engine.counters().datagrams_received;
}

fn at(ms: u64) -> Now {
    Now { boot: BootMs(ms), unix_s: 1_795_000_000 }
}

fn config(is_on_lan: bool) -> EngineConfig {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99));
    let name = Nickname::parse("me").expect("a name");
    EngineConfig {
        id: PeerId(3),
        lan: is_on_lan.then(|| LanConfig { user: LanUserId::new(&name, ip), port: 8100, own_ips: vec![ip] }),
        name,
        listen: Some(PeerEndpoint::parse("0.0.0.0:8080").expect("an endpoint")),
        peers: vec![PeerEndpoint::parse("10.0.0.1:8080").expect("an endpoint")],
        max_connections: MAX_CONNECTIONS,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 5_000,
        dedup_cache_size: 10,
        history_size: HISTORY_SIZE,
        history_batch_bytes: 64 * 1024,
    }
}

/// Source address of a datagram: usually the address that the sender claims.
fn source(rng: &mut SmallRng, datagram: &Datagram) -> SocketAddr {
    let claimed = datagram.from.as_ref().and_then(LanUserId::claimed_ip).filter(|_| rng.random_range(0..4) > 0);
    SocketAddr::new(claimed.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), rng.random_range(1..=u16::MAX))
}

impl FuzzedEngine {
    fn link(&mut self, rng: &mut SmallRng) {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(link);
        let dialled =
            if rng.random() { Some(PeerEndpoint::parse("10.0.0.1:8080").expect("an endpoint")) } else { None };
        self.feed(
            &Event::LinkOpened { link, peer: samples::peer(rng), dialled, remote: IpAddr::V4(Ipv4Addr::LOCALHOST) },
            rng,
        );
    }

    fn feed(&mut self, event: &Event, rng: &mut SmallRng) {
        let (now, event_rng) = (at(self.now), EventRng(rng.random()));
        let peers = self.engine.peers(now.boot).len();
        let actions = self.engine.handle(event.clone(), now, event_rng);
        assert!(actions.len() <= MAX_ACTIONS + 2 * peers, "{} actions for {event:?}", actions.len());
        for action in actions {
            self.check(action);
        }
        assert!(self.engine.link_count() <= MAX_CONNECTIONS);
        assert!(self.engine.peers(now.boot).len() <= MAX_CONNECTIONS + MAX_LAN_PEERS);
        let again = self.engine.handle(Event::TimerFired, now, event_rng);
        assert!(
            again.is_empty() && self.engine.wake_at().0 > self.now,
            "the event left work for a timer event: {again:?}"
        );
    }

    /// Checks that the history has each number of a mesh author once, and at most `HISTORY_SIZE`
    /// numbers of each author.
    fn check_history(&self) {
        let mut numbers: BTreeMap<&Author, BTreeSet<u64>> = BTreeMap::new();
        for entry in self.engine.history().entries() {
            let is_new = numbers.entry(&entry.author).or_default().insert(entry.number);
            assert!(is_new || matches!(entry.author, Author::Lan(_)), "stored twice: {entry:?}");
        }
        assert!(numbers.values().all(|numbers| numbers.len() <= HISTORY_SIZE));
    }

    fn check(&mut self, action: Action) {
        match action {
            Action::Send { links, message, format } => {
                assert!(links.iter().all(|link| self.links.contains(link)), "sent on a closed link");
                if let Some(bytes) = message.write(format) {
                    assert!(MeshMessage::read(&bytes).is_some(), "cannot be decoded: {bytes:?}");
                }
            }
            Action::Close { link, .. } => assert!(self.links.remove(&link), "closed twice"),
            Action::SendDatagram { to, datagram, dialect } => {
                assert_ne!(to.port(), 0);
                let bytes = datagram.write(dialect).unwrap_or_else(|| panic!("not encoded: {datagram:?}"));
                assert_eq!(Datagram::read(&bytes).map(|(_, form)| form), Some(dialect));
            }
            Action::Broadcast(datagram) => assert!(datagram.write(Dialect::Compact).is_some()),
            Action::Persist(entry) => {
                let line = serde_json::to_string(&entry).expect("plain data");
                assert_eq!(
                    serde_json::from_str::<rollcall_chat::engine::ChatEntry>(&line).expect("plain data"),
                    *entry
                );
            }
            Action::Notify(Notice::Post { from, text, number, .. }) => {
                // A message without a number cannot be recognised as a duplicate.
                let is_numbered = number != "0";
                let is_new = self.shown.insert((from.uid, number, text));
                assert!(is_new || !is_numbered, "shown twice");
            }
            Action::Dial { endpoint, .. } => self.dialled.push(endpoint),
            Action::Greet { .. } | Action::EndDial { .. } | Action::Notify(_) => {}
        }
    }
}
