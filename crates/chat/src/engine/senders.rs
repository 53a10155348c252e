//! Senders of chat: the received numbers, name and profile of each, and the highest numbers of
//! evicted ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::entry::Author;
use super::event::LinkId;
use super::notice::{Contact, Via};
use super::rules::{ASKED_RUNS, ASKED_RUNS_IN_ALL, MAX_SENDERS, MISSING_RUNS};
use super::seen::{Forgotten, Seen};
use crate::mesh::{MAX_ASKED, SeqRanges};
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// What is known of somebody who said something on the mesh, directly or not.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) seen: Seen,
    pub(super) name: Option<Nickname>,
    pub(super) profile: Option<PeerProfile>,
    pub(super) heard_at: BootMs,
    /// The link by which its chat comes; the others spare this peer.
    pub(super) source: Option<LinkId>,
}

impl Sender {
    /// How it is shown.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        Contact::on_mesh(id, self.name.as_ref(), self.profile.as_ref())
    }
}

/// The senders.
///
/// Invariant: at most [`MAX_SENDERS`], unless all of them are linked.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    known: BTreeMap<PeerId, Sender>,
    /// Those who were among the senders and made room.
    pub(super) forgotten: Forgotten,
    /// How many runs of numbers are remembered of each.
    most_runs: usize,
}

impl Senders {
    /// Nobody; at most `most_runs` runs of numbers will be remembered of each.
    pub(super) fn new(most_runs: usize) -> Self {
        Self { known: BTreeMap::new(), forgotten: Forgotten::default(), most_runs }
    }

    /// Whether this is one of them.
    pub(super) fn contains(&self, id: PeerId) -> bool {
        self.known.contains_key(&id)
    }

    /// One of them.
    pub(super) fn get(&self, id: PeerId) -> Option<&Sender> {
        self.known.get(&id)
    }

    /// One of them, to change it.
    pub(super) fn get_mut(&mut self, id: PeerId) -> Option<&mut Sender> {
        self.known.get_mut(&id)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Sender)> {
        self.known.iter().map(|(id, sender)| (*id, sender))
    }

    /// All of them, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sender> {
        self.known.values_mut()
    }

    /// The sender's entry. For a new one the sender that was silent longest is evicted; a linked one
    /// never is.
    pub(super) fn entry(&mut self, id: PeerId, now: BootMs, is_linked: impl Fn(PeerId) -> bool) -> &mut Sender {
        if !self.known.contains_key(&id) && self.known.len() >= MAX_SENDERS {
            let idle = self.known.iter().filter(|(id, _)| !is_linked(**id));
            if let Some(oldest) = idle.min_by_key(|(_, sender)| sender.heard_at).map(|(id, _)| *id) {
                let highest = self.known.remove(&oldest).and_then(|sender| sender.seen.highest());
                // Copies of what it said may be on their way still. Each would be new again, and with many senders make
                // room for itself and go round for ever.
                if let Some(highest) = highest {
                    self.forgotten.insert(oldest, highest);
                }
            }
        }
        let seen = || {
            let mut seen = Seen::new(self.most_runs);
            if let Some(highest) = self.forgotten.highest(id) {
                seen.forget_below(highest.saturating_add(1));
            }
            seen
        };
        let fresh = || Sender { seen: seen(), name: None, profile: None, heard_at: now, source: None };
        self.known.entry(id).or_insert_with(fresh)
    }

    /// How a peer of the mesh is shown.
    pub(super) fn contact(&self, id: PeerId) -> Contact {
        self.get(id).map_or_else(|| Contact::on_mesh(id, None, None), |sender| sender.contact(id))
    }

    /// How somebody who said something is shown; `name` is what it was called then.
    pub(super) fn author(&self, author: &Author, name: Option<&Nickname>) -> Contact {
        match author {
            Author::Mesh(id) => {
                let sender = self.get(*id);
                let name = sender.and_then(|sender| sender.name.as_ref()).or(name);
                Contact::on_mesh(*id, name, sender.and_then(|sender| sender.profile.as_ref()))
            }
            Author::Lan(uid) => Contact { uid: uid.clone(), display_name: None, via: Via::Lan },
        }
    }

    /// Whether one of them has this name.
    pub(super) fn has_name(&self, wanted: &str) -> bool {
        let is_name = |name: &Nickname| name.as_str() == wanted;
        self.known.values().any(|sender| sender.name.as_ref().is_some_and(is_name))
    }

    /// Whether all of these numbers were heard, or count as heard.
    pub(super) fn has_heard(&self, author: PeerId, (first, last): (u64, u64)) -> bool {
        self.get(author).is_some_and(|sender| sender.seen.contains_run(first, last)) || self.forgotten.has(author, last)
    }

    /// The received numbers, as a question for history names them: bounded, those of authors of whom
    /// something is `missing` first. Evicted senders are named if they are among `repeated`.
    pub(super) fn question<'r>(
        &self,
        repeated: impl Iterator<Item = &'r PeerId>,
        missing: &BTreeSet<PeerId>,
    ) -> BTreeMap<PeerId, SeqRanges> {
        let mut heard: Vec<(&PeerId, &Sender)> = self.known.iter().collect();
        heard.retain(|(_, sender)| sender.seen.highest().is_some());
        heard.sort_by_key(|(_, sender)| Reverse(sender.heard_at));
        let forgotten = repeated.filter(|sender| !self.known.contains_key(sender));
        let forgotten = forgotten.filter_map(|sender| Some((*sender, vec![(0, self.forgotten.highest(*sender)?)])));
        let mut have: BTreeMap<PeerId, SeqRanges> = forgotten.collect();
        // With many senders there is room for their newest runs only. What is older counts as heard then: so those of whom
        // something is missing come first.
        heard.sort_by_key(|(id, _)| !missing.contains(id));
        heard.truncate(MAX_ASKED - have.len());
        let reserved = if missing.is_empty() { 0 } else { ASKED_RUNS_IN_ALL - MAX_ASKED };
        let (mut room, most) = (reserved, (ASKED_RUNS_IN_ALL - reserved) / heard.len().max(1));
        have.extend(heard.into_iter().map(|(id, sender)| {
            let most = if missing.contains(id) { MISSING_RUNS.min(room) } else { most.min(ASKED_RUNS) };
            let runs = sender.seen.newest_runs(most.max(1));
            room = room.saturating_sub(runs.len());
            (*id, runs)
        }));
        have
    }
}
