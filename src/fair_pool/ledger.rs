//! Ledger of a fair pool: the units that each address block holds, and the choice of the piece that
//! a newcomer displaces. Pure: time is an argument.
//!
//! The rule is longest-queue drop. If the pool is full, the block that holds the most units loses
//! its piece that waits longest for its client. This approaches max-min fair shares without a
//! number per block.
//!
//! * A block that holds more than the newcomer's block would hold loses a piece in any case.
//! * If it would hold as many, or if the newcomer's own block is the largest, then a piece is only
//!   displaced if it has been waiting for [`PROTECTED_MS`]. Otherwise equal clients would displace
//!   each other all the time.
//! * A block that holds less never loses a piece.
//! * A ledger of places to wait has no such time: equal clients never displace each other there.
//!
//! Pieces are ordered by progress lazily. Progress is an atomic number that the ledger does not
//! watch, so it keeps a lower bound for each piece: the value that it read last. The piece with
//! the lowest bound is read again. If its bound is still right, no other piece waits longer.
//! Otherwise the bound is raised, and the next piece is read. So each progress of a piece causes at
//! most one step, and a piece without progress causes none. Every step takes logarithmic time. The
//! order is exact to the millisecond: of the pieces that begin to wait in the millisecond of a
//! search, any may be chosen next.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, HashMap};

use rollcall_core::AddressBlock;

/// Time without progress after which a piece may be displaced by a client that would hold as much,
/// in milliseconds. With less, its client's next request may be on its way.
pub(crate) const PROTECTED_MS: u64 = 1000;

/// Most pieces with running work that one search passes over. Without this bound, one block with
/// many running requests would make each search long.
const MAX_WORKING_PASSED: usize = 256;

/// The progress of a piece's work.
pub(super) trait Activity {
    /// The time since which the work waits for its client. `None` while it does not wait. The time
    /// never goes back.
    fn waiting_since_ms(&self) -> Option<u64>;
}

/// Identifies a piece. Never reused.
pub(super) type PieceId = u64;

/// A piece that was displaced.
#[derive(Debug)]
pub(super) struct Displacement<A> {
    pub(super) id: PieceId,
    pub(super) holder: Option<AddressBlock>,
    pub(super) activity: A,
}

/// The ledger.
///
/// Invariant: the pieces have at most `units` units together. `ranking` has one entry for each
/// holder with a piece that can be displaced.
#[derive(Debug)]
pub(super) struct Ledger<A> {
    units: u64,
    /// Time without progress after which an equal client may displace a piece. `None`: never.
    protected_ms: Option<u64>,
    used: u64,
    /// Units of displaced pieces, which are about to be freed.
    leaving: u64,
    /// Those of them whose work waited for its client, so that nothing delays its end.
    ending_at_once: u64,
    next_id: PieceId,
    pieces: HashMap<PieceId, Entry<A>>,
    holders: HashMap<AddressBlock, Holder>,
    ranking: BTreeSet<Rank>,
}

/// Largest holder first. Of equal ones, that with the piece that waits longest.
type Rank = (Reverse<u64>, u64, AddressBlock);

/// The piece that a search found.
#[derive(Clone, Copy)]
struct Victim {
    id: PieceId,
    /// Whether its work waits for its client.
    ends_at_once: bool,
}

#[derive(Debug)]
struct Entry<A> {
    holder: Option<AddressBlock>,
    units: u64,
    state: PieceState<A>,
}

#[derive(Debug)]
enum PieceState<A> {
    /// It is never displaced.
    Fixed,
    /// It can be displaced. `bound_ms`: it does not wait since an earlier time.
    Displaceable { bound_ms: u64, activity: A },
    /// It was displaced, and still uses its units.
    Displaced { ends_at_once: bool },
}

/// The pieces of an address block, without those that were displaced.
#[derive(Debug, Default)]
struct Holder {
    units: u64,
    pieces: usize,
    /// Pieces that can be displaced, by their lower bounds.
    by_bound: BTreeSet<(u64, PieceId)>,
}

impl Holder {
    fn rank(&self, block: AddressBlock) -> Option<Rank> {
        self.by_bound.first().map(|(bound_ms, _)| (Reverse(self.units), *bound_ms, block))
    }
}

impl<A: Activity> Ledger<A> {
    /// An empty pool of `units` units, whose pieces are protected from equal clients for
    /// `protected_ms`, or for ever.
    pub(super) fn new(units: u64, protected_ms: Option<u64>) -> Self {
        Self {
            units,
            protected_ms,
            used: 0,
            leaving: 0,
            ending_at_once: 0,
            next_id: 0,
            pieces: HashMap::new(),
            holders: HashMap::new(),
            ranking: BTreeSet::new(),
        }
    }

    /// Units that nobody holds.
    pub(super) fn free(&self) -> u64 {
        self.units - self.used
    }

    /// Units of displaced pieces that are not freed yet.
    pub(super) fn leaving(&self) -> u64 {
        self.leaving
    }

    /// Units of displaced pieces that nothing delays.
    pub(super) fn ending_at_once(&self) -> u64 {
        self.ending_at_once
    }

    /// Units that the pieces of a block hold, without displaced ones.
    pub(super) fn held_by(&self, block: AddressBlock) -> u64 {
        self.holders.get(&block).map_or(0, |holder| holder.units)
    }

    /// Adds a piece of units that must be free. Without an `activity` or a `holder` it is never
    /// displaced.
    pub(super) fn add(
        &mut self,
        holder: Option<AddressBlock>,
        units: u64,
        activity: Option<A>,
        now_ms: u64,
    ) -> PieceId {
        debug_assert!(units <= self.free(), "the units must be free");
        self.used += units;
        let id = self.next_id;
        self.next_id += 1;
        let activity = activity.filter(|_| holder.is_some());
        let state = activity.map_or(PieceState::Fixed, |activity| PieceState::Displaceable {
            bound_ms: activity.waiting_since_ms().unwrap_or(now_ms),
            activity,
        });
        if let Some(block) = holder {
            self.change_holder(block, |holder| {
                holder.units += units;
                holder.pieces += 1;
                if let PieceState::Displaceable { bound_ms, .. } = state {
                    holder.by_bound.insert((bound_ms, id));
                }
            });
        }
        self.pieces.insert(id, Entry { holder, units, state });
        id
    }

    /// Frees the units of a piece, and returns its holder. Without effect if there is no such
    /// piece.
    pub(super) fn remove(&mut self, id: PieceId) -> Option<AddressBlock> {
        let piece = self.pieces.remove(&id)?;
        self.used -= piece.units;
        match piece.state {
            PieceState::Displaced { ends_at_once } => {
                self.leaving -= piece.units;
                self.ending_at_once -= if ends_at_once { piece.units } else { 0 };
            }
            PieceState::Fixed => self.forget(&piece, id, None),
            PieceState::Displaceable { bound_ms, .. } => self.forget(&piece, id, Some(bound_ms)),
        }
        piece.holder
    }

    /// Displaces a piece for a newcomer, if the rule permits it. `demand`: units that the
    /// newcomer's block would hold. The piece keeps its units until [`Self::remove`].
    pub(super) fn displace(
        &mut self,
        newcomer: Option<AddressBlock>,
        demand: u64,
        now_ms: u64,
    ) -> Option<Displacement<A>> {
        let victim = self.find_victim(newcomer, demand, now_ms)?;
        self.take_from_holder(victim)
    }

    /// Displaces a piece of the largest holder without a newcomer. Nothing happens while another
    /// piece is about to leave, and running work is spared while any piece leaves.
    pub(super) fn make_room(&mut self, now_ms: u64) -> Option<Displacement<A>> {
        if self.ending_at_once > 0 {
            return None;
        }
        let victim = self.find_victim(None, 0, now_ms)?;
        if victim.ends_at_once || self.leaving == 0 { self.take_from_holder(victim) } else { None }
    }

    fn take_from_holder(&mut self, victim: Victim) -> Option<Displacement<A>> {
        let Victim { id, ends_at_once } = victim;
        let mut piece = self.pieces.remove(&id)?;
        let PieceState::Displaceable { bound_ms, activity } =
            std::mem::replace(&mut piece.state, PieceState::Displaced { ends_at_once })
        else {
            unreachable!("only such pieces are in `by_bound`")
        };
        self.forget(&piece, id, Some(bound_ms));
        self.leaving += piece.units;
        self.ending_at_once += if ends_at_once { piece.units } else { 0 };
        let holder = piece.holder;
        self.pieces.insert(id, piece);
        Some(Displacement { id, holder, activity })
    }

    fn find_victim(&mut self, newcomer: Option<AddressBlock>, demand: u64, now_ms: u64) -> Option<Victim> {
        let mut passed = 0;
        loop {
            let (block, is_larger) = self.victim_holder(newcomer, demand)?;
            let (bound_ms, id) = *self.holders[&block].by_bound.first()?;
            let PieceState::Displaceable { activity, .. } = &self.pieces[&id].state else {
                unreachable!("only such pieces are in `by_bound`")
            };
            match activity.waiting_since_ms() {
                Some(since_ms) if since_ms <= bound_ms => {
                    let waits_ms = now_ms.saturating_sub(since_ms);
                    let may_lose_it = is_larger || self.protected_ms.is_some_and(|limit| waits_ms >= limit);
                    return may_lose_it.then_some(Victim { id, ends_at_once: true });
                }
                Some(since_ms) => self.raise_bound(block, id, since_ms),
                None => {
                    passed += 1;
                    if bound_ms > now_ms || passed > MAX_WORKING_PASSED {
                        return self.youngest(block).filter(|_| is_larger);
                    }
                    // Work that runs now waits from the next millisecond on at the earliest, within
                    // the precision of the ledger. A piece that waits already comes first.
                    self.raise_bound(block, id, now_ms + 1);
                }
            }
        }
    }

    /// The piece of a block that was added last, if all of them have running work. It loses the
    /// least work, and probably still waits in a queue, which it leaves at once.
    fn youngest(&self, block: AddressBlock) -> Option<Victim> {
        let (_, id) = *self.holders[&block].by_bound.last()?;
        let PieceState::Displaceable { activity, .. } = &self.pieces[&id].state else {
            unreachable!("only such pieces are in `by_bound`")
        };
        Some(Victim { id, ends_at_once: activity.waiting_since_ms().is_some() })
    }

    /// The block that loses a piece, and whether it holds more than the newcomer's would.
    fn victim_holder(&self, newcomer: Option<AddressBlock>, demand: u64) -> Option<(AddressBlock, bool)> {
        let (Reverse(most), _, block) = *self.ranking.first()?;
        match most.cmp(&demand) {
            Ordering::Greater => Some((block, true)),
            Ordering::Equal => Some((block, false)),
            Ordering::Less => {
                let own = newcomer?;
                let has_pieces = self.holders.get(&own).is_some_and(|holder| !holder.by_bound.is_empty());
                has_pieces.then_some((own, false))
            }
        }
    }

    fn raise_bound(&mut self, block: AddressBlock, id: PieceId, to_ms: u64) {
        let piece = self.pieces.get_mut(&id).expect("a listed piece exists");
        let PieceState::Displaceable { bound_ms, .. } = &mut piece.state else { return };
        let from_ms = std::mem::replace(bound_ms, to_ms);
        self.change_holder(block, |holder| {
            holder.by_bound.remove(&(from_ms, id));
            holder.by_bound.insert((to_ms, id));
        });
    }

    /// Removes a piece from its holder.
    fn forget(&mut self, piece: &Entry<A>, id: PieceId, bound_ms: Option<u64>) {
        let Some(block) = piece.holder else { return };
        self.change_holder(block, |holder| {
            holder.units -= piece.units;
            holder.pieces -= 1;
            bound_ms.map(|bound_ms| holder.by_bound.remove(&(bound_ms, id)));
        });
    }

    /// Changes a holder, and its place in the ranking with it.
    fn change_holder(&mut self, block: AddressBlock, change: impl FnOnce(&mut Holder)) {
        let holder = self.holders.entry(block).or_default();
        holder.rank(block).map(|rank| self.ranking.remove(&rank));
        change(holder);
        holder.rank(block).map(|rank| self.ranking.insert(rank));
        if holder.pieces == 0 {
            self.holders.remove(&block);
        }
    }
}

#[cfg(test)]
mod tests;
