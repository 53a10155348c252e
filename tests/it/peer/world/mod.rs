//! Simulated network of peers. Each host runs the real engine; links, datagrams, starts and stops
//! are random, from one seed. All messages go through the codecs.

mod connections;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rollcall_chat::engine::{Action, ChatEntry, Engine, EngineConfig, Event, EventRng, LanConfig, LinkId, Notice, Now};
use rollcall_chat::lan::{Datagram, Dialect};
use rollcall_chat::{LanUserId, Nickname, PeerEndpoint, PeerId};
use rollcall_core::BootMs;

pub(crate) use connections::Connection;

/// Unix time of the simulation at `now_ms` 0, in seconds.
const EPOCH: i64 = 1_795_000_000;

/// Conditions of the network, and the transports that the peers use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    pub(crate) hosts: usize,
    pub(crate) mesh: bool,
    pub(crate) lan: bool,
    /// Lost datagrams per thousand. As many are delivered twice.
    pub(crate) loss_permille: u32,
    /// Largest delay of a datagram or a mesh message, in milliseconds.
    pub(crate) delay_ms: u64,
}

/// A scheduled event.
#[derive(Clone, Debug)]
pub(crate) enum SimEvent {
    /// The timer of a host's engine.
    TimerFired,
    /// An event for a host's engine.
    Deliver(Box<Event>),
}

/// One host, and the notices that its user saw.
pub(crate) struct Host {
    engine: Option<Engine>,
    /// Entries on its disk, which survive a stop.
    stored: Vec<ChatEntry>,
    /// Number of times that each text was shown, in all runs of the host together.
    pub(crate) shown: BTreeMap<String, u32>,
    pub(crate) notices: Vec<Notice>,
    /// Number of the current run. Events for an earlier run are not delivered.
    run: u32,
}

/// The network, its hosts and the scheduled events.
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: NetworkConditions,
    pub(crate) rng: SmallRng,
    queue: BinaryHeap<Reverse<(u64, u64, usize, u32)>>,
    sim_events: BTreeMap<u64, SimEvent>,
    next_id: u64,
    connections: Vec<Connection>,
    /// The side of the partition on which each host is.
    side: Vec<u8>,
    /// Datagrams sent, counted once per destination.
    pub(crate) datagrams: u64,
    /// Mesh messages sent.
    pub(crate) messages: u64,
    pub(crate) posted: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, network: NetworkConditions) -> Self {
        let host = |_| Host { engine: None, stored: Vec::new(), shown: BTreeMap::new(), notices: Vec::new(), run: 0 };
        Self {
            now_ms: 1_000_000,
            hosts: (0..network.hosts).map(host).collect(),
            rng: SmallRng::seed_from_u64(seed),
            queue: BinaryHeap::new(),
            sim_events: BTreeMap::new(),
            next_id: 0,
            connections: Vec::new(),
            side: vec![0; network.hosts],
            datagrams: 0,
            messages: 0,
            posted: Vec::new(),
            network,
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

    fn config(&self, host: usize) -> EngineConfig {
        let name = Nickname::parse(&format!("h{host}")).expect("a name");
        let user = LanUserId::new(&name, Self::ip(host));
        let next = (host + 1) % self.network.hosts;
        let lan = LanConfig { user, port: Self::lan_port(host), own_ips: vec![Self::ip(host)] };
        EngineConfig {
            // The ids are not in the order of the hosts. So of two opposite connections, sometimes
            // the one and sometimes the other is kept.
            id: PeerId((host as u128 * 7 + 3) % 11 * 1_000_000_007 + host as u128),
            name,
            listen: self.network.mesh.then(|| PeerEndpoint::parse("0.0.0.0:8080").expect("an endpoint")),
            // A ring: only heartbeats and peer lists can complete the mesh.
            peers: if self.network.mesh { vec![Self::endpoint(next)] } else { Vec::new() },
            max_connections: 50,
            heartbeat_interval_ms: 3_000,
            heartbeat_timeout_ms: 2_000,
            dedup_cache_size: 100,
            history_size: 1_000,
            history_batch_bytes: 2_000,
            lan: self.network.lan.then_some(lan),
        }
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.hosts[host].engine.is_some()
    }

    pub(crate) fn engine(&self, host: usize) -> &Engine {
        self.hosts[host].engine.as_ref().expect("the host is up")
    }

    /// Number of peers that a host lists.
    pub(crate) fn peer_count(&self, host: usize) -> usize {
        self.engine(host).peers(self.now().boot).len()
    }

    /// Starts a host that is down, with its stored entries.
    pub(crate) fn start(&mut self, host: usize) {
        let engine = Engine::new(self.config(host), self.hosts[host].stored.clone(), self.now());
        self.hosts[host].engine = Some(engine);
        self.feed(host, Event::TimerFired);
    }

    /// Stops a host at once.
    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host].engine = None;
        self.hosts[host].run += 1;
        self.break_connections(|connection| connection.hosts.contains(&host));
    }

    /// Partitions the hosts. Connections between the sides deliver nothing more, and are closed
    /// some time later.
    pub(crate) fn partition(&mut self, side: Vec<u8>) {
        self.side = side;
        let side = self.side.clone();
        self.break_connections(|connection| side[connection.hosts[0]] != side[connection.hosts[1]]);
    }

    pub(crate) fn heal(&mut self) {
        self.side.fill(0);
    }

    fn can_reach(&self, from: usize, to: usize) -> bool {
        self.side[from] == self.side[to]
    }

    /// Posts a unique text.
    pub(crate) fn post(&mut self, host: usize) {
        let text = format!("text {} of h{host}", self.posted.len());
        self.posted.push(text.clone());
        self.feed(host, Event::PostRequested(text));
    }

    /// Passes an event to a host's engine and performs its actions.
    pub(crate) fn feed(&mut self, host: usize, event: Event) {
        let (now, rng) = (self.now(), EventRng(self.rng.random()));
        let is_timer = matches!(event, Event::TimerFired);
        let Some(engine) = &mut self.hosts[host].engine else { return };
        let actions = engine.handle(event, now, rng);
        let wake_at = engine.wake_at();
        let is_idle = actions.is_empty();
        for action in actions {
            self.perform(host, action);
        }
        // If a timer event causes no action, the next one must be later. Otherwise the driver would
        // loop without pause.
        assert!(!is_idle || !is_timer || wake_at.0 > self.now_ms, "h{host} spins at {} ms", self.now_ms);
        if wake_at != BootMs::NEVER {
            self.schedule(wake_at.0.max(self.now_ms + 1), host, SimEvent::TimerFired);
        }
    }

    fn perform(&mut self, host: usize, action: Action) {
        match action {
            Action::Dial { endpoint } => self.dial(host, endpoint),
            Action::Greet { endpoint } => self.greet(host, endpoint),
            Action::EndDial { .. } => {}
            Action::Send { links, message, format } => {
                let Some(bytes) = message.write(format) else { return };
                for link in links {
                    self.send(host, link, &bytes);
                }
            }
            Action::Close { link, .. } => self.close(host, link),
            Action::Broadcast(datagram) => {
                // A peer sends it to the broadcast address, to that of the interface, and to
                // loopback.
                self.datagrams += 3;
                for to in 0..self.hosts.len() {
                    self.send_datagram(host, to, true, &datagram, Dialect::Compact);
                }
            }
            Action::SendDatagram { to, datagram, dialect } => {
                self.datagrams += 1;
                let found = (0..self.hosts.len()).find(|host| Self::ip(*host) == to.ip());
                if let Some(found) = found {
                    let shared = to.port() == rollcall_chat::engine::LAN_PORT;
                    assert!(shared || to.port() == Self::lan_port(found), "a datagram to a port of no host: {to}");
                    self.send_datagram(host, found, shared, &datagram, dialect);
                }
            }
            Action::Persist(entry) => self.hosts[host].stored.push(entry.as_ref().clone()),
            Action::Notify(notice) => self.record_notice(host, notice),
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

    /// Sends a datagram, which may be lost, duplicated, delayed or reordered.
    fn send_datagram(&mut self, from: usize, to: usize, shared: bool, datagram: &Datagram, dialect: Dialect) {
        let bytes = datagram.write(dialect).expect("it fits");
        let copies = match self.rng.random_range(0..1000) {
            _ if !self.can_reach(from, to) => 0,
            chance if chance < self.network.loss_permille => 0,
            chance if chance < 2 * self.network.loss_permille => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let (datagram, dialect) = Datagram::read(&bytes).expect("a written datagram is valid");
            let from = SocketAddr::new(Self::ip(from), Self::lan_port(from));
            let at = self.now_ms + self.rng.random_range(0..=self.network.delay_ms);
            self.deliver_at(
                at,
                to,
                Event::DatagramReceived { source: from, to_shared_port: shared, datagram, dialect },
            );
        }
    }

    fn deliver_at(&mut self, at: u64, host: usize, event: Event) {
        self.schedule(at, host, SimEvent::Deliver(Box::new(event)));
    }

    fn schedule(&mut self, at: u64, host: usize, sim_event: SimEvent) {
        self.next_id += 1;
        self.queue.push(Reverse((at, self.next_id, host, self.hosts[host].run)));
        self.sim_events.insert(self.next_id, sim_event);
    }

    /// Advances the clock, and handles all events until then.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
        {
            let Some(Reverse((at, id, host, run))) = self.queue.pop() else { break };
            let sim_event = self.sim_events.remove(&id).expect("scheduled once");
            self.now_ms = self.now_ms.max(at);
            if self.hosts[host].run != run {
                continue;
            }
            match sim_event {
                // An event since then has moved the deadline.
                SimEvent::TimerFired if self.is_up(host) && self.engine(host).wake_at().0 > self.now_ms => {}
                SimEvent::TimerFired => self.feed(host, Event::TimerFired),
                SimEvent::Deliver(event) => self.deliver(host, *event),
            }
        }
        self.now_ms = end;
    }

    /// Checks that each host has shown every text of all other hosts.
    pub(crate) fn assert_all_texts_are_everywhere(&self) {
        for (index, host) in self.hosts.iter().enumerate() {
            let own = format!(" of h{index}");
            let missing: Vec<&String> =
                self.posted.iter().filter(|text| !text.ends_with(&own) && !host.shown.contains_key(*text)).collect();
            assert!(missing.is_empty(), "h{index} lacks {} of {}: {missing:?}", missing.len(), self.posted.len());
        }
    }

    fn link(index: usize, end: usize) -> LinkId {
        LinkId(index as u64 * 2 + end as u64)
    }
}
