//! Tasks of a node that react to changes of leadership: they complete the list of users, drain
//! requests before a handover, and tick the presence clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::registry::Registry;
use crate::replication::FlushHandle;
use rollcall_core::Term;
use rollcall_core::clock::{boot_now, wall_now};
use rollcall_election::Role;

/// Interval at which the presence clock is observed, and the number of online clients is given to
/// the election.
const PRESENCE_INTERVAL: Duration = Duration::from_millis(250);

/// Time that a new leader waits for the reports of other nodes before it reads the bucket.
const WAIT_FOR_REPORTS: Duration = Duration::from_secs(1);

/// Delay between the reports and the read of the bucket, so that the read does not slow the start
/// of a term.
const READ_BUCKET_AFTER: Duration = Duration::from_secs(10);

/// Completes the list of users each time this node starts to serve, because earlier leaders may
/// have written to the bucket. Returns when the election has ended.
pub(super) async fn rebuild_when_leading(registry: Registry, mut role: watch::Receiver<Role>) {
    loop {
        let Ok(term) = role.wait_for(|role| role.is_serving(boot_now())).await.map(|role| role.term) else { return };
        registry.begin_term(term);
        let over = async { role.wait_for(|role| role.term != term).await.is_err() };
        tokio::select! {
            closed = over => if closed { return },
            () = keep_users_complete(&registry, term) => {
                if role.wait_for(|role| role.term != term).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Completes the list of users. Then adds users that other programs register in the bucket.
async fn keep_users_complete(registry: &Registry, term: Term) {
    complete_users(registry, term).await;
    registry.search_for_new_profiles(term).await;
}

/// Completes the list of users. If the reports of the other nodes complete the list within
/// [`WAIT_FOR_REPORTS`], the bucket is read later, for users that were stored but not acknowledged.
/// Otherwise the bucket is read then. A node that was never complete does not wait.
pub(super) async fn complete_users(registry: &Registry, term: Term) {
    let mut coverage = registry.coverage();
    let may_claim_complete = coverage.borrow().may_claim_complete();
    if may_claim_complete {
        let reported = coverage.wait_for(|coverage| coverage.users_in(term).may_list_users());
        if timeout(WAIT_FOR_REPORTS, reported).await.is_ok() {
            sleep(READ_BUCKET_AFTER).await;
        }
    }
    registry.rebuild_index(term).await;
}

/// Drains the node before each handover: waits for the requests in flight and for their
/// replication, and then notifies the election.
pub(super) async fn drain(
    in_flight: TaskTracker,
    replication: FlushHandle,
    mut role: watch::Receiver<Role>,
    drained: Arc<Notify>,
) {
    while role.wait_for(Role::is_handing_over).await.is_ok() {
        in_flight.close();
        let all_drained = async {
            in_flight.wait().await;
            replication.flush().await;
        };
        tokio::select! {
            () = all_drained => drained.notify_one(),
            // The handover has ended, or was given up.
            _ = role.wait_for(|role| !role.is_handing_over()) => {}
        }
        in_flight.reopen();
        if role.wait_for(|role| !role.is_handing_over()).await.is_err() {
            return;
        }
    }
}

/// Ticks the presence clock, compares it with the wall clock, notes this node as the active leader
/// while it serves, and publishes the number of online clients to the election. Without requests,
/// the timeout of a client is detected here, at most [`PRESENCE_INTERVAL`] late.
pub(super) async fn refresh_presence(registry: Registry, role: watch::Receiver<Role>, online: watch::Sender<u64>) {
    let mut ticks = interval(PRESENCE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let serves = role.borrow().is_serving(boot_now());
        if serves {
            registry.note_active_leader(boot_now());
        }
        registry.update_wall_time(boot_now(), wall_now());
        registry.tick(boot_now());
        let count = u64::try_from(registry.online_count(boot_now())).unwrap_or(u64::MAX);
        online.send_replace(count);
    }
}
