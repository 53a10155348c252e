//! What a node does as leadership comes and goes: makes the list of users complete, drains before a handover, and keeps the
//! clock of presence.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::registry::Registry;
use crate::replication::Flusher;
use rollcall_core::Term;
use rollcall_core::clock::boot_now;
use rollcall_election::Role;

/// How often presence is told that this process runs, and followers are told how many clients are online.
const PULSE: Duration = Duration::from_millis(250);

/// How long a new leader waits for what the other nodes know before it reads the bucket instead.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// How long after that it reads the bucket all the same: when the election is over and done with.
const READ_BUCKET_AFTER: Duration = Duration::from_secs(10);

/// Whenever this node begins to serve, others may have written to the bucket since: the list of users is made whole.
pub(super) async fn follow_leadership(registry: Registry, mut role: watch::Receiver<Role>) {
    loop {
        let Ok(term) = role.wait_for(|role| role.is_serving(boot_now())).await.map(|role| role.term) else { return };
        registry.begin_term(term);
        let over = async { role.wait_for(|role| role.term != term).await.is_err() };
        tokio::select! {
            closed = over => if closed { return },
            () = complete_users(&registry, term) => {
                if role.wait_for(|role| role.term != term).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Makes the list of users whole. If the other nodes can tell all that is missing, the bucket is read later, for what was
/// stored without being acknowledged; else at once.
pub(super) async fn complete_users(registry: &Registry, term: Term) {
    let mut coverage = registry.coverage();
    let may_claim_complete = coverage.borrow().may_claim_complete();
    if may_claim_complete {
        let others_told = coverage.wait_for(|coverage| coverage.users_in(term).may_list_users());
        if timeout(WAIT_FOR_OTHERS, others_told).await.is_ok() {
            sleep(READ_BUCKET_AFTER).await;
        }
    }
    registry.rebuild_index(term).await;
}

/// Whenever this node is about to hand over: waits for what is under way and until the others know its outcome, and says so.
pub(super) async fn drain(
    under_way: TaskTracker,
    flusher: Flusher,
    mut role: watch::Receiver<Role>,
    drained: Arc<Notify>,
) {
    while role.wait_for(Role::is_handing_over).await.is_ok() {
        under_way.close();
        let all_done = async {
            under_way.wait().await;
            flusher.flush().await;
        };
        tokio::select! {
            () = all_done => drained.notify_one(),
            // It has been waited for long enough.
            _ = role.wait_for(|role| !role.is_handing_over()) => {}
        }
        under_way.reopen();
        if role.wait_for(|role| !role.is_handing_over()).await.is_err() {
            return;
        }
    }
}

/// Tells presence that this process runs and whether it serves, and the election how many clients are online. Whoever waits
/// for a client's time-out learns of it from here, so at most [`PULSE`] late.
pub(super) async fn pulse(registry: Registry, role: watch::Receiver<Role>, online: watch::Sender<u64>) {
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let serves = role.borrow().is_serving(boot_now());
        if serves {
            registry.note_active_leader(boot_now());
        }
        registry.tick(boot_now());
        let count = u64::try_from(registry.online_count(boot_now())).unwrap_or(u64::MAX);
        online.send_replace(count);
    }
}
