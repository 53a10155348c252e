//! When chat is passed on. A neighbour that brought somebody's chat lately has a way to it that does not lead through this
//! peer. It gets more of that chat a few milliseconds later, many messages in one write, since most likely it has them by
//! then. Everybody else gets it at once. So nobody misses anything, and in a mesh where all are linked with all, what is
//! new is not held up by copies of what is not.

use super::event::{LinkId, Now};
use super::{Actions, Engine};
use crate::domain::BootMs;
use crate::peer::mesh::{Body, Message};
use crate::peer::peer_id::PeerId;

/// What waits is passed on after so long.
const PASSED_ON_AFTER_MS: u64 = 5;
/// A neighbour that brought nothing for so long has no way of its own any more.
const WAY_LASTS_MS: u64 = 1_000;
/// So many messages wait at most.
const MAX_WAITING: usize = 256;
/// And with more bytes of text than these nothing waits: what goes at once must find room in the queue of a link.
const MAX_WAITING_BYTES: usize = 32 * 1024;

/// The links on which somebody's chat came lately, and when it last did.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways(Vec<(LinkId, BootMs)>);

impl Ways {
    /// A message, or another copy of one, came on this link.
    pub(super) fn brought(&mut self, link: LinkId, now: BootMs) {
        if let Some((_, at)) = self.0.iter_mut().find(|(known, _)| *known == link) {
            *at = now;
        } else {
            self.0.retain(|(_, at)| is_recent(*at, now));
            self.0.push((link, now));
        }
    }

    fn leads(&self, link: LinkId, now: BootMs) -> bool {
        self.0.iter().any(|(known, at)| *known == link && is_recent(*at, now))
    }
}

fn is_recent(brought_at: BootMs, now: BootMs) -> bool {
    now < brought_at.plus(WAY_LASTS_MS)
}

/// What waits to be passed on.
///
/// Invariant: `due_at` is a moment exactly while something waits; at most [`MAX_WAITING`] messages do, and with more than
/// [`MAX_WAITING_BYTES`] none.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    waiting: Vec<(Message, Vec<LinkId>)>,
    bytes: usize,
    due_at: BootMs,
}

impl Default for Passing {
    fn default() -> Self {
        Self { waiting: Vec::new(), bytes: 0, due_at: BootMs::NEVER }
    }
}

impl Passing {
    /// When the oldest has waited long enough.
    pub(super) fn due_at(&self) -> BootMs {
        self.due_at
    }

    /// Adds chat for these links; whether all that waits is to be passed on before anything is added again.
    fn add(&mut self, message: Message, links: Vec<LinkId>, now: BootMs) -> bool {
        if let Body::Chat(text) = &message.body {
            self.bytes += text.len();
        }
        self.waiting.push((message, links));
        self.due_at = self.due_at.min(now.plus(PASSED_ON_AFTER_MS));
        self.waiting.len() >= MAX_WAITING || self.bytes > MAX_WAITING_BYTES
    }

    /// Whether chat of this sender waits for any of these links.
    fn holds(&self, sender: PeerId, links: &[LinkId]) -> bool {
        self.waiting
            .iter()
            .any(|(message, waits)| message.sender == sender && waits.iter().any(|link| links.contains(link)))
    }
}

impl Engine {
    /// Passes new chat on to these links: now, or soon.
    pub(super) fn pass_on(&mut self, links: Vec<LinkId>, message: &Message, now: Now, out: &mut Actions) {
        let ways = self.senders.get(&message.sender).map(|sender| &sender.ways);
        let has_way = |link: &LinkId| ways.is_some_and(|ways| ways.leads(*link, now.boot));
        let (later, at_once): (Vec<LinkId>, Vec<LinkId>) = links.into_iter().partition(has_way);
        if !at_once.is_empty() {
            // Whoever has lost its own way since gets what was said before this first.
            if self.passing.holds(message.sender, &at_once) {
                self.pass_on_what_waits(out);
            }
            self.send(at_once, message, out);
        }
        if later.is_empty() {
            return;
        }
        if self.passing.add(message.clone(), later, now.boot) {
            self.pass_on_what_waits(out);
        }
        self.wake_at = self.wake_at.min(self.passing.due_at);
    }

    /// Passes on whatever waits, however long it did.
    pub(super) fn pass_on_what_waits(&mut self, out: &mut Actions) {
        let passing = std::mem::take(&mut self.passing);
        for (message, links) in passing.waiting {
            self.send(links, &message, out);
        }
    }
}
