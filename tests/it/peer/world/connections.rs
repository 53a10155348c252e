//! Connections of the mesh. A connection delivers all messages in order while it is open. When it
//! breaks, all messages in flight are lost.

use rand::RngExt;
use rollcall_chat::engine::{Event, LinkId};
use rollcall_chat::mesh::{MeshMessage, MessageBody};
use rollcall_chat::{PeerEndpoint, PeerId};
use rollcall_core::BootMs;

use super::World;

/// Longest time until a host notices a failed dial or a broken connection, in milliseconds.
const NOTICED_WITHIN_MS: u64 = 5_000;

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The host that dialled, and the host that accepted.
    pub(crate) hosts: [usize; 2],
    /// Whether each end has closed the connection, or knows that it is closed.
    closed: [bool; 2],
    /// Whether the connection is broken, so that nothing arrives any more.
    broken: bool,
    /// Arrival time of the last event for each end. Later messages arrive no earlier.
    last_at: [u64; 2],
}

impl World {
    /// Dials a host, whose greeting then arrives.
    pub(super) fn dial(&mut self, from: usize, endpoint: PeerEndpoint) {
        let Some(to) = self.dialled_host(from, &endpoint) else { return };
        let delay_ms = self.rng.random_range(1..=self.network.delay_ms);
        let (at, peer) = (self.now_ms + 2 * delay_ms, self.id(to));
        self.deliver_at(at, from, Event::DialGreeted { endpoint, peer });
    }

    /// The host at a dialled address. If it does not answer, the dial fails.
    fn dialled_host(&mut self, from: usize, endpoint: &PeerEndpoint) -> Option<usize> {
        let to = (0..self.hosts.len()).find(|host| Self::endpoint(*host) == *endpoint).expect("an address of a host");
        if self.is_up(to) && self.can_reach(from, to) {
            return Some(to);
        }
        let at = self.now_ms + self.rng.random_range(1..NOTICED_WITHIN_MS);
        let reason = "the host does not answer".into();
        self.deliver_at(at, from, Event::DialFailed { endpoint: endpoint.clone(), reason });
        None
    }

    /// Sends the greeting of the dialling host, which opens the link.
    pub(super) fn greet(&mut self, from: usize, endpoint: PeerEndpoint) {
        let Some(to) = self.dialled_host(from, &endpoint) else { return };
        let delay_ms = self.rng.random_range(1..=self.network.delay_ms);
        let index = self.connections.len();
        let (there, back) = (self.now_ms + delay_ms, self.now_ms + 1);
        self.connections.push(Connection {
            hosts: [from, to],
            closed: [false; 2],
            broken: false,
            last_at: [back, there],
        });
        let (near, far) = (self.id(from), self.id(to));
        let remote = Self::ip(to);
        self.deliver_at(
            back,
            from,
            Event::LinkOpened { link: Self::link(index, 0), peer: far, dialled: Some(endpoint), remote },
        );
        let remote = Self::ip(from);
        self.deliver_at(there, to, Event::LinkOpened { link: Self::link(index, 1), peer: near, dialled: None, remote });
    }

    fn id(&self, host: usize) -> PeerId {
        self.config(host).id
    }

    pub(super) fn send(&mut self, host: usize, link: LinkId, bytes: &[u8]) {
        self.messages += 1;
        let (index, end) = (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
        assert_eq!(self.connections[index].hosts[end], host, "a link of another host");
        let delay_ms = self.rng.random_range(1..=self.network.delay_ms);
        let connection = &mut self.connections[index];
        if connection.broken || connection.closed[0] || connection.closed[1] {
            return;
        }
        let other = 1 - end;
        connection.last_at[other] = connection.last_at[other].max(self.now_ms + delay_ms);
        let (at, to) = (connection.last_at[other], connection.hosts[other]);
        let message = MeshMessage::read(bytes).expect("a written message is valid");
        self.deliver_at(at, to, Event::MessageReceived { link: Self::link(index, other), message });
    }

    /// Closes one end. Messages that it sent still arrive, then the close.
    pub(super) fn close(&mut self, _host: usize, link: LinkId) {
        let (index, end) = (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
        let connection = &mut self.connections[index];
        connection.closed[end] = true;
        let other = 1 - end;
        let (at, to) = (connection.last_at[other].max(self.now_ms + 1), connection.hosts[other]);
        if !connection.broken {
            self.deliver_at(at, to, Event::LinkClosed { link: Self::link(index, other), reason: "closed".into() });
        }
    }

    /// Breaks connections. Each end notices it some time later.
    pub(crate) fn break_connections(&mut self, is_broken: impl Fn(&Connection) -> bool) {
        for index in 0..self.connections.len() {
            if self.connections[index].broken || !is_broken(&self.connections[index]) {
                continue;
            }
            self.connections[index].broken = true;
            for end in 0..2 {
                let host = self.connections[index].hosts[end];
                let at = self.now_ms + self.rng.random_range(1..NOTICED_WITHIN_MS);
                let reason = "broken".to_owned();
                // A link cannot be closed before it was opened.
                let at = at.max(self.connections[index].last_at[end]);
                self.deliver_at(at, host, Event::LinkClosed { link: Self::link(index, end), reason });
            }
        }
    }

    pub(super) fn deliver(&mut self, host: usize, event: Event) {
        if let Event::MessageReceived { link, .. } = &event {
            let (index, end) = (usize::try_from(link.0 / 2).expect("few"), usize::try_from(link.0 % 2).expect("a bit"));
            if self.connections[index].broken || self.connections[index].closed[end] {
                return;
            }
        }
        // Like the driver, the simulation first checks for a duplicate from the message header
        // alone.
        if let Event::MessageReceived { link, message, .. } = &event
            && matches!(message.body, MessageBody::Chat(_))
            && let Some(engine) = &mut self.hosts[host].engine
            && engine.handle_if_duplicate(*link, message.sender, message.number, BootMs(self.now_ms))
        {
            return;
        }
        self.feed(host, event);
    }

    /// Number of connections that are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.connections.iter().filter(|connection| !connection.broken && connection.closed == [false; 2]).count()
    }

    /// Breaks a random connection, and all others that the same host dialled to the same host.
    pub(crate) fn break_random_connection(&mut self) {
        let chosen = self.rng.random_range(0..self.connections.len().max(1));
        let Some(hosts) = self.connections.get(chosen).map(|connection| connection.hosts) else { return };
        self.break_connections(|connection| connection.hosts == hosts);
    }
}
