//! One peer's part in the chat, on all its links, as a pure state machine: an event, the time and a draw in, actions out.
//!
//! It decides who is dialled, who stays linked, what is passed on to whom, what was heard before and what the person is
//! told. It knows no sockets, bytes, files, clocks or threads; a link knows those, and nothing of this.
//!
//! [`Engine`] only hands each event to its components: `mesh` (links, and the trees by which chat
//! comes), `lan_peers`, and above both `chat` (deduplication and history).

mod book;
mod chat;
mod contacts;
mod context;
mod counts;
mod cross_transport;
mod draw;
mod entry;
mod event;
mod history;
mod lan_peer;
mod lan_peers;
mod late;
mod lazy_push;
mod limit;
mod link;
mod mesh;
mod mesh_links;
mod notice;
mod own;
mod plumtree;
mod rules;
mod seen;
mod senders;
#[cfg(test)]
mod tests;

use crate::endpoint::PeerEndpoint;
use crate::lan;
use crate::mesh::MessageBody;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

pub use contacts::Known;
pub use counts::{Counts, Kind, Kinds};
pub use draw::Draw;
pub use entry::{Author, Entry, lan_number};
pub use event::{Action, Event, LinkId, Now};
pub use history::History;
pub use notice::{Contact, Notice, Via};
pub use rules::{LAN_PORT, LanRules, Rules};
pub use seen::Seen;

use chat::Chat;
use context::Context;
use event::Actions;
use lan_peers::LanPeers;
use link::Link;
use mesh::Mesh;
use own::Own;

/// One peer.
#[derive(Clone, Debug)]
pub struct Engine {
    own: Own,
    mesh: Mesh,
    lan: Option<LanPeers>,
    chat: Chat,
    counts: Counts,
    wake_at: BootMs,
}

impl Engine {
    /// A peer that starts now, with what it kept of earlier runs, oldest first. Feed it [`Event::Woke`] at once.
    #[must_use]
    pub fn new(rules: Rules, kept: Vec<Entry>, now: Now) -> Self {
        let mut engine = Self {
            mesh: Mesh::new(&rules, now.boot),
            lan: rules.lan.clone().map(|lan| LanPeers::new(lan, now.boot)),
            chat: Chat::new(rules.history_size),
            counts: Counts::default(),
            wake_at: now.boot,
            own: Own::new(rules, now),
        };
        for entry in kept {
            engine.chat.remember(entry, &mut engine.mesh, &mut engine.own, now.boot);
        }
        engine
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event, now: Now, draw: Draw) -> Vec<Action> {
        let Self { own, mesh, lan, chat, counts, wake_at } = self;
        let cx = &mut Context { now, draw, own, counts, out: Actions::new() };
        let is_chat = match &event {
            Event::Heard { message, .. } => matches!(message.body, MessageBody::Chat(_)),
            Event::Posted(_) => true,
            _ => false,
        };
        match event {
            Event::Woke => {}
            Event::Linked { link, peer, dialled, remote } => {
                let is_linked = mesh.linked(link, Link::new(peer, dialled, remote, now.boot), cx);
                if let (true, Some(lan)) = (is_linked, &mut *lan) {
                    lan.look_for_announcement(peer);
                }
            }
            Event::DialFailed { endpoint, why } => mesh.links.dial_failed(endpoint, why, cx),
            Event::Unlinked { link, why } => mesh.unlinked(link, &why, cx),
            Event::Heard { link, message, text_times } => {
                if let Some(entry) = mesh.heard(link, message, text_times, chat.history(), cx) {
                    chat.heard(link, entry, mesh, lan.as_mut(), cx);
                }
            }
            Event::Told(endpoints) => {
                for endpoint in endpoints {
                    mesh.links.book.learn(endpoint, None, now.boot, &mut cx.draw);
                }
            }
            Event::HeardDatagram { from, shared, datagram, dialect } => {
                if let Some(lan) = lan
                    && let Some(post) = lan.heard(from, shared, datagram, dialect, mesh, cx)
                {
                    chat.heard_on_lan(post, lan, cx);
                }
            }
            Event::Posted(text) => chat.post(text, mesh, lan.as_mut(), cx),
            Event::Whispered { to, text } => contacts::whisper(&to, text, mesh, lan.as_ref(), cx),
            Event::Introduced(profile) => introduce(profile, mesh, lan.as_ref(), cx),
            Event::Listed => {
                if let Some(lan) = lan {
                    lan.ask_for_lists(cx);
                }
            }
            Event::Left => mesh.tree.send_what_is_untold(chat.history(), &mut mesh.links, cx),
        }
        *wake_at = mesh.tree.next_at().min(*wake_at);
        // A chat moves no deadline but its own, and that of its link's silence, which moves away: waking early does no harm.
        if !is_chat || now.boot >= *wake_at {
            mesh.end_silent_links(cx);
            mesh.links.send_heartbeats(cx);
            mesh.links.dial_due(cx);
            if let Some(lan) = &mut *lan {
                lan.pass_time(cx);
            }
            mesh.tree.pass_time(&mut mesh.links, cx);
            let lan_at = lan.as_ref().map_or(BootMs::NEVER, LanPeers::next_at);
            *wake_at = mesh.next_at(&cx.own.rules).min(lan_at);
        }
        std::mem::take(&mut cx.out)
    }

    /// Chat came of which only the sender and the number are known yet: takes it in, if it was heard before and tells
    /// nothing else. Otherwise it must be read and fed as [`Event::Heard`]. Either way the engine comes to the same.
    #[must_use]
    pub fn hears_again(&mut self, link: LinkId, sender: PeerId, number: u64, now: BootMs) -> bool {
        self.mesh.tree.hears_again(link, sender, number, &mut self.mesh.links, now, &mut self.counts)
    }

    /// When [`Event::Woke`] is due. An earlier one does no harm.
    #[must_use]
    pub fn wake_at(&self) -> BootMs {
        self.wake_at
    }

    /// Who this peer is.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.own.rules
    }

    /// What was said to everybody, as far as it is remembered.
    #[must_use]
    pub fn history(&self) -> &History {
        self.chat.history()
    }

    /// Who is there now: the mesh, then the LAN.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        contacts::known(&self.mesh, self.lan.as_ref())
    }

    /// How somebody who said something is shown.
    #[must_use]
    pub fn author(&self, author: &Author, name: Option<&Nickname>) -> Contact {
        self.mesh.tree.senders.author(author, name)
    }

    /// What happened how often since the start.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many peers of the mesh are linked.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.mesh.links.len()
    }

    /// How many peers of the LAN are there; `None` if this one takes no part in it.
    #[must_use]
    pub fn lan_count(&self) -> Option<usize> {
        self.lan.as_ref().map(|lan| lan.peers.len())
    }

    /// How many addresses of the mesh are remembered.
    #[must_use]
    pub fn address_count(&self) -> usize {
        self.mesh.links.book.len()
    }

    /// Whether somebody should be at the address: it is configured, or somebody was there or said to be.
    #[must_use]
    pub fn expects(&self, endpoint: &PeerEndpoint) -> bool {
        self.mesh.links.book.expects(endpoint)
    }
}

/// The person says who this peer is.
fn introduce(profile: PeerProfile, mesh: &Mesh, lan: Option<&LanPeers>, cx: &mut Context) {
    cx.own.profile = Some(profile.clone());
    let id = cx.own.next_lan_id();
    let body = || lan::DatagramBody::Profile { profile: profile.clone(), refused: None };
    let neighbours = lan.map_or(0, |lan| lan.send_to_all(body(), id, cx));
    let peers = mesh.introduce(profile, cx) + neighbours;
    cx.tell(Notice::Sent { peers });
}
