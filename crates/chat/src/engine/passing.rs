//! Who is sent chat at once, and who is only told that it is here.
//!
//! In a mesh where all are linked with all, everybody has every message from its author, and whatever else comes of it is
//! read to be thrown away. So a peer that gets an author's chat on one link asks the others to spare it. They tell it every
//! few milliseconds which numbers they have, and it asks for what has not come. Whoever did not ask to be spared gets
//! everything at once. This is the lazy push of Plumtree (Leitão, Pereira and Rodrigues, *Epidemic Broadcast Trees*, 2007),
//! with a tree for each author; `prune` and `have` are its names.
//!
//! The receiver alone decides, since it alone knows its other ways: it keeps one link for each author that spares it
//! nothing. A question for history ends all that its sender is spared, at both ends of the link.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chat::as_message;
use super::entry::Entry;
use super::event::{LinkId, Now};
use super::rules::MAX_SENDERS;
use super::{Actions, Engine};
use crate::mesh::{Body, Runs};
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// What is here is told of within so long.
const TOLD_AFTER_MS: u64 = 20;
/// The most numbers that one neighbour is told at once: whatever they are, they fit into a message.
const MAX_UNTOLD: usize = 512;
/// What a neighbour has may be on its way from where it mostly comes from; it is asked for after so long.
const ASKED_AFTER_MS: u64 = 100;
/// The most runs of numbers that are waited for of one neighbour; with more it is asked for everything.
const MAX_MISSING: usize = 512;
/// After so many answers in a row that had nothing new no more is expected of the next.
const MOST_VAIN: u32 = 3;
/// After so many questions for something it is not expected any more, whatever else the answers have.
const MOST_ASKED: u32 = 50;
/// Who was given a part of an answer may ask for the next for so long.
const ASKS_ON_FOR_MS: u64 = 2_000;

/// What two neighbours have agreed on, and told each other, about the chat of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparing {
    /// Whether the other end knows how to spare and be spared.
    pub(super) is_known: bool,
    /// Whose chat the other end has from elsewhere.
    spared: BTreeSet<PeerId>,
    /// What it is still to be told of that.
    untold: Vec<(PeerId, u64)>,
    /// Whose chat this end has from elsewhere.
    spares: BTreeSet<PeerId>,
    /// What this end was told of that and has not got yet.
    missing: Vec<Missing>,
    /// When to ask because there was no room for all that is missing.
    overflow: Option<BootMs>,
    /// How many questions for history are not answered yet.
    asked: u32,
    /// How many answers in a row had nothing new.
    vain: u32,
    /// Until when the other end may ask for more of an answer.
    owed_until: Option<BootMs>,
}

/// Numbers of an author, from the first to the last, that a neighbour has.
#[derive(Clone, Debug)]
struct Missing {
    author: PeerId,
    run: (u64, u64),
    /// When it is asked for next.
    asked_at: BootMs,
    /// How often it was asked for, and how often the answer had nothing new.
    asked: u32,
    vain: u32,
}

impl Sparing {
    /// The other end asks for what it has not heard: it is spared nothing any more, and told all of it.
    pub(super) fn is_asked_for_all(&mut self) {
        self.spared.clear();
        self.untold.clear();
    }

    /// This end asks for what it has not heard. What is missing stays so until it is heard, or was asked for in vain.
    pub(super) fn asks_for_all(&mut self, now: BootMs) {
        self.spares.clear();
        self.overflow = None;
        self.asked += 1;
        for missing in &mut self.missing {
            missing.asked += 1;
            missing.asked_at = missing.asked_at.max(now.plus(ASKED_AFTER_MS));
        }
    }

    /// Whose chat is missing.
    pub(super) fn missing_authors(&self) -> BTreeSet<PeerId> {
        self.missing.iter().map(|missing| missing.author).collect()
    }

    /// Whether this author's chat was asked for here and is waited for.
    fn was_asked_for(&self, author: PeerId) -> bool {
        self.missing.iter().any(|missing| missing.author == author && missing.asked > 0)
    }

    /// A part of an answer was given, and there is more or not.
    pub(super) fn has_answered(&mut self, more: bool, now: BootMs) {
        self.owed_until = more.then(|| now.plus(ASKS_ON_FOR_MS));
    }

    /// Whether the other end may ask for what has left the history.
    fn may_ask(&self, now: BootMs) -> bool {
        !self.spared.is_empty() || self.is_owed(now)
    }

    fn is_owed(&self, now: BootMs) -> bool {
        self.owed_until.is_some_and(|until| now < until)
    }

    /// The last question was answered, by something new or not; whether to ask for `more` at once. All of a part may have come
    /// from elsewhere meanwhile: so an answer without anything new is no reason yet to ask no more, but several in a row are.
    pub(super) fn is_answered(&mut self, is_new: bool, more: bool) -> bool {
        let Some(asked) = self.asked.checked_sub(1) else { return false };
        self.asked = asked;
        if is_new {
            self.vain = 0;
        } else {
            self.vain += 1;
            // What is missing may be in another part.
            let asked = self.missing.iter_mut().filter(|missing| missing.asked > 0 && !more);
            asked.for_each(|missing| missing.vain += 1);
        }
        self.missing.retain(|missing| missing.vain < MOST_VAIN && missing.asked < MOST_ASKED);
        more && self.vain < MOST_VAIN
    }

    /// The other end has an author's chat from elsewhere.
    pub(super) fn is_pruned(&mut self, author: PeerId) {
        if self.spared.len() < MAX_SENDERS {
            self.spared.insert(author);
        }
    }

    fn could_spare(&self, author: PeerId) -> bool {
        self.is_known && !self.spares.contains(&author) && !self.was_asked_for(author)
    }

    /// When something that is missing is to be asked for; never before an answer to the last question is complete.
    pub(super) fn next_at(&self) -> BootMs {
        if self.asked > 0 {
            return BootMs::NEVER;
        }
        let missing = self.missing.iter().map(|missing| missing.asked_at).min().unwrap_or(BootMs::NEVER);
        missing.min(self.overflow.unwrap_or(BootMs::NEVER))
    }

    fn waits_for(&mut self, missing: Missing) {
        if self.missing.len() < MAX_MISSING {
            self.missing.push(missing);
        } else {
            self.overflow.get_or_insert(missing.asked_at);
        }
    }
}

impl Engine {
    /// Passes new chat on to everybody but its author and those on the link that it came by.
    pub(super) fn pass_on(&mut self, from: LinkId, author: PeerId, entry: &Arc<Entry>, now: Now, out: &mut Actions) {
        // What could not be asked for later must not only be told of.
        let may_spare = !self.late.is_full();
        let (mut at_once, mut is_full) = (Vec::new(), false);
        for (id, link) in &mut self.links {
            if *id == from || link.peer == author {
                continue;
            }
            if may_spare && link.sparing.spared.contains(&author) {
                link.sparing.untold.push((author, entry.number));
                is_full |= link.sparing.untold.len() >= MAX_UNTOLD;
                self.told_at = self.told_at.min(now.boot.plus(TOLD_AFTER_MS));
            } else {
                at_once.push(*id);
            }
        }
        if !at_once.is_empty()
            && let Some(message) = as_message(entry)
        {
            self.send(at_once, message, out);
        }
        if is_full {
            self.tell_what_is_here(now, out);
        }
        self.wake_at = self.wake_at.min(self.told_at);
    }

    /// Keeps what has left the history, if a neighbour may have been told of it.
    pub(super) fn keep_for_late_questions(&mut self, gone: Option<Arc<Entry>>, now: Now) {
        let Some(gone) = gone else { return };
        if self.links.values().any(|link| link.sparing.may_ask(now.boot)) {
            self.late.add(gone, now.boot);
        }
    }

    /// Keeps what this peer said itself and has left the history, if a neighbour is owed the rest of an answer.
    pub(super) fn keep_own_for_late_questions(&mut self, gone: Option<Arc<Entry>>, now: Now) {
        if let Some(gone) = gone
            && self.links.values().any(|link| link.sparing.is_owed(now.boot))
        {
            self.late.add(gone, now.boot);
        }
    }

    /// Tells those who are spared what they were spared.
    pub(super) fn tell_what_is_here(&mut self, now: Now, out: &mut Actions) {
        self.told_at = BootMs::NEVER;
        let untold = self.links.iter_mut().filter(|(_, link)| !link.sparing.untold.is_empty());
        let untold: Vec<_> = untold.map(|(id, link)| (*id, std::mem::take(&mut link.sparing.untold))).collect();
        for (link, numbers) in untold {
            let message = self.control(Body::Have(in_runs(numbers)), now);
            self.send(vec![link], message, out);
        }
    }

    /// Drops what left the history long ago, if nobody is owed the rest of an answer.
    pub(super) fn forget_what_is_late(&mut self, now: Now) {
        if !self.links.values().any(|link| link.sparing.is_owed(now.boot)) {
            self.late.forget_old(now.boot);
        }
    }

    /// This peer leaves, and cannot be asked later: what it would have told of is sent.
    pub(super) fn send_what_is_untold(&mut self, out: &mut Actions) {
        let untold = self.links.iter_mut().map(|(id, link)| (*id, std::mem::take(&mut link.sparing.untold)));
        for (link, numbers) in untold.collect::<Vec<_>>() {
            for (author, number) in numbers {
                let entry = self.history.get(author, number).or_else(|| self.late.get(author, number));
                if let Some(message) = entry.and_then(as_message) {
                    self.send(vec![link], message, out);
                }
            }
        }
        self.told_at = BootMs::NEVER;
    }

    /// A neighbour has this.
    pub(super) fn heard_what_is_there(&mut self, link: LinkId, there: BTreeMap<PeerId, Runs>, now: Now) {
        // Who only claims to have something is not asked time and again for nothing.
        let is_useful = self.links.get(&link).is_some_and(|known| known.learned);
        for (author, runs) in there {
            let may_come = !is_useful || self.source_of(author).is_some();
            let asked_at = if may_come { now.boot.plus(ASKED_AFTER_MS) } else { now.boot };
            for run in runs {
                if !self.has_heard(author, run)
                    && let Some(known) = self.links.get_mut(&link)
                {
                    known.sparing.waits_for(Missing { author, run, asked_at, asked: 0, vain: 0 });
                }
            }
        }
    }

    /// Asks neighbours for what they have and this peer does not, after it was waited for.
    pub(super) fn ask_for_what_is_missing(&mut self, now: Now, out: &mut Actions) {
        let due = self.links.iter().filter(|(_, link)| link.sparing.next_at() <= now.boot);
        let mut asked = BTreeSet::new();
        for link in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(known) = self.links.get_mut(&link) else { continue };
            let (mut authors, mut later) = (BTreeSet::new(), Vec::new());
            for mut missing in std::mem::take(&mut known.sparing.missing) {
                if self.has_heard(missing.author, missing.run) {
                    continue;
                }
                // One answer is enough.
                if asked.contains(&missing.author) {
                    missing.asked_at = missing.asked_at.max(now.boot.plus(ASKED_AFTER_MS));
                }
                if missing.asked_at <= now.boot {
                    authors.insert(missing.author);
                }
                later.push(missing);
            }
            let Some(known) = self.links.get_mut(&link) else { continue };
            known.sparing.missing = later;
            if authors.is_empty() && known.sparing.overflow.is_none_or(|at| now.boot < at) {
                continue;
            }
            self.ask_history(link, now, out);
            asked.append(&mut authors);
        }
    }

    /// Chat of an author came on a link, new or not: decides whether it is heard there from now on, or is to be spared.
    pub(super) fn choose_source(&mut self, link: LinkId, author: PeerId, is_new: bool, now: Now, out: &mut Actions) {
        let source = self.source_of(author);
        let (Some(known), Some(sender)) = (self.links.get_mut(&link), self.senders.get_mut(&author)) else { return };
        let is_authors = known.peer == author;
        if source.is_none() {
            sender.source = Some(link);
            if known.sparing.spares.contains(&author) {
                self.ask_history(link, now, out);
            }
        } else if is_new && (is_authors || known.sparing.was_asked_for(author)) {
            // Nobody has it sooner; or where it was heard until now it did not come.
            sender.source = Some(link);
        } else if source != Some(link) && !is_authors && known.sparing.could_spare(author) {
            if known.sparing.spares.len() >= MAX_SENDERS {
                // Most of them have long been silent: both ends begin anew.
                self.ask_history(link, now, out);
                return;
            }
            known.sparing.spares.insert(author);
            let message = self.control(Body::Prune(author), now);
            self.send(vec![link], message, out);
        }
    }

    /// Whether [`Engine::choose_source`] has nothing to do.
    pub(super) fn is_source_chosen(&self, link: LinkId, author: PeerId) -> bool {
        // Nothing is chosen for those who are forgotten.
        if !self.senders.contains_key(&author) {
            return true;
        }
        match self.source_of(author) {
            Some(source) if source == link => true,
            Some(_) => self.links.get(&link).is_none_or(|known| !known.sparing.could_spare(author)),
            None => false,
        }
    }

    /// Another link to the same peer has taken the place of one.
    pub(super) fn move_sources(&mut self, from: LinkId, to: LinkId) {
        for sender in self.senders.values_mut().filter(|sender| sender.source == Some(from)) {
            sender.source = Some(to);
        }
    }

    /// A link has ended: whoever spared this peer what it brought is asked for it.
    pub(super) fn replace_source(&mut self, ended: LinkId, now: Now, out: &mut Actions) {
        let lost = self.senders.iter().filter(|(_, sender)| sender.source == Some(ended)).map(|(author, _)| author);
        let spares = |author| self.links.iter().find(|(_, link)| link.sparing.spares.contains(author));
        let others: BTreeSet<LinkId> = lost.filter_map(spares).map(|(id, _)| *id).collect();
        for other in others {
            self.ask_history(other, now, out);
        }
    }

    /// The link by which the chat of an author comes.
    fn source_of(&self, author: PeerId) -> Option<LinkId> {
        self.senders.get(&author)?.source.filter(|source| self.links.contains_key(source))
    }

    /// Whether all of these numbers were heard, or count as heard.
    fn has_heard(&self, author: PeerId, (first, last): (u64, u64)) -> bool {
        author == self.rules.id
            || self.senders.get(&author).is_some_and(|sender| sender.seen.contains_run(first, last))
            || self.forgotten.has(author, last)
    }
}

/// Numbers of authors in runs that do not touch.
fn in_runs(mut numbers: Vec<(PeerId, u64)>) -> BTreeMap<PeerId, Runs> {
    numbers.sort_unstable();
    let mut all: BTreeMap<PeerId, Runs> = BTreeMap::new();
    for (author, number) in numbers {
        let runs = all.entry(author).or_default();
        match runs.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_in_order_and_in_runs_that_do_not_touch() {
        let (a, b) = (PeerId(1), PeerId(2));
        let numbers = vec![(b, 7), (a, 3), (a, 1), (a, 2), (a, 9), (a, 9), (b, u64::MAX), (b, u64::MAX - 1)];
        let expected = BTreeMap::from([(a, vec![(1, 3), (9, 9)]), (b, vec![(7, 7), (u64::MAX - 1, u64::MAX)])]);
        assert_eq!(in_runs(numbers), expected);
    }
}
