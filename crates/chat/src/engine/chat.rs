//! Chat to everybody: numbered, deduplicated over the mesh and the LAN, kept in the history.

use std::sync::Arc;

use super::context::Context;
use super::cross_transport::Crossing;
use super::entry::{Author, Entry, lan_number};
use super::event::{Action, LinkId};
use super::history::History;
use super::lan_peers::{LanPeers, LanPost};
use super::mesh::Mesh;
use super::notice::{Contact, Notice};
use super::own::Own;
use crate::lan;
use crate::mesh::{MeshMessage, MessageBody};
use crate::text::MAX_TEXT_BYTES;
use rollcall_core::BootMs;

/// What was said, and by which of the two links it came first.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    history: History,
    crossing: Crossing,
}

impl Chat {
    /// Nothing was said; at most `history_size` messages of each author will be kept.
    pub(super) fn new(history_size: usize) -> Self {
        Self { history: History::new(history_size), crossing: Crossing::default() }
    }

    /// What was said to everybody, as far as it is remembered.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Takes in what an earlier run kept.
    pub(super) fn remember(&mut self, entry: Entry, mesh: &mut Mesh, own: &mut Own, now: BootMs) {
        let first = self.crossing.heard(entry.lan_number(), &entry.text, &entry.author);
        if let Author::Mesh(sender) = entry.author {
            let known = mesh.sender(sender, now);
            known.seen.insert(entry.number);
            known.name = entry.name.clone().or(known.name.take());
            if sender == own.rules.id {
                own.has_said(entry.number);
            }
        }
        if let Some(gone) = self.add(entry.into(), first)
            && let Author::Mesh(sender) = gone.author
        {
            // What was kept and made room was heard: others may have it still.
            mesh.sender(sender, now).seen.forget_below(gone.number.saturating_add(1));
        }
    }

    /// Chat of the mesh: flooded over the links, each message over each link at most once each way.
    pub(super) fn heard(
        &mut self,
        link: LinkId,
        entry: Entry,
        mesh: &mut Mesh,
        lan: Option<&mut LanPeers>,
        cx: &mut Context,
    ) {
        let Author::Mesh(id) = entry.author else { return };
        let Some(from) = mesh.tree.heard(link, id, &entry, &mut mesh.links, cx) else { return };
        // Only with a LAN, now or in an earlier run, can it have come by another way.
        let may_cross = lan.is_some() || self.crossing.has_lan();
        let first = may_cross.then(|| self.crossing.heard(entry.lan_number(), &entry.text, &entry.author)).flatten();
        if let (Some(Author::Lan(user)), Some(lan)) = (&first, lan) {
            lan.is_peer(user, id);
        }
        if id == cx.own.rules.id {
            // Said in an earlier run that kept nothing, or whose clock was ahead.
            cx.own.has_said(entry.number);
        } else if first.is_none() {
            tell(from, &entry, cx);
        } else {
            cx.counts.duplicates += 1;
        }
        let entry = Arc::new(entry);
        let gone = self.add(Arc::clone(&entry), first);
        mesh.tree.keep_for_late_questions(gone, &mesh.links, cx.now);
        mesh.tree.pass_on(link, id, &entry, &mut mesh.links, cx);
        cx.out.push(Action::Keep(entry));
    }

    /// Chat of the LAN. It is not passed on: there everybody hears it from its author.
    pub(super) fn heard_on_lan(&mut self, post: LanPost, lan: &mut LanPeers, cx: &mut Context) {
        let LanPost { user, id, said_at, text } = post;
        let author = Author::Lan(user.to_string());
        let first = id.and_then(|id| self.crossing.heard(id, &text, &author));
        if let Some(first) = first {
            cx.counts.duplicates += 1;
            if let Author::Mesh(peer) = first {
                lan.is_peer(user.as_str(), peer);
            }
            return;
        }
        let Some(from) = lan.contact(&user) else { return };
        let entry = Arc::new(Entry { author, name: None, number: id.unwrap_or(0), said_at, text });
        tell(from, &entry, cx);
        self.history.add(Arc::clone(&entry));
        cx.out.push(Action::Keep(entry));
    }

    /// The person says something to everybody.
    pub(super) fn post(&mut self, text: String, mesh: &mut Mesh, lan: Option<&mut LanPeers>, cx: &mut Context) {
        if text.len() > MAX_TEXT_BYTES {
            cx.refuse(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len()));
            return;
        }
        cx.counts.posts_out += 1;
        let (id, number) = (cx.own.rules.id, cx.own.next_chat_number());
        let name = Some(cx.own.rules.name.clone());
        let (author, said_at) = (Author::Mesh(id), cx.now.unix_s);
        mesh.sender(id, cx.now.boot).seen.insert(number);
        let entry = Entry { author: author.clone(), name: name.clone(), number, said_at, text: text.clone() };
        let entry = Arc::new(entry);
        let gone = self.history.add(Arc::clone(&entry));
        mesh.tree.keep_own_for_late_questions(gone, &mesh.links, cx.now);
        let neighbours = lan.map_or(0, |lan| {
            let lan_id = lan_number(id, number, &text);
            self.crossing.heard(lan_id, &text, &author);
            lan.send_to_all(lan::DatagramBody::Post(text.clone()), lan_id, cx)
        });
        let message = MeshMessage { sender: id, number, said_at, name, body: MessageBody::Chat(text) };
        let peers = mesh.post(message, cx) + neighbours;
        cx.out.push(Action::Keep(entry));
        cx.tell(Notice::Sent { peers });
    }

    /// Adds what was said to the history; `first` if it was there already as somebody else's on the other link. It stays
    /// once, as the mesh's, whose number neighbours know it by. Returns what made room.
    fn add(&mut self, entry: Arc<Entry>, first: Option<Author>) -> Option<Arc<Entry>> {
        match (&entry.author, first) {
            (Author::Lan(_), Some(Author::Mesh(_))) => return None,
            (Author::Mesh(_), Some(lan @ Author::Lan(_))) => self.history.remove(&lan, entry.lan_number()),
            _ => {}
        }
        self.history.add(entry)
    }
}

/// Shows the person what somebody else said.
fn tell(from: Contact, entry: &Entry, cx: &mut Context) {
    cx.counts.posts_in += 1;
    let (text, number) = (entry.text.clone(), entry.number.to_string());
    cx.tell(Notice::Post { from, text, said_at: entry.said_at, number });
}
