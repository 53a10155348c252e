//! Fuzzing of the engine with all messages that the codecs accept: each event causes a bounded number of actions, only on
//! open links, and no post is shown twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rand::RngExt;
use rand::rngs::SmallRng;
use rollcall_chat::engine::{Action, Author, Draw, Engine, Event, LanRules, LinkId, Notice, Now, Rules};
use rollcall_chat::lan::{Datagram, Dialect};
use rollcall_chat::mesh::MeshMessage;
use rollcall_chat::{LanUserId, Nickname, PeerEndpoint, PeerId};
use rollcall_core::BootMs;

use super::FuzzStats;
use super::samples;

const MAX_CONNECTIONS: usize = 4;
const HISTORY_SIZE: usize = 20;
/// Most actions of one event, besides two for each known peer: the longest answer to a history request, and due timers.
const MOST_ACTIONS: usize = 64 + 40;
/// Limit of LAN peers.
const MOST_NEIGHBOURS: usize = 1024;

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
    stats: &mut FuzzStats,
    datagrams: Vec<(Datagram, Dialect)>,
    messages: Vec<(MeshMessage, bool)>,
) {
    let now = 1_000_000;
    let is_on_lan = rng.random();
    let engine = Engine::new(rules(is_on_lan), Vec::new(), at(now));
    let mut fed =
        FuzzedEngine { engine, now, links: BTreeSet::new(), next_link: 0, dialled: Vec::new(), shown: HashSet::new() };
    for _ in 0..3 {
        fed.link(rng);
    }
    let datagrams = datagrams.into_iter().map(|(datagram, dialect)| Event::HeardDatagram {
        from: source(rng, &datagram),
        shared: rng.random(),
        datagram,
        dialect,
    });
    let mut events: Vec<Event> = datagrams.collect();
    for (message, text_times) in messages {
        let link = LinkId(rng.random_range(0..5));
        events.push(Event::Heard { link, message, text_times });
    }
    while !events.is_empty() {
        let event = events.swap_remove(rng.random_range(0..events.len()));
        let copies = if rng.random_range(0..4) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            fed.feed(&event, rng);
        }
        match rng.random_range(0..12) {
            0 => fed.link(rng),
            1 => fed.feed(&Event::Posted(samples::text(rng)), rng),
            2 => fed.feed(&Event::Whispered { to: samples::user(rng).to_string(), text: samples::text(rng) }, rng),
            3 => fed.feed(&Event::Listed, rng),
            4 => {
                fed.now += rng.random_range(0..100_000);
                fed.feed(&Event::Woke, rng);
            }
            5 => fed.feed(&Event::Introduced(samples::profile(rng)), rng),
            6 => {
                if let Some(endpoint) = fed.dialled.pop() {
                    fed.feed(&Event::DialFailed { endpoint, why: samples::text(rng) }, rng);
                }
            }
            _ => {}
        }
    }
    fed.check_history();
    stats.events += fed.next_link + fed.engine.counts().received.total() + fed.engine.counts().datagrams_in;
}

fn at(ms: u64) -> Now {
    Now { boot: BootMs(ms), unix_s: 1_795_000_000 }
}

fn rules(is_on_lan: bool) -> Rules {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 99));
    let name = Nickname::parse("me").expect("a name");
    Rules {
        id: PeerId(3),
        lan: is_on_lan.then(|| LanRules { user: LanUserId::new(&name, ip), port: 8100, own_ips: vec![ip] }),
        name,
        listen: Some(PeerEndpoint::parse("0.0.0.0:8080").expect("an endpoint")),
        peers: vec![PeerEndpoint::parse("10.0.0.1:8080").expect("an endpoint")],
        max_connections: MAX_CONNECTIONS,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 5_000,
        dedup_cache_size: 10,
        history_size: HISTORY_SIZE,
        answer_bytes: 64 * 1024,
    }
}

/// Source address: usually the one that the sender claims.
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
            &Event::Linked { link, peer: samples::peer(rng), dialled, remote: IpAddr::V4(Ipv4Addr::LOCALHOST) },
            rng,
        );
    }

    fn feed(&mut self, event: &Event, rng: &mut SmallRng) {
        let (now, draw) = (at(self.now), Draw(rng.random()));
        let known = self.engine.known().len();
        let actions = self.engine.handle(event.clone(), now, draw);
        assert!(actions.len() <= MOST_ACTIONS + 2 * known, "{} actions for {event:?}", actions.len());
        for action in actions {
            self.check(action);
        }
        assert!(self.engine.link_count() <= MAX_CONNECTIONS);
        assert!(self.engine.known().len() <= MAX_CONNECTIONS + MOST_NEIGHBOURS);
        let again = self.engine.handle(Event::Woke, now, draw);
        assert!(again.is_empty() && self.engine.wake_at().0 > self.now, "there are still actions: {again:?}");
    }

    /// Checks that each number of an author is stored once, and that the history is bounded.
    fn check_history(&self) {
        let mut numbers: BTreeMap<&Author, BTreeSet<u64>> = BTreeMap::new();
        for entry in self.engine.history().entries() {
            let is_new = numbers.entry(&entry.author).or_default().insert(entry.number);
            assert!(is_new || matches!(entry.author, Author::Lan(_)), "kept twice: {entry:?}");
        }
        assert!(numbers.values().all(|numbers| numbers.len() <= HISTORY_SIZE));
    }

    fn check(&mut self, action: Action) {
        match action {
            Action::Send { links, message, form } => {
                assert!(links.iter().all(|link| self.links.contains(link)), "to a link that is closed");
                if let Some(bytes) = message.write(form) {
                    assert!(MeshMessage::read(&bytes).is_some(), "others cannot read {bytes:?}");
                }
            }
            Action::Close { link, .. } => assert!(self.links.remove(&link), "closed twice"),
            Action::SendDatagram { to, datagram, dialect } => {
                assert_ne!(to.port(), 0);
                let bytes = datagram.write(dialect).unwrap_or_else(|| panic!("not written: {datagram:?}"));
                assert_eq!(Datagram::read(&bytes).map(|(_, form)| form), Some(dialect));
            }
            Action::Shout(datagram) => assert!(datagram.write(Dialect::Compact).is_some()),
            Action::Keep(entry) => {
                let line = serde_json::to_string(&entry).expect("plain data");
                assert_eq!(serde_json::from_str::<rollcall_chat::engine::Entry>(&line).expect("plain data"), *entry);
            }
            Action::Tell(Notice::Post { from, text, number, .. }) => {
                // A post without a number cannot be recognised as a duplicate.
                let is_numbered = number != "0";
                let is_news = self.shown.insert((from.uid, number, text));
                assert!(is_news || !is_numbered, "shown twice");
            }
            Action::Dial(endpoint) => self.dialled.push(endpoint),
            Action::Tell(_) => {}
        }
    }
}
