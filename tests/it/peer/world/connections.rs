//! Simulated mesh connections: reliable and ordered until they break. A break drops all messages in transit.

use rand::RngExt;
use rollcall_chat::PeerEndpoint;
use rollcall_chat::engine::{Event, LinkId};
use rollcall_chat::mesh::{MeshMessage, MessageBody};
use rollcall_core::BootMs;

use super::World;

/// Longest time until a failed dial or a broken connection is noticed, in milliseconds.
const NOTICED_WITHIN_MS: u64 = 5_000;

/// Mesh connection between two hosts.
#[derive(Clone, Debug)]
pub(crate) struct SimConnection {
    /// Dialling host and dialled host.
    pub(crate) hosts: [usize; 2],
    /// Whether each end has closed the connection or knows of its end.
    closed: [bool; 2],
    /// Whether nothing is delivered any more.
    broken: bool,
    /// Arrival time of the last message to each end.
    last_at: [u64; 2],
}

impl World {
    pub(super) fn dial(&mut self, from: usize, endpoint: PeerEndpoint) {
        let to = (0..self.hosts.len()).find(|host| Self::endpoint(*host) == endpoint).expect("an address of a host");
        let delay = self.rng.random_range(1..=self.conditions.delay_ms);
        if !self.is_up(to) || !self.can_talk(from, to) {
            let at = self.now_ms + self.rng.random_range(1..NOTICED_WITHIN_MS);
            self.arrive(at, from, Event::DialFailed { endpoint, why: "nobody there".into() });
            return;
        }
        let connection = self.connections.len();
        let (there, back) = (self.now_ms + delay, self.now_ms + 2 * delay);
        self.connections.push(SimConnection {
            hosts: [from, to],
            closed: [false; 2],
            broken: false,
            last_at: [back, there],
        });
        let (near, far) = (self.id(from), self.id(to));
        let remote = Self::ip(to);
        self.arrive(
            back,
            from,
            Event::Linked { link: Self::link(connection, 0), peer: far, dialled: Some(endpoint), remote },
        );
        let remote = Self::ip(from);
        self.arrive(there, to, Event::Linked { link: Self::link(connection, 1), peer: near, dialled: None, remote });
    }

    fn id(&self, host: usize) -> rollcall_chat::PeerId {
        self.rules(host).id
    }

    pub(super) fn send(&mut self, host: usize, link: LinkId, bytes: &[u8]) {
        self.messages += 1;
        let (connection, end) =
            (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
        assert_eq!(self.connections[connection].hosts[end], host, "a link of somebody else");
        let delay = self.rng.random_range(1..=self.conditions.delay_ms);
        let known = &mut self.connections[connection];
        if known.broken || known.closed[0] || known.closed[1] {
            return;
        }
        let other = 1 - end;
        known.last_at[other] = known.last_at[other].max(self.now_ms + delay);
        let (at, to) = (known.last_at[other], known.hosts[other]);
        let (message, text_times) = MeshMessage::read(bytes).expect("what was written");
        self.arrive(at, to, Event::Heard { link: Self::link(connection, other), message, text_times });
    }

    /// Closes one end. Its messages in transit still arrive, then the end.
    pub(super) fn close(&mut self, _host: usize, link: LinkId) {
        let (connection, end) =
            (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
        let known = &mut self.connections[connection];
        known.closed[end] = true;
        let other = 1 - end;
        let (at, to) = (known.last_at[other].max(self.now_ms + 1), known.hosts[other]);
        if !known.broken {
            self.arrive(at, to, Event::Unlinked { link: Self::link(connection, other), why: "closed".into() });
        }
    }

    /// Breaks connections. Each end notices it some time later.
    pub(crate) fn break_connections(&mut self, is_broken: impl Fn(&SimConnection) -> bool) {
        for index in 0..self.connections.len() {
            if self.connections[index].broken || !is_broken(&self.connections[index]) {
                continue;
            }
            self.connections[index].broken = true;
            for end in 0..2 {
                let host = self.connections[index].hosts[end];
                let at = self.now_ms + self.rng.random_range(1..NOTICED_WITHIN_MS);
                let why = "broken".to_owned();
                // Not before the end knows of the link.
                let at = at.max(self.connections[index].last_at[end]);
                self.arrive(at, host, Event::Unlinked { link: Self::link(index, end), why });
            }
        }
    }

    pub(super) fn deliver(&mut self, host: usize, event: Event) {
        if let Event::Heard { link, .. } = &event {
            let (connection, end) =
                (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
            if self.connections[connection].broken || self.connections[connection].closed[end] {
                return;
            }
        }
        // As the driver does: a duplicate is detected from its header.
        if let Event::Heard { link, message, .. } = &event
            && matches!(message.body, MessageBody::Chat(_))
            && let Some(engine) = &mut self.hosts[host].engine
            && engine.hears_again(*link, message.sender, message.number, BootMs(self.now_ms))
        {
            return;
        }
        self.feed(host, event);
    }

    /// Number of open connections.
    pub(crate) fn open_connections(&self) -> usize {
        self.connections.iter().filter(|connection| !connection.broken && connection.closed == [false; 2]).count()
    }

    /// Breaks random connections.
    pub(crate) fn break_random_connections(&mut self) {
        let chosen = self.rng.random_range(0..self.connections.len().max(1));
        let Some(hosts) = self.connections.get(chosen).map(|connection| connection.hosts) else { return };
        self.break_connections(|connection| connection.hosts == hosts);
    }
}
