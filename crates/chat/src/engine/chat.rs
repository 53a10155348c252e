//! Chat to everybody: numbered, deduplicated over the mesh and the LAN, kept in the history.

use std::sync::Arc;

use super::chat_entry::{Author, ChatEntry, lan_number};
use super::context::Context;
use super::cross_transport::CrossTransportDedup;
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

/// What was said, and by which of the two links it came first.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    history: History,
    dedup: CrossTransportDedup,
}

impl Chat {
    /// Nothing was said; at most `history_size` messages of each author will be kept.
    pub(super) fn new(history_size: usize) -> Self {
        Self { history: History::new(history_size), dedup: CrossTransportDedup::default() }
    }

    /// What was said to everybody, as far as it is remembered.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Takes in what an earlier run kept.
    pub(super) fn restore(&mut self, entry: ChatEntry, mesh: &mut MeshPeers, local: &mut LocalPeer, now: BootMs) {
        let first_author = self.dedup.record(entry.lan_number(), &entry.text, &entry.author);
        if let Author::Mesh(id) = entry.author {
            let record = mesh.author_mut(id, now);
            record.received.insert(entry.number);
            record.name = entry.name.clone().or(record.name.take());
            if id == local.config.id {
                local.record_used_number(entry.number);
            }
        }
        if let Some(evicted) = self.add(entry.into(), first_author)
            && let Author::Mesh(id) = evicted.author
        {
            // What was kept and made room was heard: others may have it still.
            mesh.author_mut(id, now).received.mark_received_below(evicted.number.saturating_add(1));
        }
    }

    /// Chat of the mesh: flooded over the links, each message over each link at most once each way.
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
        // Only with a LAN, now or in an earlier run, can it have come by another way.
        let may_be_on_lan = lan.is_some() || self.dedup.has_lan_entries();
        let first_author =
            may_be_on_lan.then(|| self.dedup.record(entry.lan_number(), &entry.text, &entry.author)).flatten();
        if let (Some(Author::Lan(user)), Some(lan)) = (&first_author, lan) {
            lan.set_mesh_peer(user, id);
        }
        if id == cx.local.config.id {
            // Said in an earlier run that kept nothing, or whose clock was ahead.
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

    /// Chat of the LAN. It is not passed on: there everybody hears it from its author.
    pub(super) fn handle_lan_post(&mut self, post: LanPost, lan: &mut LanPeers, cx: &mut Context) {
        let LanPost { user, id, said_at, text } = post;
        let author = Author::Lan(user.to_string());
        let first_author = id.and_then(|id| self.dedup.record(id, &text, &author));
        if let Some(first_author) = first_author {
            cx.counters.duplicates += 1;
            if let Author::Mesh(peer) = first_author {
                lan.set_mesh_peer(user.as_str(), peer);
            }
            return;
        }
        let Some(from) = lan.contact(&user) else { return };
        let entry = Arc::new(ChatEntry { author, name: None, number: id.unwrap_or(0), said_at, text });
        notify_post(from, &entry, cx);
        self.history.add(Arc::clone(&entry));
        cx.actions.push(Action::Persist(entry));
    }

    /// The person says something to everybody.
    pub(super) fn post(&mut self, text: String, mesh: &mut MeshPeers, lan: Option<&mut LanPeers>, cx: &mut Context) {
        if text.len() > MAX_TEXT_BYTES {
            cx.reject(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len()));
            return;
        }
        cx.counters.posts_sent += 1;
        let (id, number) = (cx.local.config.id, cx.local.next_chat_number());
        let name = Some(cx.local.config.name.clone());
        let (author, said_at) = (Author::Mesh(id), cx.now.unix_s);
        mesh.author_mut(id, cx.now.boot).received.insert(number);
        let entry = ChatEntry { author: author.clone(), name: name.clone(), number, said_at, text: text.clone() };
        let entry = Arc::new(entry);
        let evicted = self.history.add(Arc::clone(&entry));
        mesh.tree.retain_own_evicted(evicted, &mesh.links, cx.now);
        let lan_peers = lan.map_or(0, |lan| {
            let lan_id = lan_number(id, number, &text);
            self.dedup.record(lan_id, &text, &author);
            lan.send_to_all(lan::DatagramBody::Post(text.clone()), lan_id, cx)
        });
        let message = MeshMessage { sender: id, number, said_at, name, body: MessageBody::Chat(text) };
        let peers = mesh.send_post(message, cx) + lan_peers;
        cx.actions.push(Action::Persist(entry));
        cx.notify(Notice::Sent { peers });
    }

    /// Adds what was said to the history; `first` if it was there already as somebody else's on the other link. It stays
    /// once, as the mesh's, whose number neighbours know it by. Returns what made room.
    fn add(&mut self, entry: Arc<ChatEntry>, first_author: Option<Author>) -> Option<Arc<ChatEntry>> {
        match (&entry.author, first_author) {
            (Author::Lan(_), Some(Author::Mesh(_))) => return None,
            (Author::Mesh(_), Some(lan @ Author::Lan(_))) => self.history.remove(&lan, entry.lan_number()),
            _ => {}
        }
        self.history.add(entry)
    }
}

/// Shows the person what somebody else said.
fn notify_post(from: Contact, entry: &ChatEntry, cx: &mut Context) {
    cx.counters.posts_received += 1;
    let (text, number) = (entry.text.clone(), entry.number.to_string());
    cx.notify(Notice::Post { from, text, said_at: entry.said_at, number });
}
