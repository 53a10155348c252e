//! Limit on connections; at the limit, the longest idle ones are evicted.
//!
//! Clients keep connections open between heartbeats. A node may have more clients than its process
//! may have connections. If no slot is free, a new connection makes the node close the connections
//! that were idle longest. A client whose connection was closed opens a new one for its next
//! heartbeat.
//!
//! Invariant: a connection on which a request runs is never chosen for eviction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle_timer::IdleTimer;
use crate::http::limits::{
    EVICTION_BATCH, MAX_CONNECTIONS, MAX_SLOT_WAIT, MIN_CONNECTIONS, MIN_IDLE_BEFORE_EVICTION, RESERVED_FILES,
};

/// The number of connections that this process may serve. Raises the limit on open files first, as
/// far as needed and allowed.
pub(super) fn max_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS + RESERVED_FILES;
    let new_limit = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let files = match current {
        // The system sets no limit.
        None => wanted,
        Some(current) if current >= new_limit => current,
        Some(current) => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(new_limit), maximum }).map_or(current, |()| new_limit)
        }
    };
    let slots = files.saturating_sub(RESERVED_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    usize::try_from(slots).expect("a small number")
}

/// The connection limit. Clones share one state.
#[derive(Clone)]
pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<TakenSlots>>,
}

/// Taken slots whose connections were not asked to close yet.
#[derive(Default)]
struct TakenSlots {
    next_id: u64,
    slots: HashMap<u64, (IdleTimer, Arc<Notify>)>,
}

/// The slot of one connection. Dropping it frees the slot.
pub(super) struct ConnectionSlot {
    id: u64,
    limit: ConnectionLimit,
    evict: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// Creates a limit of `count` connections.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default() }
    }

    /// Takes a free slot for a connection with this idle timer, if there is one.
    pub(super) fn try_acquire(&self, idle: &IdleTimer) -> Option<ConnectionSlot> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.add_slot(permit, idle))
    }

    /// Evicts idle connections and waits for a slot. `None` if none becomes free within
    /// [`MAX_SLOT_WAIT`].
    pub(super) async fn acquire_by_eviction(&self, idle: &IdleTimer) -> Option<ConnectionSlot> {
        self.evict_idle();
        let permit = timeout(MAX_SLOT_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?;
        Some(self.add_slot(permit, idle))
    }

    fn add_slot(&self, permit: OwnedSemaphorePermit, idle: &IdleTimer) -> ConnectionSlot {
        let evict = Arc::new(Notify::new());
        let mut taken = self.lock();
        let id = taken.next_id;
        taken.next_id += 1;
        taken.slots.insert(id, (idle.clone(), Arc::clone(&evict)));
        ConnectionSlot { id, limit: self.clone(), evict, _permit: permit }
    }

    /// Asks the longest idle connections to close.
    fn evict_idle(&self) {
        let mut taken = self.lock();
        let idle_time_and_id = |(id, (idle, _)): (&u64, &(IdleTimer, Arc<Notify>))| Some((idle.idle_time()?, *id));
        let mut candidates: Vec<_> = taken
            .slots
            .iter()
            .filter_map(idle_time_and_id)
            .filter(|(idle_time, _)| *idle_time >= MIN_IDLE_BEFORE_EVICTION)
            .collect();
        // Sorted from the longest idle time to the shortest.
        candidates.sort_unstable_by(|one, other| other.cmp(one));
        for (_, id) in candidates.into_iter().take(EVICTION_BATCH) {
            // Each connection is asked only once.
            taken.slots.remove(&id).into_iter().for_each(|(_, evict)| evict.notify_one());
        }
    }

    /// For tests: waits until all `count` slots are free.
    #[cfg(test)]
    pub(super) async fn wait_until_all_free(&self, count: u32) {
        drop(self.free.acquire_many(count).await);
    }

    /// The lock is held for one operation only.
    fn lock(&self) -> MutexGuard<'_, TakenSlots> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Waits until this connection is asked to close.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.lock().slots.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn evicted(slot: &ConnectionSlot) -> bool {
        slot.evicted().now_or_never().is_some()
    }

    #[test]
    fn the_number_of_slots_follows_the_limit_on_open_files() {
        let slots = max_connections();
        let max_files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let expected = max_files.saturating_sub(RESERVED_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        assert_eq!(slots as u64, expected);
        assert!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) >= expected);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_is_evicted_and_busy_or_new_ones_are_not() {
        let limit = ConnectionLimit::new(3);
        let connect = || {
            let idle = IdleTimer::new();
            (limit.try_acquire(&idle).unwrap(), idle)
        };
        let (busy, busy_timer) = connect();
        let _request = busy_timer.start_request();
        advance(MIN_IDLE_BEFORE_EVICTION).await;
        let (longest, _) = connect();
        advance(MIN_IDLE_BEFORE_EVICTION).await;
        let (new, _) = connect();
        let idle = IdleTimer::new();
        assert!(limit.try_acquire(&idle).is_none());
        let mut waiting = Box::pin(limit.acquire_by_eviction(&idle));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(evicted(&longest) && !evicted(&busy) && !evicted(&new));
        drop(longest);
        assert!(waiting.await.is_some());
        // The slot was dropped at once.
        assert!(limit.try_acquire(&idle).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_idle_connection_there_is_no_slot() {
        let limit = ConnectionLimit::new(1);
        let _new = limit.try_acquire(&IdleTimer::new()).unwrap();
        assert!(limit.acquire_by_eviction(&IdleTimer::new()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_batch_is_evicted_at_a_time_and_each_connection_once() {
        let count = 2 * EVICTION_BATCH;
        let limit = ConnectionLimit::new(count);
        let all: Vec<ConnectionSlot> = (0..count).map(|_| limit.try_acquire(&IdleTimer::new()).unwrap()).collect();
        advance(MIN_IDLE_BEFORE_EVICTION).await;
        for _ in 0..3 {
            let evicted_slots = |all: &[ConnectionSlot]| all.iter().filter(|slot| evicted(slot)).count();
            limit.evict_idle();
            let asked = evicted_slots(&all);
            assert!(asked == EVICTION_BATCH || limit.lock().slots.is_empty(), "{asked}");
        }
    }
}
