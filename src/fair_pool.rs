//! Fair pool: a bounded number of units that clients share by longest-queue drop.
//!
//! While there is room, one client may hold everything. If the pool is full, a newcomer displaces a
//! piece of the client that holds the most ([`ledger`] has the rule) and waits for its units. Those
//! who wait are served fairly, too ([`waiting_line`]). A client is an [`AddressBlock`].
//!
//! The holder of a piece that was displaced is told by a [`CancellationToken`], and must drop the
//! piece soon. The pool does not end any work itself.
//!
//! The two types to read first are [`FairPool`] and [`Claim`].

mod claim;
mod ledger;
mod progress;
mod state;
mod waiting_line;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use claim::Work;
use ledger::PieceId;
use progress::ms_since;
use rollcall_core::AddressBlock;
use state::{Effects, PoolState, Waiter};

pub(crate) use claim::{Claim, Claimant};
pub(crate) use progress::PieceProgress;

/// The pool. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct FairPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Start of the time in the ledgers.
    epoch: Instant,
    state: Mutex<LockedState>,
}

/// A request that waits gets its units through a channel.
type LockedState = PoolState<oneshot::Sender<Piece>>;

/// Units of the pool. Dropping it frees them.
#[derive(Debug)]
pub(crate) struct Piece {
    pool: FairPool,
    id: PieceId,
}

/// A place among those who wait. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct WaitingPlace {
    pool: FairPool,
    id: PieceId,
    client: Option<AddressBlock>,
    displaced: CancellationToken,
}

/// A request that waits for units.
#[derive(Debug)]
pub(crate) struct Waiting {
    place: WaitingPlace,
    grant: oneshot::Receiver<Piece>,
}

/// The first answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Granted(Piece),
    Waiting(Waiting),
    /// All places are taken by requests with at least the same right.
    Full,
}

/// A request that got no units.
#[derive(Debug)]
pub(crate) enum ClaimRefusal {
    /// None became free in time. The request keeps its place until it is dropped.
    TimedOut(WaitingPlace),
    /// All places were taken, or another client got the place of this request, or its connection.
    Full,
}

impl FairPool {
    /// A pool of `units` units, with `places` for requests that wait.
    pub(crate) fn new(units: usize, places: usize) -> Self {
        Self(Arc::new(Shared { epoch: Instant::now(), state: Mutex::new(PoolState::new(units, places)) }))
    }

    /// The progress of new work: idle since now.
    pub(crate) fn new_progress(&self) -> PieceProgress {
        PieceProgress::new(self.0.epoch)
    }

    /// Asks for units. If none are free, displaces pieces of larger holders.
    pub(crate) fn request(&self, claim: Claim) -> Answer {
        let now_ms = ms_since(self.0.epoch);
        let mut effects = Effects::default();
        let mut state = self.lock();
        if state.line.is_empty() && state.units.free() >= claim.units {
            let id = state.units.add(claim.client, claim.units, claim.work, now_ms);
            return Answer::Granted(Piece { pool: self.clone(), id });
        }
        let displaced = CancellationToken::new();
        let work = Work { progress: self.new_progress(), displaced: displaced.clone() };
        let Some(id) = state.take_place(claim.client, work, now_ms, &mut effects) else { return Answer::Full };
        let (grant, granted) = oneshot::channel();
        let client = claim.client;
        state.wait(id, Waiter { claim, grant }, now_ms, &mut effects);
        state.grant_free_units(now_ms, &mut effects);
        drop(state);
        self.run(effects);
        Answer::Waiting(Waiting { place: WaitingPlace { pool: self.clone(), id, client, displaced }, grant: granted })
    }

    /// Asks for units and waits for them. A client whose connection was displaced waits no longer:
    /// the connection must leave soon, and does not leave before its request has ended.
    ///
    /// # Errors
    /// [`ClaimRefusal`] if no units become free within `limit`, if no place to wait is left, or if
    /// the connection of the client is displaced.
    pub(crate) async fn acquire(&self, claim: Claim, limit: Duration) -> Result<Piece, ClaimRefusal> {
        let withdrawn = claim.withdrawn.clone();
        match self.request(claim) {
            Answer::Granted(piece) => Ok(piece),
            Answer::Waiting(waiting) => {
                let granted = waiting.granted(limit);
                match withdrawn {
                    Some(withdrawn) => withdrawn.run_until_cancelled(granted).await.unwrap_or(Err(ClaimRefusal::Full)),
                    None => granted.await,
                }
            }
            Answer::Full => Err(ClaimRefusal::Full),
        }
    }

    /// Displaces the piece of the largest holder that waits longest for its client, without a
    /// newcomer. Nothing happens while another piece is about to leave.
    pub(crate) fn make_room(&self) {
        let mut effects = Effects::default();
        self.lock().make_room(ms_since(self.0.epoch), &mut effects);
        self.run(effects);
    }

    /// Units that nobody holds.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        usize::try_from(self.lock().units.free()).expect("a small number")
    }

    /// Units of displaced pieces that are not freed yet.
    #[cfg(test)]
    pub(crate) fn leaving(&self) -> usize {
        usize::try_from(self.lock().units.leaving()).expect("a small number")
    }

    fn change(&self, change: impl FnOnce(&mut LockedState)) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        change(&mut state);
        state.grant_free_units(ms_since(self.0.epoch), &mut effects);
        drop(state);
        self.run(effects);
    }

    /// Sends the messages. A piece whose receiver has gone is dropped, which takes the lock. So the
    /// lock must be free.
    fn run(&self, effects: Effects<oneshot::Sender<Piece>>) {
        effects.displaced.iter().for_each(CancellationToken::cancel);
        for (grant, id) in effects.granted {
            let _ = grant.send(Piece { pool: self.clone(), id });
        }
    }

    /// The lock is held for one operation only.
    fn lock(&self) -> MutexGuard<'_, LockedState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits for the units.
    ///
    /// # Errors
    /// [`ClaimRefusal`] if none become free within `limit`, or if the place was displaced.
    pub(crate) async fn granted(mut self, limit: Duration) -> Result<Piece, ClaimRefusal> {
        match timeout(limit, &mut self.grant).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(_)) => Err(ClaimRefusal::Full),
            Err(_) => {
                let WaitingPlace { id, client, .. } = self.place;
                self.place.pool.change(|state| drop(state.line.remove(client, id)));
                // The units may have been granted a moment ago.
                self.grant.try_recv().map_err(|_| ClaimRefusal::TimedOut(self.place))
            }
        }
    }
}

impl WaitingPlace {
    /// Waits until another client gets this place.
    pub(crate) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pool.change(|state| state.free(self.id));
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.pool.change(|state| {
            state.line.remove(self.client, self.id);
            state.places.remove(self.id);
        });
    }
}

#[cfg(test)]
mod tests;
