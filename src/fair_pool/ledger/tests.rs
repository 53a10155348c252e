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
    let mut ledger = Ledger::new(4, Some(PROTECTED_MS));
    let [_, longest, _, _] =
        [(1, 0), (2, 10), (2, 20), (2, 30)].map(|(n, ms)| ledger.add(Some(block(n)), 1, Some(since(ms)), 30));
    assert_eq!(ledger.displace(Some(block(9)), 1, 30).unwrap().id, longest);
    assert_eq!((ledger.free(), ledger.leaving(), ledger.held_by(block(2))), (0, 1, 2));
    assert_eq!(ledger.remove(longest), Some(block(2)));
    assert_eq!((ledger.free(), ledger.leaving()), (1, 0));
}

#[test]
fn a_piece_of_an_equal_holder_is_protected_for_a_second() {
    let mut ledger = Ledger::new(2, Some(PROTECTED_MS));
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
    let mut ledger = Ledger::new(3, Some(PROTECTED_MS));
    let states = [since(0), since(1), since(2)];
    let pieces = states.clone().map(|since| ledger.add(Some(block(1)), 1, Some(since), 2));
    states[0].set(None);
    assert_eq!(ledger.displace(Some(block(9)), 1, 5).unwrap().id, pieces[1]);
    states[2].set(None);
    assert!(ledger.displace(Some(block(9)), 2, 5000).is_none(), "the holders are equal");
    assert!(ledger.displace(Some(block(9)), 1, 5000).is_some());
}

#[test]
fn of_running_work_the_youngest_is_displaced_first() {
    let mut ledger = Ledger::new(3, Some(PROTECTED_MS));
    let states = [since(0), since(1), since(2)];
    let pieces = states.clone().map(|since| ledger.add(Some(block(1)), 1, Some(since), 2));
    for state in &states {
        state.set(None);
    }
    let displaced = [5, 5].map(|now| ledger.displace(Some(block(9)), 1, now).unwrap().id);
    assert_eq!(displaced, [pieces[2], pieces[1]]);
}

#[test]
fn fixed_pieces_and_pieces_of_uncounted_clients_are_never_displaced() {
    let mut ledger = Ledger::new(2, Some(PROTECTED_MS));
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
        let (mut ledger, mut pieces, mut now) = (Ledger::new(UNITS, Some(PROTECTED_MS)), Vec::<Reference>::new(), 0);
        for step in steps {
            // The rule holds to the millisecond, so a piece changes after the search before it.
            now += 1;
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
            prop_assert!(ledger.ending_at_once() <= leaving);
            for holder in 0..5 {
                prop_assert_eq!(ledger.held_by(block(holder)), held(&pieces, holder));
            }
        }
        for piece in &pieces {
            ledger.remove(piece.id);
        }
        prop_assert_eq!(ledger.ending_at_once(), 0);
        prop_assert!(ledger.pieces.is_empty() && ledger.holders.is_empty() && ledger.ranking.is_empty());
    }
}
