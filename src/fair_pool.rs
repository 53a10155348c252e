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

mod ledger;
mod progress;
mod state;
mod waiting_line;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use ledger::PieceId;
use progress::ms_since;
use rollcall_core::AddressBlock;
use state::{Effects, PoolState, Waiter, Work};

pub(crate) use progress::PieceProgress;
pub(crate) use state::Claim;

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
    /// All places were taken, or another client got the place of this request.
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

    /// Asks for units and waits for them.
    ///
    /// # Errors
    /// [`ClaimRefusal`] if no units become free within `limit`, or if no place to wait is left.
    pub(crate) async fn acquire(&self, claim: Claim, limit: Duration) -> Result<Piece, ClaimRefusal> {
        match self.request(claim) {
            Answer::Granted(piece) => Ok(piece),
            Answer::Waiting(waiting) => waiting.granted(limit).await,
            Answer::Full => Err(ClaimRefusal::Full),
        }
    }

    /// Displaces the piece of the largest holder that waits longest for its client, without a
    /// newcomer.
    pub(crate) fn make_room(&self) {
        let mut effects = Effects::default();
        self.lock().displace(None, 0, ms_since(self.0.epoch), &mut effects);
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
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::ledger::PROTECTED_MS;
    use super::*;

    /// Less than the time for which a piece is protected.
    const LIMIT: Duration = Duration::from_millis(500);

    fn block(n: u8) -> AddressBlock {
        AddressBlock::of(IpAddr::from([10, 0, 0, n]))
    }

    /// A claim of one unit, and the token that says whether it was displaced.
    fn claim(pool: &FairPool, n: u8) -> (Claim, CancellationToken) {
        let displaced = CancellationToken::new();
        (Claim::displaceable(block(n), pool.new_progress(), displaced.clone()), displaced)
    }

    fn take(pool: &FairPool, n: u8) -> (Piece, CancellationToken) {
        let (claim, displaced) = claim(pool, n);
        (pool.acquire(claim, LIMIT).now_or_never().unwrap().unwrap(), displaced)
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_may_hold_everything_until_another_one_comes() {
        let pool = FairPool::new(3, 4);
        let mut held: Vec<_> = (0..3).map(|_| take(&pool, 1)).collect();
        let mut newcomer = Box::pin(pool.acquire(claim(&pool, 2).0, LIMIT));
        assert!(newcomer.as_mut().now_or_never().is_none());
        let is_displaced = |held: &[(Piece, CancellationToken)]| -> Vec<_> {
            held.iter().map(|(_, displaced)| displaced.is_cancelled()).collect()
        };
        assert_eq!(is_displaced(&held), [true, false, false]);
        held.remove(0);
        assert!(newcomer.await.is_ok());
        assert_eq!(pool.free(), 1, "the granted piece was dropped");
        // With a free unit nobody is displaced.
        let _ = take(&pool, 2);
        assert_eq!(is_displaced(&held), [false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_freed_unit_goes_to_the_client_that_holds_least_and_then_in_turn() {
        let pool = FairPool::new(2, 8);
        let fixed = |n| Box::pin(pool.acquire(Claim::fixed(block(n)), LIMIT));
        let mut running: Vec<_> = vec![(1, fixed(1).await.unwrap()), (1, fixed(1).await.unwrap())];
        let mut waiting: Vec<_> = [1, 1, 1, 2, 2, 3].map(|n| (n, fixed(n))).into();
        assert!(waiting.iter_mut().all(|(_, waiting)| waiting.now_or_never().is_none()));
        let mut served = Vec::new();
        while !waiting.is_empty() {
            running.remove(0);
            for index in (0..waiting.len()).rev() {
                if let Some(piece) = waiting[index].1.as_mut().now_or_never() {
                    let (n, _) = waiting.remove(index);
                    served.push(n);
                    running.push((n, piece.unwrap()));
                }
            }
        }
        assert_eq!(served, [2, 1, 3, 2, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_in_vain_is_refused_and_frees_its_place() {
        let pool = FairPool::new(1, 1);
        let _held = pool.acquire(Claim::fixed(block(1)), LIMIT).await.unwrap();
        for _ in 0..2 {
            let started = Instant::now();
            let refused = pool.acquire(Claim::fixed(block(2)), LIMIT).await;
            assert!(matches!(refused, Err(ClaimRefusal::TimedOut(_))));
            assert_eq!(started.elapsed(), LIMIT);
            assert!(matches!(pool.request(Claim::fixed(block(2))), Answer::Full), "its place is taken until it ends");
        }
        let dropped = Box::pin(pool.acquire(Claim::fixed(block(2)), LIMIT)).now_or_never();
        assert!(dropped.is_none());
        assert!(matches!(pool.request(Claim::fixed(block(2))), Answer::Waiting(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_gives_a_place_of_its_largest_client_to_a_newcomer() {
        let pool = FairPool::new(1, 2);
        let _held = pool.acquire(Claim::fixed(block(1)), LIMIT).await.unwrap();
        let wait = |n| Box::pin(pool.acquire(Claim::fixed(block(n)), LIMIT));
        let (mut first, mut second) = (wait(1), wait(1));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert!(matches!(wait(1).now_or_never(), Some(Err(ClaimRefusal::Full))), "the own places are protected");
        let mut newcomer = wait(2);
        assert!((&mut newcomer).now_or_never().is_none());
        assert!(matches!(first.now_or_never(), Some(Err(ClaimRefusal::Full))));
        assert!((&mut second).now_or_never().is_none());
        advance(Duration::from_millis(PROTECTED_MS)).await;
        let _third = pool.request(Claim::fixed(block(3)));
        assert!(
            matches!(second.now_or_never(), Some(Err(ClaimRefusal::Full))),
            "of equal clients the first one is displaced"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_newcomer_displaces_only_what_it_needs() {
        let pool = FairPool::new(8, 8);
        let held: Vec<_> = (0..8).map(|_| take(&pool, 1)).collect();
        let displaced = || held.iter().filter(|(_, displaced)| displaced.is_cancelled()).count();
        let mut waiting = Vec::new();
        for (units, expected) in [(1, 1), (2, 3), (1, 4), (1, 4)] {
            let mut newcomer = Box::pin(pool.acquire(claim(&pool, 2).0.units(units), LIMIT));
            assert!(newcomer.as_mut().now_or_never().is_none());
            waiting.push(newcomer);
            assert_eq!(displaced(), expected);
        }
        pool.make_room();
        assert_eq!(displaced(), 5);
    }
}
