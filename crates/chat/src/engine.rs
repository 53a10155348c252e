//! State machine of one chat peer. Pure: it receives an event, the time and a random seed, and
//! returns actions.
//!
//! It decides which addresses to dial, which links to keep, where to forward chat, which messages
//! are duplicates, and which notices the user gets. It does not know sockets, bytes, files, clocks
//! or threads. The driver performs the actions.
//!
//! Read [`Event`] and [`Action`] first. [`Engine`] only passes each event to its components:
//! `mesh_peers` (links and the Plumtree broadcast trees), `lan_peers`, and above both `chat`
//! (deduplication and history).

mod address_book;
mod chat;
mod chat_entry;
mod config;
mod contacts;
mod context;
mod counters;
mod cross_transport;
mod deliverer;
mod event;
mod event_rng;
mod evicted_authors;
mod evicted_entries;
mod history;
mod history_shares;
mod known_profile;
mod lan_peer;
mod lan_peers;
mod lan_sender;
mod lan_table;
mod lazy_push;
mod limits;
mod link_state;
mod local_peer;
mod mesh_authors;
mod mesh_links;
mod mesh_peers;
mod notice;
mod plumtree;
mod rate_limits;
mod received;
#[cfg(test)]
mod tests;

use crate::endpoint::PeerEndpoint;
use crate::lan;
use crate::mesh::MessageBody;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

pub use chat_entry::{Author, ChatEntry, lan_message_id};
pub use config::{EngineConfig, LanConfig};
pub use contacts::PeerInfo;
pub use counters::{Counters, MessageCounts, MessageKind};
pub use deliverer::Deliverer;
pub use event::{Action, Event, LinkId, Now};
pub use event_rng::EventRng;
pub use history::History;
pub use limits::LAN_PORT;
pub use notice::{ChatTransport, Contact, Notice};
pub use received::ReceivedNumbers;

use chat::Chat;
use context::Context;
use event::Actions;
use lan_peers::LanPeers;
use link_state::LinkState;
use local_peer::LocalPeer;
use mesh_peers::MeshPeers;

/// The state of one chat peer.
#[derive(Clone, Debug)]
pub struct Engine {
    local: LocalPeer,
    mesh: MeshPeers,
    lan: Option<LanPeers>,
    chat: Chat,
    counters: Counters,
    wake_at: BootMs,
}

impl Engine {
    /// Creates the engine. `stored` are the stored entries of earlier runs, oldest first. The
    /// caller must pass [`Event::TimerFired`] to [`Engine::handle`] at once.
    #[must_use]
    pub fn new(config: EngineConfig, stored: Vec<ChatEntry>, now: Now) -> Self {
        let mut engine = Self {
            mesh: MeshPeers::new(&config, now.boot),
            lan: config.lan.clone().map(|lan| LanPeers::new(lan, now.boot)),
            chat: Chat::new(config.history_size),
            counters: Counters::default(),
            wake_at: now.boot,
            local: LocalPeer::new(config, now),
        };
        for entry in stored {
            engine.chat.restore(entry, &mut engine.mesh, &mut engine.local, now.boot);
        }
        engine
    }

    /// Processes one event. Returns the actions to perform, in order.
    pub fn handle(&mut self, event: Event, now: Now, rng: EventRng) -> Vec<Action> {
        let Self { local, mesh, lan, chat, counters, wake_at } = self;
        let cx = &mut Context { now, rng, local, counters, actions: Actions::new() };
        let is_chat = match &event {
            Event::MessageReceived { message, .. } => matches!(message.body, MessageBody::Chat(_)),
            Event::PostRequested(_) => true,
            _ => false,
        };
        match event {
            Event::TimerFired => {}
            Event::LinkOpened { link, peer, dialled, remote } => {
                let is_opened = mesh.handle_link_opened(link, LinkState::new(peer, dialled, remote, now), cx);
                if let (true, Some(lan)) = (is_opened, &mut *lan) {
                    lan.table.match_announcement(peer);
                }
            }
            Event::DialGreeted { endpoint, peer } => mesh.links.handle_dial_greeted(endpoint, peer, cx),
            Event::DialFailed { endpoint, reason } => mesh.links.handle_dial_failure(endpoint, reason, cx),
            Event::LinkClosed { link, reason } => mesh.handle_link_closed(link, &reason, cx),
            Event::MessageReceived { link, message } => {
                if let Some(entry) = mesh.handle_message(link, message, chat.history(), cx) {
                    chat.handle_mesh_chat(link, entry, mesh, lan.as_mut(), cx);
                }
            }
            Event::AddressesFound(endpoints) => {
                for endpoint in endpoints {
                    mesh.links.add_learned(endpoint, None, cx);
                }
            }
            Event::DatagramReceived { source, to_shared_port, datagram, dialect } => {
                if let Some(lan) = lan
                    && let Some(post) = lan.handle_datagram(source, to_shared_port, datagram, dialect, mesh, cx)
                {
                    chat.handle_lan_post(post, lan, cx);
                }
            }
            Event::PostRequested(text) => chat.post(text, mesh, lan.as_mut(), cx),
            Event::DirectRequested { to, text } => contacts::send_direct(&to, text, mesh, lan.as_ref(), cx),
            Event::FollowRequested { to, follows } => contacts::follow(&to, follows, mesh, lan.as_mut(), cx),
            Event::ProfileSet(profile) => set_profile(profile, mesh, lan.as_ref(), cx),
            Event::ListRequested => {
                if let Some(lan) = lan {
                    lan.request_lists(cx);
                }
            }
            Event::ShuttingDown => {
                mesh.tree.push_pending(chat.history(), &mut mesh.links, cx);
                if let Some(lan) = &*lan {
                    lan.leave(cx);
                }
            }
        }
        *wake_at = mesh.tree.next_deadline().min(*wake_at);
        // Of all deadlines, a chat message can make only that of the broadcast tree earlier. It
        // makes the timeout of its link later, but an early timer event does no harm. So the other
        // deadlines need no check.
        if !is_chat || now.boot >= *wake_at {
            mesh.close_timed_out_links(cx);
            mesh.links.send_due_heartbeats(cx);
            mesh.links.dial_due(cx);
            if let Some(lan) = &mut *lan {
                lan.handle_timeout(cx);
            }
            mesh.tree.handle_timeout(&mut mesh.links, cx);
            let lan_at = lan.as_ref().map_or(BootMs::NEVER, LanPeers::next_deadline);
            *wake_at = mesh.next_deadline(&cx.local.config).min(lan_at);
        }
        std::mem::take(&mut cx.actions)
    }

    /// Duplicate check from the message header alone: the author and the number of a chat message.
    ///
    /// If the message is a duplicate with no other effect, it is counted and the result is `true`.
    /// Otherwise nothing changes and the result is `false`. Then the caller must parse the whole
    /// message and pass it to [`Engine::handle`] as [`Event::MessageReceived`], which has the same
    /// effect on a duplicate.
    #[must_use]
    pub fn handle_if_duplicate(&mut self, link: LinkId, sender: PeerId, number: u64, now: BootMs) -> bool {
        self.mesh.tree.handle_if_duplicate(link, sender, number, &mut self.mesh.links, now, &mut self.counters)
    }

    /// The time at which [`Event::TimerFired`] is due. An earlier timer event does no harm.
    #[must_use]
    pub fn wake_at(&self) -> BootMs {
        self.wake_at
    }

    /// The configuration and the identity of this peer.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.local.config
    }

    /// The chat messages that are kept in memory.
    #[must_use]
    pub fn history(&self) -> &History {
        self.chat.history()
    }

    /// The reachable peers: first the peers of the mesh, then the peers of the LAN.
    #[must_use]
    pub fn peers(&self, now: BootMs) -> Vec<PeerInfo> {
        contacts::list_peers(&self.mesh, self.lan.as_ref(), now)
    }

    /// Checks that a name, as the user typed it, means one of the peers; with `may_have_left` also
    /// one of the followed LAN users.
    ///
    /// # Errors
    /// The reason for the user: no peer or several peers have the name, with a list of peers.
    pub fn check_peer_name(&self, name: &str, may_have_left: bool) -> Result<(), String> {
        contacts::check_name(name, may_have_left, &self.mesh, self.lan.as_ref())
    }

    /// The author of a message as shown to the user. `name` is the author's name at the time of the
    /// message; it is used if no later name is known.
    #[must_use]
    pub fn contact_of(&self, author: &Author, name: Option<&Nickname>) -> Contact {
        self.mesh.tree.authors.contact_of(author, name)
    }

    /// Number of posts of this peer that still wait for a link; 0 without configured peers, because
    /// then a link may never come.
    #[must_use]
    pub fn unsent_posts(&self) -> usize {
        if self.local.config.peers.is_empty() { 0 } else { self.mesh.unsent_posts() }
    }

    /// A mesh peer as shown to the user.
    #[must_use]
    pub fn mesh_contact(&self, peer: PeerId) -> Contact {
        self.mesh.contact(peer)
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Number of linked peers in the mesh.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.mesh.links.peer_count()
    }

    /// Number of peers on the LAN; `None` if this peer does not use the LAN.
    #[must_use]
    pub fn lan_peer_count(&self) -> Option<usize> {
        self.lan.as_ref().map(|lan| lan.table.peers.len())
    }

    /// Number of mesh addresses in the address book.
    #[must_use]
    pub fn address_count(&self) -> usize {
        self.mesh.links.addresses.len()
    }

    /// Whether a peer should be at the address: the address is configured, a dial reached a peer at
    /// it, or a peer announced it.
    #[must_use]
    pub fn is_peer_expected_at(&self, endpoint: &PeerEndpoint) -> bool {
        self.mesh.links.addresses.is_peer_expected_at(endpoint)
    }
}

/// Stores this peer's profile and sends it to all LAN peers and to the linked peers that know
/// profiles.
fn set_profile(profile: PeerProfile, mesh: &MeshPeers, lan: Option<&LanPeers>, cx: &mut Context) {
    cx.local.profile = Some(profile.clone());
    let id = cx.local.next_lan_message_id();
    let body = || lan::DatagramBody::Profile { profile: profile.clone(), refused: None };
    let lan_peers = lan.map_or(0, |lan| lan.send_to_all(body(), id, cx));
    let peers = mesh.send_profile(profile, cx) + lan_peers;
    cx.notify(Notice::Sent { peers });
}
