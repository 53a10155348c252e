//! State of a fair pool: its units, and the requests that wait for them.
//!
//! Each operation is called under one lock. It returns its messages as [`Effects`], which are sent
//! when the lock is free. `G` is the channel through which a request gets its units.

use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Work};
use super::ledger::{Activity, Displacement, Ledger, PROTECTED_MS, PieceId};
use super::waiting_line::WaitingLine;
use rollcall_core::AddressBlock;

/// The units of a pool, and the requests that wait for them.
#[derive(Debug)]
pub(super) struct PoolState<G> {
    pub(super) units: Ledger<Work>,
    /// The places of those who wait, or who are told that there was no unit.
    pub(super) places: Ledger<Work>,
    pub(super) line: WaitingLine<Waiter<G>>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter<G> {
    pub(super) claim: Claim,
    pub(super) grant: G,
}

/// Messages that are sent after the lock was released.
#[derive(Debug)]
pub(super) struct Effects<G> {
    pub(super) displaced: Vec<CancellationToken>,
    pub(super) granted: Vec<(G, PieceId)>,
}

impl<G> Default for Effects<G> {
    fn default() -> Self {
        Self { displaced: Vec::new(), granted: Vec::new() }
    }
}

impl Activity for Work {
    fn waiting_since_ms(&self) -> Option<u64> {
        self.progress.waiting_since_ms()
    }
}

impl<G> PoolState<G> {
    pub(super) fn new(units: usize, places: usize) -> Self {
        Self {
            units: Ledger::new(units as u64, Some(PROTECTED_MS)),
            // Everybody in the line waits, so equal clients have no reason to take a place from
            // each other. The first one is served next.
            places: Ledger::new(places as u64, None),
            line: WaitingLine::default(),
        }
    }

    /// Takes a place to wait. If all are taken, a larger holder of places loses one at once.
    pub(super) fn take_place(
        &mut self,
        client: Option<AddressBlock>,
        work: Work,
        now_ms: u64,
        effects: &mut Effects<G>,
    ) -> Option<PieceId> {
        if self.places.free() == 0 {
            let demand = client.map_or(0, |client| self.places.held_by(client)) + 1;
            let lost = self.places.displace(client, demand, now_ms)?;
            self.places.remove(lost.id);
            // Its sender is dropped, so it stops to wait.
            self.line.remove(lost.holder, lost.id);
            effects.displaced.push(lost.activity.displaced);
        }
        Some(self.places.add(client, 1, Some(work), now_ms))
    }

    /// Adds a request to those who wait, and displaces pieces until it can be served, as far as the
    /// rule permits. Work that still runs may take long to leave. So another request does not count
    /// on its units.
    pub(super) fn wait(&mut self, id: PieceId, waiter: Waiter<G>, now_ms: u64, effects: &mut Effects<G>) {
        let Claim { client, units, .. } = waiter.claim;
        let held = self.held_by(client);
        self.line.push(client, held, id, units, waiter);
        let leaving_before = self.units.leaving();
        while self.units.leaving() - leaving_before < units
            && self.units.free() + self.units.ending_at_once() < self.line.units()
        {
            let demand = if client.is_some() { self.held_by(client) + self.line.units_of(client) } else { units };
            if !self.displace(client, demand, now_ms, effects) {
                break;
            }
        }
    }

    fn displace(&mut self, client: Option<AddressBlock>, demand: u64, now_ms: u64, effects: &mut Effects<G>) -> bool {
        let displaced = self.units.displace(client, demand, now_ms);
        self.note_displaced(displaced, effects)
    }

    /// Displaces a piece without a newcomer, if none is about to leave.
    pub(super) fn make_room(&mut self, now_ms: u64, effects: &mut Effects<G>) {
        let displaced = self.units.make_room(now_ms);
        self.note_displaced(displaced, effects);
    }

    fn note_displaced(&mut self, displaced: Option<Displacement<Work>>, effects: &mut Effects<G>) -> bool {
        let Some(Displacement { holder, activity, .. }) = displaced else { return false };
        self.line.set_held(holder, self.held_by(holder));
        effects.displaced.push(activity.displaced);
        true
    }

    /// Gives free units to those who wait, in their order.
    pub(super) fn grant_free_units(&mut self, now_ms: u64, effects: &mut Effects<G>) {
        while self.line.next_units().is_some_and(|units| units <= self.units.free())
            && let Some((client, place, Waiter { claim, grant })) = self.line.pop()
        {
            self.places.remove(place);
            let id = self.units.add(client, claim.units, claim.work, now_ms);
            self.line.set_held(client, self.held_by(client));
            effects.granted.push((grant, id));
        }
    }

    pub(super) fn free(&mut self, id: PieceId) {
        let holder = self.units.remove(id);
        self.line.set_held(holder, self.held_by(holder));
    }

    fn held_by(&self, client: Option<AddressBlock>) -> u64 {
        client.map_or(0, |client| self.units.held_by(client))
    }
}
