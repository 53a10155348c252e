//! Group chat: numbers the messages of this peer, removes duplicates that arrive over both mesh and
//! LAN, and keeps the history.

use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry, lan_message_id};
use super::context::Context;
use super::cross_transport::CrossTransportDedup;
use super::deliverer::Deliverer;
use super::event::{Action, LinkId};
use super::history::History;
use super::lan_peers::{LanPeers, LanPost};
use super::local_peer::LocalPeer;
use super::mesh_peers::MeshPeers;
use super::notice::{Contact, Notice};
use crate::lan;
use crate::mesh::{MeshMessage, MessageBody};
use crate::text::MAX_TEXT_BYTES;
use rollcall_core::BootMs;

/// The history, and the table that finds duplicates between the two transports.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    history: History,
    dedup: CrossTransportDedup,
}

impl Chat {
    /// Creates an empty chat that keeps at most `history_size` messages per author.
    pub(super) fn new(history_size: usize) -> Self {
        Self { history: History::new(history_size), dedup: CrossTransportDedup::default() }
    }

    /// The chat messages that are kept in memory.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Adds an entry that an earlier run stored. Called only while the engine is created.
    pub(super) fn restore(&mut self, entry: ChatEntry, mesh: &mut MeshPeers, local: &mut LocalPeer, now: BootMs) {
        let first_author = self.dedup.record(entry.lan_message_id(), &entry.text, &entry.author);
        if let Author::Mesh(id) = entry.author {
            let record = mesh.author_mut(id, entry.via, now);
            record.received.insert(entry.number);
            record.name = entry.name.clone().or(record.name.take());
            if id == local.config.id {
                local.record_used_number(entry.number);
            }
        }
        for evicted in self.add(entry.into(), first_author) {
            if let Author::Mesh(id) = evicted.author {
                // Other peers may still have the evicted entry. A copy from them must count as a
                // duplicate.
                let record = mesh.author_mut(id, evicted.via, now);
                record.received.mark_received_below(evicted.number.saturating_add(1));
            }
        }
    }

    /// Handles a chat message of the mesh: removes duplicates, notifies the user, stores and
    /// forwards it. A message crosses each link at most once in each direction.
    pub(super) fn handle_mesh_chat(
        &mut self,
        link: LinkId,
        entry: ChatEntry,
        mesh: &mut MeshPeers,
        lan: Option<&mut LanPeers>,
        cx: &mut Context,
    ) {
        let Author::Mesh(id) = entry.author else { return };
        let Some(from) = mesh.tree.handle_chat(link, id, &entry, &mut mesh.links, cx) else { return };
        // A copy can have arrived over the LAN only if this peer uses the LAN now, or used it in an
        // earlier run whose history was stored.
        let may_be_on_lan = lan.is_some() || self.dedup.has_lan_entries();
        let first_author =
            may_be_on_lan.then(|| self.dedup.record(entry.lan_message_id(), &entry.text, &entry.author)).flatten();
        if let (Some(Author::Lan(user)), Some(lan)) = (&first_author, lan) {
            lan.table.set_mesh_peer(user, id);
        }
        if id == cx.local.config.id {
            // This peer sent the message in an earlier run. That run did not store it, or its clock
            // was ahead of the present time.
            cx.local.record_used_number(entry.number);
        } else if first_author.is_none() {
            notify_post(from, &entry, cx);
        } else {
            cx.counters.duplicates += 1;
        }
        let entry = Arc::new(entry);
        let evicted = self.add(Arc::clone(&entry), first_author);
        mesh.tree.retain_evicted(evicted, &mesh.links, cx.now);
        mesh.tree.forward(link, id, &entry, &mut mesh.links, cx);
        cx.actions.push(Action::Persist(entry));
    }

    /// Handles a post of the LAN. It is not forwarded, because each LAN peer receives it from the
    /// author.
    pub(super) fn handle_lan_post(&mut self, post: LanPost, lan: &mut LanPeers, cx: &mut Context) {
        let LanPost { user, source, id, said_at, text } = post;
        let author = Author::Lan(user.to_string());
        let first_author = id.and_then(|id| self.dedup.record(id, &text, &author));
        if let Some(first_author) = first_author {
            cx.counters.duplicates += 1;
            if let Author::Mesh(peer) = first_author {
                lan.table.set_mesh_peer(user.as_str(), peer);
            }
            return;
        }
        let Some(from) = lan.table.contact(&user) else { return };
        let via = Some(Deliverer::datagram(source));
        let entry = Arc::new(ChatEntry { author, name: None, number: id.unwrap_or(0), said_at, text, via });
        notify_post(from, &entry, cx);
        self.history.add(Arc::clone(&entry));
        cx.actions.push(Action::Persist(entry));
    }

    /// Sends the user's text to all peers.
    pub(super) fn post(&mut self, text: String, mesh: &mut MeshPeers, lan: Option<&mut LanPeers>, cx: &mut Context) {
        if text.len() > MAX_TEXT_BYTES {
            cx.reject(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len()));
            return;
        }
        cx.counters.posts_sent += 1;
        let (id, number) = (cx.local.config.id, cx.local.next_chat_number());
        let name = Some(cx.local.config.name.clone());
        let (author, said_at) = (Author::Mesh(id), cx.now.unix_s);
        mesh.author_mut(id, None, cx.now.boot).received.insert(number);
        let (via, entry_name, entry_text) = (None, name.clone(), text.clone());
        let entry = ChatEntry { author: author.clone(), name: entry_name, number, said_at, text: entry_text, via };
        let entry = Arc::new(entry);
        let evicted = self.history.add(Arc::clone(&entry));
        mesh.tree.retain_own_evicted(evicted, &mesh.links, cx.now);
        let lan_peers = lan.map_or(0, |lan| {
            let lan_id = lan_message_id(id, number, &text);
            self.dedup.record(lan_id, &text, &author);
            lan.send_to_all(lan::DatagramBody::Post(text.clone()), lan_id, cx)
        });
        let message = MeshMessage { sender: id, number, said_at, name, body: MessageBody::Chat(text) };
        let peers = mesh.send_post(message, cx) + lan_peers;
        cx.actions.push(Action::Persist(entry));
        cx.notify(Notice::Sent { peers });
    }

    /// Adds an entry to the history. Returns the entries that were evicted for it.
    ///
    /// `first_author` is set if the same message has already arrived over the other transport. Then
    /// only the entry of the mesh is kept, because linked peers request entries by their mesh
    /// numbers.
    fn add(&mut self, entry: Arc<ChatEntry>, first_author: Option<Author>) -> Vec<Arc<ChatEntry>> {
        match (&entry.author, first_author) {
            (Author::Lan(_), Some(Author::Mesh(_))) => return Vec::new(),
            (Author::Mesh(_), Some(lan @ Author::Lan(_))) => self.history.remove(&lan, entry.lan_message_id()),
            _ => {}
        }
        self.history.add(entry)
    }
}

/// Notifies the user of a message of another peer.
fn notify_post(from: Contact, entry: &ChatEntry, cx: &mut Context) {
    cx.counters.posts_received += 1;
    let (text, number) = (entry.text.clone(), entry.number.to_string());
    cx.notify(Notice::Post { from, text, said_at: entry.said_at, number });
}
