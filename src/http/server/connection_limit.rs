//! How many connections are served at once, and who must leave when there are more.
//!
//! Clients like to keep a connection open from one heartbeat to the next, and there may be more of them than a process can
//! have connections. So whoever is idle for longest leaves for who comes; the next heartbeat of a client that had to leave
//! opens a new one. Nobody leaves in the middle of a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::idle::Idle;
use crate::http::limits::{
    EVICTED_AT_ONCE, MAX_CONNECTIONS, MIN_CONNECTIONS, MIN_IDLE_TIME, RESERVED_FILES, SLOT_WAIT,
};

/// As many connections as this process may have. Asks the system for more files first, as many as it may have.
pub(super) fn most_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS + RESERVED_FILES;
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let files = match current {
        // Without a limit, or with one that is high enough.
        None => wanted,
        Some(current) if current >= raised => current,
        Some(current) => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).map_or(current, |()| raised)
        }
    };
    let slots = files.saturating_sub(RESERVED_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    usize::try_from(slots).expect("a small number")
}

/// The limit on connections. All clones are one.
#[derive(Clone)]
pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    slots: HashMap<u64, (Idle, Arc<Notify>)>,
}

/// A connection's slot, until it is dropped.
pub(super) struct ConnectionSlot {
    number: u64,
    limit: ConnectionLimit,
    leave: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), taken: Arc::default() }
    }

    /// A free slot for a connection that is `idle` as this says, if there is one.
    pub(super) fn take(&self, idle: &Idle) -> Option<ConnectionSlot> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.slot(permit, idle))
    }

    /// A slot of somebody who leaves for this; `None` if nobody can.
    pub(super) async fn take_anothers(&self, idle: &Idle) -> Option<ConnectionSlot> {
        self.ask_to_leave();
        let permit = timeout(SLOT_WAIT, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?;
        Some(self.slot(permit, idle))
    }

    fn slot(&self, permit: OwnedSemaphorePermit, idle: &Idle) -> ConnectionSlot {
        let leave = Arc::new(Notify::new());
        let mut taken = self.lock();
        let number = taken.next;
        taken.next += 1;
        taken.slots.insert(number, (idle.clone(), Arc::clone(&leave)));
        ConnectionSlot { number, limit: self.clone(), leave, _permit: permit }
    }

    /// Asks those who are idle for longest to leave.
    fn ask_to_leave(&self) {
        let mut taken = self.lock();
        let since = |(number, (idle, _)): (&u64, &(Idle, Arc<Notify>))| Some((idle.lasts()?, *number));
        let mut idle: Vec<_> =
            taken.slots.iter().filter_map(since).filter(|(lasts, _)| *lasts >= MIN_IDLE_TIME).collect();
        idle.sort_unstable_by(|one, other| other.cmp(one));
        for (_, number) in idle.into_iter().take(EVICTED_AT_ONCE) {
            // It is asked once.
            taken.slots.remove(&number).into_iter().for_each(|(_, leave)| leave.notify_one());
        }
    }

    /// For tests: waits until all `count` slots are free.
    #[cfg(test)]
    pub(super) async fn all_free(&self, count: u32) {
        drop(self.free.acquire_many(count).await);
    }

    /// The lock is held for one operation.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Waits until this connection should leave for another.
    pub(super) async fn is_wanted(&self) {
        self.leave.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.lock().slots.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn is_wanted(slot: &ConnectionSlot) -> bool {
        slot.is_wanted().now_or_never().is_some()
    }

    #[test]
    fn there_are_seats_for_thousands_where_the_system_allows_it_and_never_none() {
        let slots = most_connections();
        let may_have = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let expected = may_have.saturating_sub(RESERVED_FILES).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
        assert_eq!(slots as u64, expected);
        assert!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) >= expected);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_idle_for_longest_leaves_and_who_is_busy_or_just_came_stays() {
        let limit = ConnectionLimit::new(3);
        let sit = || {
            let idle = Idle::new();
            (limit.take(&idle).unwrap(), idle)
        };
        let (busy, of_busy) = sit();
        let _request = of_busy.begin();
        advance(MIN_IDLE_TIME).await;
        let (longest, _) = sit();
        advance(MIN_IDLE_TIME).await;
        let (new, _) = sit();
        let idle = Idle::new();
        assert!(limit.take(&idle).is_none());
        let mut waiting = Box::pin(limit.take_anothers(&idle));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(is_wanted(&longest) && !is_wanted(&busy) && !is_wanted(&new));
        drop(longest);
        assert!(waiting.await.is_some());
        // Its slot was given back.
        assert!(limit.take(&idle).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn if_nobody_can_leave_there_is_no_seat() {
        let limit = ConnectionLimit::new(1);
        let _new = limit.take(&Idle::new()).unwrap();
        assert!(limit.take_anothers(&Idle::new()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_some_leave_for_one_and_each_is_asked_once() {
        let count = 2 * EVICTED_AT_ONCE;
        let limit = ConnectionLimit::new(count);
        let all: Vec<ConnectionSlot> = (0..count).map(|_| limit.take(&Idle::new()).unwrap()).collect();
        advance(MIN_IDLE_TIME).await;
        for _ in 0..3 {
            let wanted = |all: &[ConnectionSlot]| all.iter().filter(|slot| is_wanted(slot)).count();
            limit.ask_to_leave();
            let asked = wanted(&all);
            assert!(asked == EVICTED_AT_ONCE || limit.lock().slots.is_empty(), "{asked}");
        }
    }
}
