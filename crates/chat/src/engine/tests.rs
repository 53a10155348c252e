//! Unit tests of each rule of the engine. The simulation in `tests/it/peer` tests all rules
//! together.

mod cross_transport;
mod foreign_links;
mod history;
mod lan;
mod lan_follows;
mod links;
mod plumtree;
mod posts;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::mesh::{MeshMessage, MessageFormat, SeqRanges};

const ME: PeerId = PeerId(50);
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

fn at(ms: u64) -> Now {
    Now { boot: BootMs(ms), unix_s: 1_728_938_500 }
}

fn endpoint(port: u16) -> PeerEndpoint {
    PeerEndpoint::parse(&format!("10.0.0.9:{port}")).unwrap()
}

pub(super) fn config() -> EngineConfig {
    EngineConfig {
        id: ME,
        name: Nickname::parse("me").unwrap(),
        listen: None,
        peers: vec![endpoint(1)],
        max_connections: 2,
        heartbeat_interval_ms: 30_000,
        heartbeat_timeout_ms: 5_000,
        dedup_cache_size: 100,
        history_size: 100,
        history_batch_bytes: 512 * 1024,
        lan: None,
    }
}

/// An engine and its clock.
struct Harness {
    engine: Engine,
    now: u64,
}

impl Harness {
    fn new(config: EngineConfig) -> Self {
        Self { engine: Engine::new(config, Vec::new(), at(0)), now: 0 }
    }

    fn feed(&mut self, event: Event) -> Actions {
        self.engine.handle(event, at(self.now), EventRng(self.now))
    }

    fn link(&mut self, link: u64, peer: u128, dialled: Option<u16>) -> Actions {
        let (link, peer, dialled) = (LinkId(link), PeerId(peer), dialled.map(endpoint));
        self.feed(Event::LinkOpened { link, peer, dialled, remote: REMOTE })
    }

    fn receive(&mut self, link: u64, sender: u128, number: u64, body: MessageBody) -> Actions {
        let message = MeshMessage { sender: PeerId(sender), number, said_at: 5, name: None, body };
        self.feed(Event::MessageReceived { link: LinkId(link), message })
    }

    fn receive_heartbeat(&mut self, link: u64, peer: u128) -> Actions {
        self.receive(link, peer, 1 << 60, MessageBody::heartbeat(None))
    }
}

/// A dial.
fn dial(port: u16) -> Action {
    Action::Dial { endpoint: endpoint(port) }
}

fn closed_links(actions: &Actions) -> Vec<u64> {
    let closed = actions.iter().filter_map(|action| match action {
        Action::Close { link, .. } => Some(link.0),
        _ => None,
    });
    closed.collect()
}

fn notices(actions: &Actions) -> Vec<&Notice> {
    let notices = actions.iter().filter_map(|action| match action {
        Action::Notify(notice) => Some(notice),
        _ => None,
    });
    notices.collect()
}

fn sent_history_requests(actions: &Actions) -> usize {
    let is_request = |action: &&Action| matches!(action, Action::Send { message, .. } if matches!(message.body, MessageBody::HistoryRequest(_)));
    actions.iter().filter(is_request).count()
}

/// The links on which chat is sent.
fn chat_links(actions: &Actions) -> Vec<u64> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { links, message: MeshMessage { body: MessageBody::Chat(_), .. }, .. } => Some(links),
        _ => None,
    });
    sent.flatten().map(|link| link.0).collect()
}

impl Action {
    fn persisted(&self) -> Option<ChatEntry> {
        match self {
            Self::Persist(entry) => Some(entry.as_ref().clone()),
            _ => None,
        }
    }
}

fn chat(text: &str) -> MessageBody {
    MessageBody::Chat(text.to_owned())
}
