//! Peers of the mesh: their links, and the control messages between linked peers.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::chat_entry::{Author, ChatEntry};
use super::config::EngineConfig;
use super::context::Context;
use super::counters::MessageKind;
use super::deliverer::Deliverer;
use super::event::{Action, LinkId};
use super::history::History;
use super::known_profile::KnownProfile;
use super::limits::MAX_UNSENT_POSTS;
use super::link_state::LinkState;
use super::mesh_authors::MeshAuthor;
use super::mesh_links::MeshLinks;
use super::notice::{Contact, Notice};
use super::plumtree::Plumtree;
use crate::mesh::{LAZY_PUSH, MeshMessage, MessageBody, MessageFormat};
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// Number of failures in a row at a configured address at which the user is notified. A failure is
/// a link that ended without a message of the other peer. A single failure is normal if two peers
/// dial each other at the same time.
const FAILURES_BEFORE_NOTICE: u32 = 2;

/// Largest number of peers that a notice about a message names.
const MAX_NAMED: usize = 16;

/// The links to the mesh peers, and the broadcast trees on these links.
#[derive(Clone, Debug)]
pub(super) struct MeshPeers {
    pub(super) links: MeshLinks,
    pub(super) tree: Plumtree,
    /// The latest posts of this peer that were written while no peer was linked.
    unsent: VecDeque<MeshMessage>,
}

impl MeshPeers {
    /// No links.
    pub(super) fn new(config: &EngineConfig, now: BootMs) -> Self {
        let tree = Plumtree::new(config.dedup_cache_size);
        Self { links: MeshLinks::new(&config.peers, now), tree, unsent: VecDeque::new() }
    }

    /// Time of the next deadline of the links or the trees.
    pub(super) fn next_deadline(&self, config: &EngineConfig) -> BootMs {
        self.links.next_deadline(config).min(self.tree.next_deadline())
    }

    /// Returns the state of an author. Adds the author if it is unknown; then it counts for `via`.
    pub(super) fn author_mut(&mut self, id: PeerId, via: Option<Deliverer>, now: BootMs) -> &mut MeshAuthor {
        self.tree.authors.entry(id, via, now, |peer| self.links.is_linked(peer))
    }

    /// Returns the state of a linked peer as an author. It counts for its own link, even if another
    /// link has delivered its name first.
    fn linked_author_mut(&mut self, peer: PeerId, remote: IpAddr, now: BootMs) -> &mut MeshAuthor {
        let via = Some(Deliverer::link(remote, peer));
        let author = self.author_mut(peer, via, now);
        author.via = via;
        author
    }

    /// Number of posts that wait for the first link.
    pub(super) fn unsent_posts(&self) -> usize {
        self.unsent.len()
    }

    /// A mesh peer as shown to the user.
    pub(super) fn contact(&self, peer: PeerId) -> Contact {
        self.tree.authors.contact(peer)
    }

    /// Handles a connection after the exchange of greetings. Returns whether it becomes a link.
    pub(super) fn handle_link_opened(&mut self, link: LinkId, mut new: LinkState, cx: &mut Context) -> bool {
        let (peer, remote, me) = (new.peer, new.remote, cx.local.config.id);
        if let Some(endpoint) = &new.dialled {
            self.links.addresses.mark_reached(endpoint, peer);
            if let Some(reached_at) = new.dialled_at() {
                self.links.addresses.set_peer(&reached_at, peer);
            }
        }
        if peer == me {
            if let Some(endpoint) = &new.dialled {
                self.links.addresses.mark_own(endpoint);
            }
            cx.actions.push(Action::Close { link, reason: "the address is this peer's own" });
            return false;
        }
        let is_full = self.links.link_count() >= cx.local.config.max_connections;
        let earlier = self.links.link_to(peer).and_then(|earlier| self.links.get(earlier));
        let earlier = earlier.map(|earlier| (earlier.is_foreign(), earlier.is_confirmed));
        if let Some((_, is_confirmed)) = earlier {
            new.is_confirmed = is_confirmed;
        } else if is_full && !self.evict_unconfirmed_link(cx) {
            self.links.addresses.record_lost_link(peer, false, cx.now.boot, &mut cx.rng);
            cx.actions.push(Action::Close { link, reason: "max_connections is reached" });
            return false;
        }
        self.links.insert(link, new);
        match earlier {
            // A peer of this program and its other end keep one link.
            Some((false, _)) if !self.close_duplicate_links(peer, link, cx) => return false,
            // With a peer of another program, both links stay open. If there is no slot for the
            // second one, none stays: the peer would ignore the one that is left.
            Some((true, _)) if is_full => {
                self.close_link(link, "max_connections is reached", cx);
                return false;
            }
            _ => {}
        }
        self.linked_author_mut(peer, remote, cx.now.boot);
        // The heartbeat must be the first message: it shows the other peer that this peer knows the
        // extension.
        self.links.send_heartbeat(vec![link], cx);
        self.links.send_peer_list(link, cx);
        // A peer of another program cannot request them later.
        for message in std::mem::take(&mut self.unsent) {
            self.links.send(vec![link], message, cx);
        }
        true
    }

    /// Closes all links to a peer but one. Returns whether `link` is the one that stays.
    fn close_duplicate_links(&mut self, peer: PeerId, link: LinkId, cx: &mut Context) -> bool {
        let Some((kept, closed)) = self.links.keep_one(peer, cx.local.config.id) else { return true };
        for duplicate in closed {
            self.tree.move_parents(duplicate, kept);
            cx.actions.push(Action::Close { link: duplicate, reason: "another link to this peer is open" });
        }
        kept == link
    }

    /// Closes the unconfirmed link with the longest silence, to make room for another link. Returns
    /// whether there was a link that could be closed.
    fn evict_unconfirmed_link(&mut self, cx: &mut Context) -> bool {
        let Some(link) = self.links.longest_unconfirmed(&cx.local.config, cx.now.boot) else { return false };
        self.close_link(link, "the peer never sent a message, and another peer needs the slot", cx);
        true
    }

    /// Closes a link, and all others to the same peer.
    fn close_link(&mut self, link: LinkId, reason: &'static str, cx: &mut Context) {
        cx.actions.push(Action::Close { link, reason });
        self.handle_link_closed(link, reason, cx);
    }

    /// Closes the links on which a heartbeat is overdue.
    pub(super) fn close_timed_out_links(&mut self, cx: &mut Context) {
        for link in self.links.timed_out(&cx.local.config, cx.now.boot) {
            cx.counters.timed_out_links += 1;
            self.close_link(link, "heartbeat timeout", cx);
        }
    }

    /// Handles a closed link: the peer is lost, and further links to it are closed. Its program may
    /// have forgotten this peer with the closed link, and then it ignores the others.
    pub(super) fn handle_link_closed(&mut self, link: LinkId, reason: &str, cx: &mut Context) {
        let Some(LinkState { peer, is_confirmed, .. }) = self.links.get(link) else { return };
        let (peer, is_confirmed) = (*peer, *is_confirmed);
        let ended = self.links.remove_peer(peer);
        self.links.addresses.record_lost_link(peer, is_confirmed, cx.now.boot, &mut cx.rng);
        for (id, ended) in ended {
            cx.counters.lost_links += 1;
            if id != link {
                cx.actions.push(Action::Close { link: id, reason: "another link to this peer ended" });
            }
            self.tree.replace_parent(id, &mut self.links, cx);
            if let Some(endpoint) = ended.dialled.filter(|endpoint| cx.local.config.peers.contains(endpoint))
                && !is_confirmed
                && self.links.addresses.failures(&endpoint) == FAILURES_BEFORE_NOTICE
            {
                let reason =
                    format!("{reason} before the peer sent a message; it may have reached its connection limit");
                cx.notify(Notice::Unreachable { endpoint, reason });
            }
        }
        if is_confirmed {
            cx.notify(Notice::PeerLost { peer: self.contact(peer), reason: reason.to_owned() });
        }
    }

    /// Handles a message. Returns the entry, if it is a chat message: only chat is forwarded to
    /// other peers.
    pub(super) fn handle_message(
        &mut self,
        link: LinkId,
        message: MeshMessage,
        history: &History,
        cx: &mut Context,
    ) -> Option<ChatEntry> {
        // A message may arrive after its link was closed or replaced. A chat message is not lost:
        // the history request on another link returns it.
        let state = self.links.get(link)?;
        let (peer, remote) = (state.peer, state.remote);
        cx.counters.received.add(MessageKind::of(&message.body), 1);
        self.links.mark_seen(link, cx.now.boot);
        let is_from_linked_peer = message.sender == peer;
        if is_from_linked_peer {
            let is_first = self.links.confirm(link);
            // For chat, the author's name is updated when the entry is handled.
            if message.name.is_some() && (is_first || !matches!(message.body, MessageBody::Chat(_))) {
                self.linked_author_mut(peer, remote, cx.now.boot).name.clone_from(&message.name);
            }
            if is_first {
                let dialled = self.links.get(link).and_then(|state| state.dialled.as_ref());
                let at = dialled.map_or_else(|| remote.to_string(), ToString::to_string);
                self.links.addresses.reset_failures(peer);
                cx.notify(Notice::PeerFound { peer: self.contact(peer), at: Some(at) });
            }
        }
        match message.body {
            MessageBody::Chat(text) => {
                let MeshMessage { sender, number, said_at, name, .. } = message;
                let via = Some(Deliverer::link(remote, peer));
                Some(ChatEntry { author: Author::Mesh(sender), name, number, said_at, text, via })
            }
            // All other messages are between linked peers, and are valid only if the linked peer
            // itself is the sender.
            body if is_from_linked_peer => {
                self.handle_control_message(link, body, message.said_at, history, cx);
                None
            }
            _ => None,
        }
    }

    /// Handles a control message of a linked peer.
    fn handle_control_message(
        &mut self,
        link: LinkId,
        body: MessageBody,
        said_at: i64,
        history: &History,
        cx: &mut Context,
    ) {
        let Some(state) = self.links.get_mut(link) else { return };
        let (peer, remote) = (state.peer, state.remote);
        match body {
            MessageBody::Heartbeat { extension, listen } => {
                if let Some(listen) = listen {
                    self.links.add_announced(listen.seen_from(remote), Some(peer), remote, cx);
                }
                self.handle_heartbeat(link, extension, cx);
            }
            MessageBody::PeerList(endpoints) => {
                for endpoint in endpoints {
                    self.links.add_announced(endpoint, None, remote, cx);
                }
            }
            MessageBody::Direct { to, text } if to == cx.local.config.id => {
                let from = self.contact(peer);
                cx.notify(Notice::Direct { from, text, said_at });
            }
            MessageBody::Profile(profile) => {
                let known = KnownProfile::of(&profile);
                let record = self.linked_author_mut(peer, remote, cx.now.boot);
                if record.profile.as_ref() != Some(&known) {
                    record.profile = Some(known);
                    cx.notify(Notice::Profile { from: self.contact(peer), profile, refused: None });
                }
            }
            MessageBody::HistoryRequest(have) => {
                self.tree.answer_history_request(link, &have, history, &mut self.links, cx);
            }
            MessageBody::Have(have) => self.tree.handle_have(link, have, &mut self.links, cx),
            MessageBody::Prune(author) => state.push.send.make_lazy(author),
            MessageBody::HistoryEnd { more } => {
                // `finish_request` limits the requests to a peer that always reports more but sends
                // nothing new.
                if state.push.receive.finish_request(more) {
                    self.tree.request_history(link, &mut self.links, cx);
                }
            }
            MessageBody::Chat(_) | MessageBody::Direct { .. } | MessageBody::Unknown => {}
        }
    }

    fn handle_heartbeat(&mut self, link: LinkId, extension: Option<u32>, cx: &mut Context) {
        let Some(state) = self.links.get_mut(link) else { return };
        state.heartbeats.peer_sends = true;
        state.push.is_supported = extension >= Some(LAZY_PUSH);
        if extension.is_none() || std::mem::replace(&mut state.format.extended, true) {
            return;
        }
        // The peer is of this program. Further links to it were kept as long as that was unknown.
        let peer = state.peer;
        if !self.close_duplicate_links(peer, link, cx) {
            return;
        }
        // The addresses of linked peers arrive with their first heartbeats. So the list that was
        // sent when the link was opened may lack a peer that was linked at about the same time.
        self.links.send_peer_list(link, cx);
        self.tree.request_history(link, &mut self.links, cx);
        if let Some(profile) = cx.local.profile.clone() {
            let message = cx.control_message(MessageBody::Profile(profile));
            self.links.send(vec![link], message, cx);
        }
    }

    /// Sends a chat message of the user to all linked peers. Returns their number.
    pub(super) fn send_post(&mut self, message: MeshMessage, cx: &mut Context) -> usize {
        let links: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        let count = links.len();
        if count == 0 {
            if self.unsent.len() == MAX_UNSENT_POSTS {
                self.unsent.pop_front();
            }
            self.unsent.push_back(message);
            return 0;
        }
        self.warn_if_too_long(&message, cx);
        self.links.send(links, message, cx);
        count
    }

    /// Notifies the user if the message is too long for some linked peers.
    fn warn_if_too_long(&self, message: &MeshMessage, cx: &mut Context) {
        let plain = self.links.iter().filter(|(_, link)| link.is_foreign());
        let plain: Vec<String> = plain.map(|(_, link)| self.contact(link.peer).uid).collect();
        if !plain.is_empty() && message.write(MessageFormat::default()).is_none() {
            let shown = plain.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = match plain.len() {
                count if count > MAX_NAMED => format!(" and {} more", count - MAX_NAMED),
                _ => String::new(),
            };
            cx.reject(format!(
                "too long for peers of other programs, so it was not sent to {shown}{more}; the others get it"
            ));
        }
    }

    /// Sends a direct message to a linked peer.
    pub(super) fn send_direct(&self, to: PeerId, text: String, cx: &mut Context) {
        let link = self.links.link_to(to);
        let is_extended = |link: &LinkId| self.links.get(*link).is_some_and(|link| link.format.extended);
        let Some(link) = link.filter(is_extended) else {
            let uid = self.contact(to).uid;
            cx.reject(format!(
                "{uid} does not support direct messages, or was linked only a moment ago; POST reaches all peers"
            ));
            return;
        };
        let message = cx.control_message(MessageBody::Direct { to, text });
        self.links.send(vec![link], message, cx);
        cx.notify(Notice::DirectSent { to: self.contact(to) });
    }

    /// Sends the profile to all linked peers that support the extension. Returns their number.
    pub(super) fn send_profile(&self, profile: PeerProfile, cx: &mut Context) -> usize {
        let extended = self.links.iter().filter(|(_, link)| link.format.extended);
        let links: Vec<LinkId> = extended.map(|(id, _)| id).collect();
        let count = links.len();
        let message = cx.control_message(MessageBody::Profile(profile));
        self.links.send(links, message, cx);
        count
    }
}
