//! Fair queue of requests that wait for units. Pure.
//!
//! The block that holds the fewest units is served first; blocks that hold as many are served in
//! turn (round robin). The requests of a block are served in their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rollcall_core::AddressBlock;

use super::ledger::PieceId;

/// The queue. `None` stands for all clients that are not counted.
///
/// Invariant: `order` has one entry for each block that waits.
#[derive(Debug)]
pub(super) struct WaitingLine<W> {
    order: BTreeSet<Turn>,
    blocks: HashMap<Option<AddressBlock>, BlockLine<W>>,
    next_turn: u64,
    /// Units for which all requests wait.
    units: u64,
}

/// Units that the block holds, and the number of its turn.
type Turn = (u64, u64, Option<AddressBlock>);

#[derive(Debug)]
struct BlockLine<W> {
    held: u64,
    turn: u64,
    /// Units for which the block waits.
    units: u64,
    waiting: BTreeMap<PieceId, (u64, W)>,
}

impl<W> Default for WaitingLine<W> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), blocks: HashMap::new(), next_turn: 0, units: 0 }
    }
}

impl<W> WaitingLine<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Units for which all requests wait.
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// Units for which the requests of a block wait.
    pub(super) fn units_of(&self, block: Option<AddressBlock>) -> u64 {
        self.blocks.get(&block).map_or(0, |line| line.units)
    }

    /// Adds a request with a new `id`, which is greater than all earlier ones. `held`: units that
    /// its block holds.
    pub(super) fn push(&mut self, block: Option<AddressBlock>, held: u64, id: PieceId, units: u64, waiter: W) {
        let turn = self.new_turn();
        let line = self.blocks.entry(block).or_insert_with(|| {
            self.order.insert((held, turn, block));
            BlockLine { held, turn, units: 0, waiting: BTreeMap::new() }
        });
        line.units += units;
        self.units += units;
        line.waiting.insert(id, (units, waiter));
    }

    /// Units of the request that is served next.
    pub(super) fn next_units(&self) -> Option<u64> {
        let (_, _, block) = self.order.first()?;
        self.blocks[block].waiting.first_key_value().map(|(_, (units, _))| *units)
    }

    /// Takes the request that is served next, with its block and its id.
    pub(super) fn pop(&mut self) -> Option<(Option<AddressBlock>, PieceId, W)> {
        let (_, _, block) = *self.order.first()?;
        let id = *self.blocks[&block].waiting.first_key_value()?.0;
        let waiter = self.remove(block, id)?;
        let turn = self.new_turn();
        self.set_turn(block, |line| line.turn = turn);
        Some((block, id, waiter))
    }

    /// Removes a request.
    pub(super) fn remove(&mut self, block: Option<AddressBlock>, id: PieceId) -> Option<W> {
        let line = self.blocks.get_mut(&block)?;
        let (units, waiter) = line.waiting.remove(&id)?;
        line.units -= units;
        self.units -= units;
        if line.waiting.is_empty() {
            self.order.remove(&(line.held, line.turn, block));
            self.blocks.remove(&block);
        }
        Some(waiter)
    }

    /// Records that a block holds `held` units now.
    pub(super) fn set_held(&mut self, block: Option<AddressBlock>, held: u64) {
        self.set_turn(block, |line| line.held = held);
    }

    fn set_turn(&mut self, block: Option<AddressBlock>, change: impl FnOnce(&mut BlockLine<W>)) {
        let Some(line) = self.blocks.get_mut(&block) else { return };
        self.order.remove(&(line.held, line.turn, block));
        change(line);
        self.order.insert((line.held, line.turn, block));
    }

    fn new_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }
}
