//! Simulated network of peers: real engines on hosts whose connections, datagrams, starts and ends are random from one
//! seed. All messages go through the codecs.

mod connections;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rollcall_chat::engine::{Action, Draw, Engine, Entry, Event, LanRules, LinkId, Notice, Now, Rules};
use rollcall_chat::lan::{Datagram, Dialect};
use rollcall_chat::{LanUserId, Nickname, PeerEndpoint, PeerId};
use rollcall_core::BootMs;

pub(crate) use connections::SimConnection;

/// Unix time at the start of each simulation, in seconds.
const EPOCH: i64 = 1_795_000_000;

/// Transports of the peers, and faults of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    pub(crate) hosts: usize,
    pub(crate) mesh: bool,
    pub(crate) lan: bool,
    /// Lost datagrams per thousand. The same number is duplicated.
    pub(crate) loss_permille: u32,
    /// Longest delay of a datagram or message.
    pub(crate) delay_ms: u64,
}

/// Scheduled event.
#[derive(Clone, Debug)]
pub(crate) enum SimEvent {
    /// Timer of the engine.
    Wake,
    /// Input of the engine.
    Arrive(Box<Event>),
}

/// Host with its engine and the notices to its user.
pub(crate) struct Host {
    engine: Option<Engine>,
    /// Stored history.
    saved: Vec<Entry>,
    /// Number of times that each text was shown, in all runs of the host.
    pub(crate) shown: BTreeMap<String, u32>,
    pub(crate) notices: Vec<Notice>,
    /// Number of the current run. Events for an earlier run are dropped.
    run: u32,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) conditions: NetworkConditions,
    pub(crate) rng: SmallRng,
    queue: BinaryHeap<Reverse<(u64, u64, usize, u32)>>,
    sim_events: BTreeMap<u64, SimEvent>,
    serial: u64,
    connections: Vec<SimConnection>,
    /// Side of the network partition of each host.
    side: Vec<u8>,
    /// Number of sent datagrams, counted per destination.
    pub(crate) datagrams: u64,
    /// Number of sent mesh messages.
    pub(crate) messages: u64,
    pub(crate) posted: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, conditions: NetworkConditions) -> Self {
        let host = |_| Host { engine: None, saved: Vec::new(), shown: BTreeMap::new(), notices: Vec::new(), run: 0 };
        Self {
            now_ms: 1_000_000,
            hosts: (0..conditions.hosts).map(host).collect(),
            rng: SmallRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            sim_events: BTreeMap::new(),
            serial: 0,
            connections: Vec::new(),
            side: vec![0; conditions.hosts],
            datagrams: 0,
            messages: 0,
            posted: Vec::new(),
            conditions,
        }
    }

    fn now(&self) -> Now {
        Now { boot: BootMs(self.now_ms), unix_s: EPOCH + i64::try_from(self.now_ms / 1000).expect("small") }
    }

    pub(crate) fn ip(host: usize) -> IpAddr {
        format!("10.0.0.{}", host + 1).parse().expect("an address")
    }

    pub(crate) fn endpoint(host: usize) -> PeerEndpoint {
        PeerEndpoint::of(SocketAddr::new(Self::ip(host), 8080))
    }

    pub(crate) fn lan_port(host: usize) -> u16 {
        8000 + u16::try_from(host).expect("few hosts")
    }

    fn rules(&self, host: usize) -> Rules {
        let name = Nickname::parse(&format!("h{host}")).expect("a name");
        let user = LanUserId::new(&name, Self::ip(host));
        let next = (host + 1) % self.conditions.hosts;
        let lan = LanRules { user, port: Self::lan_port(host), own_ips: vec![Self::ip(host)] };
        Rules {
            // Not in the order of the hosts, so that simultaneous dials have different winners.
            id: PeerId((host as u128 * 7 + 3) % 11 * 1_000_000_007 + host as u128),
            name,
            listen: self.conditions.mesh.then(|| PeerEndpoint::parse("0.0.0.0:8080").expect("an endpoint")),
            // A ring: the other links come from heartbeats and peer lists.
            peers: if self.conditions.mesh { vec![Self::endpoint(next)] } else { Vec::new() },
            max_connections: 50,
            heartbeat_interval_ms: 3_000,
            heartbeat_timeout_ms: 2_000,
            dedup_cache_size: 100,
            history_size: 1_000,
            answer_bytes: 2_000,
            lan: self.conditions.lan.then_some(lan),
        }
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.hosts[host].engine.is_some()
    }

    pub(crate) fn engine(&self, host: usize) -> &Engine {
        self.hosts[host].engine.as_ref().expect("it runs")
    }

    /// Starts a host with its stored history.
    pub(crate) fn start(&mut self, host: usize) {
        let engine = Engine::new(self.rules(host), self.hosts[host].saved.clone(), self.now());
        self.hosts[host].engine = Some(engine);
        self.feed(host, Event::Woke);
    }

    /// Kills a host.
    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host].engine = None;
        self.hosts[host].run += 1;
        self.break_connections(|connection| connection.hosts.contains(&host));
    }

    /// Partitions the network. Connections across the partition carry nothing more and end some time later.
    pub(crate) fn cut(&mut self, side: Vec<u8>) {
        self.side = side;
        let side = self.side.clone();
        self.break_connections(|connection| side[connection.hosts[0]] != side[connection.hosts[1]]);
    }

    pub(crate) fn heal(&mut self) {
        self.side.fill(0);
    }

    fn can_talk(&self, from: usize, to: usize) -> bool {
        self.side[from] == self.side[to]
    }

    /// Posts a unique text.
    pub(crate) fn post(&mut self, host: usize) {
        let text = format!("text {} of h{host}", self.posted.len());
        self.posted.push(text.clone());
        self.feed(host, Event::Posted(text));
    }

    /// Passes an event to the engine of a host and performs its actions.
    pub(crate) fn feed(&mut self, host: usize, event: Event) {
        let (now, draw) = (self.now(), Draw(self.rng.random()));
        let was_woken = matches!(event, Event::Woke);
        let Some(engine) = &mut self.hosts[host].engine else { return };
        let actions = engine.handle(event, now, draw);
        let wake_at = engine.wake_at();
        let is_idle = actions.is_empty();
        for action in actions {
            self.perform(host, action);
        }
        // An engine that does nothing and wants to be woken immediately would loop forever.
        assert!(!is_idle || !was_woken || wake_at.0 > self.now_ms, "h{host} spins at {} ms", self.now_ms);
        if wake_at != BootMs::NEVER {
            self.schedule(wake_at.0.max(self.now_ms + 1), host, SimEvent::Wake);
        }
    }

    fn perform(&mut self, host: usize, action: Action) {
        match action {
            Action::Dial(endpoint) => self.dial(host, endpoint),
            Action::Send { links, message, form } => {
                let Some(bytes) = message.write(form) else { return };
                for link in links {
                    self.send(host, link, &bytes);
                }
            }
            Action::Close { link, .. } => self.close(host, link),
            Action::Shout(datagram) => {
                // 255.255.255.255, the broadcast address of the interface, and loopback.
                self.datagrams += 3;
                for to in 0..self.hosts.len() {
                    self.transmit(host, to, true, &datagram, Dialect::Compact);
                }
            }
            Action::SendDatagram { to, datagram, dialect } => {
                self.datagrams += 1;
                let found = (0..self.hosts.len()).find(|host| Self::ip(*host) == to.ip());
                if let Some(found) = found {
                    let shared = to.port() == rollcall_chat::engine::LAN_PORT;
                    assert!(shared || to.port() == Self::lan_port(found), "a datagram to a port that nobody has: {to}");
                    self.transmit(host, found, shared, &datagram, dialect);
                }
            }
            Action::Keep(entry) => self.hosts[host].saved.push(entry.as_ref().clone()),
            Action::Tell(notice) => self.record_notice(host, notice),
        }
    }

    fn record_notice(&mut self, host: usize, notice: Notice) {
        if let Notice::Post { text, .. } = &notice {
            let count = self.hosts[host].shown.entry(text.clone()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "h{host} shows {text:?} again at {} ms", self.now_ms);
        }
        self.hosts[host].notices.push(notice);
    }

    /// Transmits a datagram, which can be lost, duplicated, delayed and reordered.
    fn transmit(&mut self, from: usize, to: usize, shared: bool, datagram: &Datagram, dialect: Dialect) {
        let bytes = datagram.write(dialect).expect("it fits");
        let copies = match self.rng.random_range(0..1000) {
            _ if !self.can_talk(from, to) => 0,
            chance if chance < self.conditions.loss_permille => 0,
            chance if chance < 2 * self.conditions.loss_permille => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let (datagram, dialect) = Datagram::read(&bytes).expect("what was written");
            let from = SocketAddr::new(Self::ip(from), Self::lan_port(from));
            let at = self.now_ms + self.rng.random_range(0..=self.conditions.delay_ms);
            self.arrive(at, to, Event::HeardDatagram { from, shared, datagram, dialect });
        }
    }

    fn arrive(&mut self, at: u64, host: usize, event: Event) {
        self.schedule(at, host, SimEvent::Arrive(Box::new(event)));
    }

    fn schedule(&mut self, at: u64, host: usize, sim_event: SimEvent) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, host, self.hosts[host].run)));
        self.sim_events.insert(self.serial, sim_event);
    }

    /// Runs the simulation for this time.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, serial, host, run))) = self.queue.pop() else { break };
            let sim_event = self.sim_events.remove(&serial).expect("scheduled once");
            self.now_ms = self.now_ms.max(at);
            if self.hosts[host].run != run {
                continue;
            }
            match sim_event {
                // An earlier event has moved the timer.
                SimEvent::Wake if self.is_up(host) && self.engine(host).wake_at().0 > self.now_ms => {}
                SimEvent::Wake => self.feed(host, Event::Woke),
                SimEvent::Arrive(event) => self.deliver(host, *event),
            }
        }
        self.now_ms = end;
    }

    /// Asserts that each host has shown each text of all others.
    pub(crate) fn assert_everybody_has_everything(&self) {
        for (index, host) in self.hosts.iter().enumerate() {
            let own = format!(" of h{index}");
            let missing: Vec<&String> =
                self.posted.iter().filter(|text| !text.ends_with(&own) && !host.shown.contains_key(*text)).collect();
            assert!(missing.is_empty(), "h{index} lacks {} of {}: {missing:?}", missing.len(), self.posted.len());
        }
    }

    fn link(connection: usize, end: usize) -> LinkId {
        LinkId(connection as u64 * 2 + end as u64)
    }
}
