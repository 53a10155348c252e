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
//!
//! Pieces are ordered by progress lazily. Progress is an atomic number that the ledger does not
//! watch, so it keeps a lower bound for each piece: the value that it read last. The piece with
//! the lowest bound is read again. If its bound is still right, no other piece waits longer.
//! Otherwise the bound is raised, and the next piece is read. So each progress of a piece causes at
//! most one step, and a piece without progress causes none. Every step takes logarithmic time.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, HashMap};

use rollcall_core::AddressBlock;

/// Time without progress after which a piece may be displaced by a client that would hold as much,
/// in milliseconds. With less, its client's next request may be on its way.
pub(crate) const PROTECTED_MS: u64 = 1000;

/// Most pieces with running work that one search passes over. Without this bound, one block with
/// many running requests would make each search long.
const MAX_WORKING_PASSED: usize = 64;

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
    used: u64,
    /// Units of displaced pieces, which are about to be freed.
    leaving: u64,
    next_id: PieceId,
    pieces: HashMap<PieceId, Entry<A>>,
    holders: HashMap<AddressBlock, Holder>,
    ranking: BTreeSet<Rank>,
}

/// Largest holder first. Of equal ones, that with the piece that waits longest.
type Rank = (Reverse<u64>, u64, AddressBlock);

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
    Displaced,
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
    /// An empty pool of `units` units.
    pub(super) fn new(units: u64) -> Self {
        Self {
            units,
            used: 0,
            leaving: 0,
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
            PieceState::Displaced => self.leaving -= piece.units,
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
        let id = self.find_victim(newcomer, demand, now_ms)?;
        let mut piece = self.pieces.remove(&id)?;
        let PieceState::Displaceable { bound_ms, activity } =
            std::mem::replace(&mut piece.state, PieceState::Displaced)
        else {
            unreachable!("only such pieces are in `by_bound`")
        };
        self.forget(&piece, id, Some(bound_ms));
        self.leaving += piece.units;
        let holder = piece.holder;
        self.pieces.insert(id, piece);
        Some(Displacement { id, holder, activity })
    }

    fn find_victim(&mut self, newcomer: Option<AddressBlock>, demand: u64, now_ms: u64) -> Option<PieceId> {
        let (mut longest_working, mut passed) = (None, 0);
        loop {
            let (block, is_larger) = self.victim_holder(newcomer, demand)?;
            let (bound_ms, id) = *self.holders[&block].by_bound.first()?;
            let PieceState::Displaceable { activity, .. } = &self.pieces[&id].state else {
                unreachable!("only such pieces are in `by_bound`")
            };
            match activity.waiting_since_ms() {
                Some(since_ms) if since_ms <= bound_ms => {
                    let may_lose_it = is_larger || now_ms.saturating_sub(since_ms) >= PROTECTED_MS;
                    return may_lose_it.then_some(id);
                }
                Some(since_ms) => self.raise_bound(block, id, since_ms),
                None => {
                    longest_working = longest_working.or(is_larger.then_some(id));
                    passed += 1;
                    if bound_ms > now_ms || passed > MAX_WORKING_PASSED {
                        return longest_working;
                    }
                    // Work that runs now cannot have waited since an earlier time. A piece that
                    // waits since this millisecond comes first.
                    self.raise_bound(block, id, now_ms + 1);
                }
            }
        }
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
mod tests {
    use std::cell::Cell;
    use std::net::IpAddr;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    /// The time since which a piece waits. `None` while it works.
    type Since = Rc<Cell<Option<u64>>>;

    impl Activity for Since {
        fn waiting_since_ms(&self) -> Option<u64> {
            self.get()
        }
    }

    fn block(n: u8) -> AddressBlock {
        AddressBlock::of(IpAddr::from([10, 0, 0, n]))
    }

    fn since(ms: u64) -> Since {
        Rc::new(Cell::new(Some(ms)))
    }

    #[test]
    fn the_largest_holder_loses_the_piece_that_waits_longest() {
        let mut ledger = Ledger::new(4);
        let [_, longest, _, _] =
            [(1, 0), (2, 10), (2, 20), (2, 30)].map(|(n, ms)| ledger.add(Some(block(n)), 1, Some(since(ms)), 30));
        assert_eq!(ledger.displace(Some(block(9)), 1, 30).unwrap().id, longest);
        assert_eq!((ledger.free(), ledger.leaving(), ledger.held_by(block(2))), (0, 1, 2));
        assert_eq!(ledger.remove(longest), Some(block(2)));
        assert_eq!((ledger.free(), ledger.leaving()), (1, 0));
    }

    #[test]
    fn a_piece_of_an_equal_holder_is_protected_for_a_second() {
        let mut ledger = Ledger::new(2);
        let pieces = [1, 2].map(|n| ledger.add(Some(block(n)), 1, Some(since(u64::from(n))), 2));
        assert!(ledger.displace(Some(block(9)), 1, PROTECTED_MS).is_none());
        assert_eq!(ledger.displace(Some(block(9)), 1, PROTECTED_MS + 1).unwrap().id, pieces[0]);
        // The newcomer would be the largest holder.
        assert!(ledger.displace(Some(block(2)), 2, PROTECTED_MS + 1).is_none());
        assert_eq!(ledger.displace(Some(block(2)), 2, PROTECTED_MS + 2).unwrap().id, pieces[1]);
        assert!(ledger.displace(Some(block(9)), 1, 10 * PROTECTED_MS).is_none(), "each piece is displaced once");
    }

    #[test]
    fn running_work_is_displaced_only_if_its_larger_holder_has_nothing_else() {
        let mut ledger = Ledger::new(3);
        let states = [since(0), since(1), since(2)];
        let pieces = states.clone().map(|since| ledger.add(Some(block(1)), 1, Some(since), 2));
        states[0].set(None);
        assert_eq!(ledger.displace(Some(block(9)), 1, 5).unwrap().id, pieces[1]);
        states[2].set(None);
        assert!(ledger.displace(Some(block(9)), 2, 5000).is_none(), "the holders are equal");
        assert!(ledger.displace(Some(block(9)), 1, 5000).is_some());
    }

    #[test]
    fn fixed_pieces_and_pieces_of_uncounted_clients_are_never_displaced() {
        let mut ledger = Ledger::new(2);
        ledger.add(Some(block(1)), 1, None, 0);
        ledger.add(None, 1, Some(since(0)), 0);
        assert!(ledger.displace(Some(block(9)), 1, 10 * PROTECTED_MS).is_none());
        assert_eq!((ledger.held_by(block(1)), ledger.free()), (1, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add { holder: u8, units: u64, is_fixed: bool },
        Remove(usize),
        Progress { piece: usize, is_working: bool },
        Wait(u64),
        Displace { newcomer: u8, units: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..4, 1_u64..4, any::<bool>(), any::<bool>()).prop_map(|(holder, units, one, two)| Step::Add {
                holder, units, is_fixed: one && two,
            }),
            2 => any::<usize>().prop_map(Step::Remove),
            4 => (any::<usize>(), any::<bool>()).prop_map(|(piece, is_working)| Step::Progress { piece, is_working }),
            2 => (0_u64..200).prop_map(|tens| Step::Wait(10 * tens)),
            4 => (0_u8..5, 1_u64..4).prop_map(|(newcomer, units)| Step::Displace { newcomer, units }),
        ]
    }

    /// A piece of the reference implementation.
    struct Reference {
        id: PieceId,
        holder: u8,
        units: u64,
        since: Option<Since>,
        is_displaced: bool,
    }

    impl Reference {
        fn can_be_displaced(&self) -> bool {
            self.since.is_some() && !self.is_displaced
        }
    }

    fn held(pieces: &[Reference], holder: u8) -> u64 {
        pieces.iter().filter(|piece| piece.holder == holder && !piece.is_displaced).map(|piece| piece.units).sum()
    }

    /// All pieces that the rule permits to displace, found by reading all pieces.
    fn victims(pieces: &[Reference], newcomer: u8, demand: u64, now: u64) -> Vec<PieceId> {
        let candidates = || pieces.iter().filter(|piece| piece.can_be_displaced());
        let Some(most) = candidates().map(|piece| held(pieces, piece.holder)).max() else { return Vec::new() };
        let is_chosen = |holder| if most < demand { holder == newcomer } else { held(pieces, holder) == most };
        let chosen: Vec<_> = candidates().filter(|piece| is_chosen(piece.holder)).collect();
        let since = |piece: &&Reference| piece.since.as_ref().and_then(|since| since.get());
        let Some(longest) = chosen.iter().filter_map(since).min() else {
            return if most > demand { chosen.iter().map(|piece| piece.id).collect() } else { Vec::new() };
        };
        let is_protected = most <= demand && now - longest < PROTECTED_MS;
        let waits_longest = |piece: &&&Reference| !is_protected && since(piece) == Some(longest);
        chosen.iter().filter(waits_longest).map(|piece| piece.id).collect()
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_the_reference_implementation(steps in proptest::collection::vec(step(), 1..120)) {
            const UNITS: u64 = 12;
            let (mut ledger, mut pieces, mut now) = (Ledger::new(UNITS), Vec::<Reference>::new(), 0);
            for step in steps {
                match step {
                    Step::Add { holder, units, is_fixed } if units <= ledger.free() => {
                        let since = (!is_fixed).then(|| since(now));
                        let id = ledger.add(Some(block(holder)), units, since.clone(), now);
                        pieces.push(Reference { id, holder, units, since, is_displaced: false });
                    }
                    Step::Remove(index) if !pieces.is_empty() => {
                        let piece = pieces.swap_remove(index % pieces.len());
                        prop_assert_eq!(ledger.remove(piece.id), Some(block(piece.holder)));
                        prop_assert_eq!(ledger.remove(piece.id), None);
                    }
                    Step::Progress { piece, is_working } if !pieces.is_empty() => {
                        let piece = &pieces[piece % pieces.len()];
                        piece.since.iter().for_each(|since| since.set((!is_working).then_some(now)));
                    }
                    Step::Wait(ms) => now += ms,
                    Step::Displace { newcomer, units } => {
                        let demand = held(&pieces, newcomer) + units;
                        let expected = victims(&pieces, newcomer, demand, now);
                        let found = ledger.displace(Some(block(newcomer)), demand, now).map(|found| found.id);
                        prop_assert_eq!(found.is_some(), !expected.is_empty());
                        if let Some(id) = found {
                            prop_assert!(expected.contains(&id), "{id} is not in {expected:?}");
                            let holder = pieces.iter().find(|piece| piece.id == id).unwrap().holder;
                            // Only a client that holds at least as much loses a piece to another.
                            prop_assert!(holder == newcomer || held(&pieces, holder) >= demand);
                            pieces.iter_mut().filter(|piece| piece.id == id).for_each(|piece| piece.is_displaced = true);
                        }
                    }
                    Step::Add { .. } | Step::Remove(_) | Step::Progress { .. } => {}
                }
                let used: u64 = pieces.iter().map(|piece| piece.units).sum();
                prop_assert!(used <= UNITS);
                prop_assert_eq!(ledger.free(), UNITS - used);
                let leaving = pieces.iter().filter(|piece| piece.is_displaced).map(|piece| piece.units).sum::<u64>();
                prop_assert_eq!(ledger.leaving(), leaving);
                for holder in 0..5 {
                    prop_assert_eq!(ledger.held_by(block(holder)), held(&pieces, holder));
                }
            }
            for piece in &pieces {
                ledger.remove(piece.id);
            }
            prop_assert!(ledger.pieces.is_empty() && ledger.holders.is_empty() && ledger.ranking.is_empty());
        }
    }
}
