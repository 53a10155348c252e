//! Driver of the replica: connects it to the election's links, the registry and the clock. It
//! performs the replica's actions and holds no policy.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::message::ReplicaMessage;
use super::registry_tables::RegistryTables;
use super::replica::{Action, Replica};
use crate::registry::{AbsurdValue, Registry};
use rollcall_core::BootMs;
use rollcall_core::clock::boot_now;
use rollcall_election::{Inbound, Role, Transport};

/// Interval at which changes are sent. A registration does not wait for the tick. Heartbeats since
/// the last tick may be lost if the leader fails.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// Longest wait for the followers to acknowledge the last changes before a handover.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// Handle to flush the running replication.
#[derive(Clone, Debug)]
pub struct FlushHandle(mpsc::Sender<oneshot::Sender<()>>);

/// Replication of one node: pulls and merges the tables of its leader, or sends its own changes to
/// its followers.
pub struct Replication {
    registry: Registry,
    transport: Transport,
    role: watch::Receiver<Role>,
    replica: Replica,
    clients_up_to_date_at: watch::Sender<Option<BootMs>>,
    users_complete_at: watch::Sender<Option<BootMs>>,
    flush_requests: mpsc::Receiver<oneshot::Sender<()>>,
    /// Notifies the caller of [`FlushHandle::flush`] once the followers have every change.
    flush_waiter: Option<oneshot::Sender<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the driver draws the randomness of the pure replica")]
fn random_id() -> Uuid {
    Uuid::new_v4()
}

impl FlushHandle {
    /// Waits until the followers have all changes made before the call, `FLUSH_TIMEOUT` at most.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            if self.0.send(done).await.is_ok() {
                let _ = is_done.await;
            }
        };
        // The handover continues after a timeout too.
        let _ = timeout(FLUSH_TIMEOUT, flushed).await;
    }
}

impl Replication {
    /// A replication that does not run yet, and its flush handle.
    #[must_use]
    pub fn new(registry: Registry, transport: Transport, role: watch::Receiver<Role>) -> (Self, FlushHandle) {
        let (random, _) = random_id().as_u64_pair();
        let replica = Replica::new(transport.me(), transport.count(), random);
        let (flush, flush_requests) = mpsc::channel(1);
        let this = Self {
            registry,
            transport,
            role,
            replica,
            clients_up_to_date_at: watch::Sender::new(None),
            users_complete_at: watch::Sender::new(None),
            flush_requests,
            flush_waiter: None,
        };
        (this, FlushHandle(flush))
    }

    /// When this node's clients were last [up to date](crate::registry::Coverage::UpToDate), on
    /// this machine's boot clock. `None` if they never were.
    #[must_use]
    pub fn clients_up_to_date_at(&self) -> watch::Receiver<Option<BootMs>> {
        self.clients_up_to_date_at.subscribe()
    }

    /// When this node's users were last [complete](crate::registry::Coverage::Complete), on the
    /// same clock.
    #[must_use]
    pub fn users_complete_at(&self) -> watch::Receiver<Option<BootMs>> {
        self.users_complete_at.subscribe()
    }

    /// Runs until the election ends.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let registry = self.registry.clone();
        loop {
            let now = boot_now;
            let actions = tokio::select! {
                changed = self.role.changed() => match changed {
                    Ok(()) => self.update_role(),
                    Err(_) => return,
                },
                inbound = self.transport.receive() => match inbound {
                    Some(inbound) => self.handle_inbound(&inbound),
                    None => return,
                },
                () = registry.wait_for_new_users() => self.replica.flush(&mut RegistryTables { registry: &registry, now: now() }),
                Some(done) = self.flush_requests.recv() => {
                    self.flush_waiter = Some(done);
                    self.replica.flush(&mut RegistryTables { registry: &registry, now: now() })
                }
                _ = ticks.tick() => self.tick(),
            };
            for action in actions {
                self.perform(action);
            }
            self.publish();
        }
    }

    /// Applies the election's role: the replica leads once this node serves, and follows once this
    /// node no longer leads.
    fn update_role(&mut self) -> Vec<Action> {
        // Read before the role, so that the role below is newer than this term. A term that a
        // request begins after this line must not be ended below.
        let latest_term = self.registry.term();
        let role = self.role.borrow_and_update();
        let (term, leads) = (role.term, role.leads());
        let now = boot_now();
        let starts_leading = role.is_serving(now) && self.replica.leading_term() != Some(term);
        drop(role);
        let mut tables = RegistryTables { registry: &self.registry, now };
        if starts_leading {
            self.registry.begin_term(term);
            return self.replica.start_leading(term, &mut tables, now);
        }
        if !leads {
            self.replica.follow(&mut tables);
            // A request may have begun a term that was over before this method ran. This ends it as
            // well.
            self.registry.end_replication(latest_term);
        }
        Vec::new()
    }

    fn tick(&mut self) -> Vec<Action> {
        // A request may begin a term after the last change of the role.
        let mut actions = self.update_role();
        let role = self.role.borrow();
        // Read after the role: a lease must be compared with a later time.
        let now = boot_now();
        let serves = role.is_serving(now);
        drop(role);
        actions.extend(self.replica.tick(&mut RegistryTables { registry: &self.registry, now }, serves, now));
        actions
    }

    fn handle_inbound(&mut self, inbound: &Inbound) -> Vec<Action> {
        // The saved term may have changed while this task waited for the message.
        self.replica.set_saved_term(self.transport.saved_term());
        let now = boot_now();
        let Some(message) = ReplicaMessage::decode(&inbound.payload) else {
            debug!(node = inbound.from.node.0, "ignored an invalid replication message");
            return Vec::new();
        };
        self.replica.handle_message(
            inbound.from.node,
            message,
            &mut RegistryTables { registry: &self.registry, now },
            now,
        )
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(to, message) => {
                let payload = message.encode();
                for node in to {
                    // If a batch is dropped here, the follower notices the gap and pulls the rows.
                    let _ = self.transport.send(node, payload.clone());
                }
            }
            Action::LeaderHeard => self.registry.note_active_leader(boot_now()),
            Action::Confirm(up_to) => self.registry.confirm_majority(up_to),
            Action::RaiseClients(term, coverage) => self.registry.raise_clients(term, coverage),
            Action::LogAbsurdValue(from, AbsurdValue { field, value }) => warn!(
                node = %self.transport.addr(from),
                field,
                value,
                "ignored an impossible value in a message: that node is damaged, or a foreign program has its address; \
                 if it is a node, check its host and its program, and start it again"
            ),
            Action::RaiseUsers(term, coverage) => {
                info!(term = term.0, "the list of users is complete: a majority of the nodes reported it");
                self.registry.raise_users(term, coverage);
            }
        }
    }

    fn publish(&mut self) {
        self.transport.set_may_take_over(self.replica.may_take_over());
        let freshness = self.replica.freshness();
        send_if_changed(&self.clients_up_to_date_at, freshness.clients_up_to_date_at);
        send_if_changed(&self.users_complete_at, freshness.users_complete_at);
        if self.replica.is_flushed(boot_now())
            && let Some(done) = self.flush_waiter.take()
        {
            // The caller may have timed out.
            let _ = done.send(());
        }
    }
}

fn send_if_changed<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let is_changed = *current != value;
        *current = value;
        is_changed
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::registry::Rows;
    use crate::registry::testing::replicated;
    use rollcall_core::{NodeAddr, Term, Username};
    use rollcall_election::{Peers, RoleState};

    fn peers() -> Peers {
        let addrs: Vec<NodeAddr> = (1..=3).map(|port| format!("127.0.0.1:{port}").parse().unwrap()).collect();
        Peers::new(addrs.clone(), addrs[0]).expect("a member")
    }

    fn follower_of(term: u64) -> Role {
        Role::starting(Term(term), boot_now())
    }

    fn leader_of(term: u64) -> Role {
        let state = RoleState::Leader { serves_until: boot_now().plus(3_600_000), handing_over: false };
        Role { state, ..follower_of(term) }
    }

    /// Whether a user that registers now is queued for the other nodes.
    fn is_queued(registry: &Registry, user: &str) -> bool {
        registry.merge(&Rows::of_user(Username::parse(user).unwrap()), boot_now());
        registry.take_changes(boot_now()).is_some()
    }

    /// Each request begins a term while the replication may still be ending the previous one.
    #[test]
    fn the_end_of_a_term_does_not_end_the_next_term() {
        const TERMS: u64 = 3000;
        let registry = replicated(boot_now());
        let role = watch::Sender::new(follower_of(0));
        let (transport, _links) = Transport::unconnected(&peers());
        let (mut replication, _flush_handle) = Replication::new(registry.clone(), transport, role.subscribe());
        // The number of calls of `update_role`, and whether the test is over.
        let (updates, over) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while over.load(Ordering::Acquire) == 0 {
                    replication.update_role();
                    updates.fetch_add(1, Ordering::AcqRel);
                }
            });
            let mut lost = Vec::new();
            for term in 1..=TERMS {
                role.send_replace(follower_of(term));
                role.send_replace(leader_of(term));
                registry.begin_term(Term(term));
                // The update in progress, and one more.
                let seen = updates.load(Ordering::Acquire);
                while updates.load(Ordering::Acquire) < seen + 2 {
                    thread::yield_now();
                }
                if !is_queued(&registry, &format!("u{term}")) {
                    lost.push(term);
                }
            }
            over.store(1, Ordering::Release);
            assert!(lost.is_empty(), "nothing is replicated in {} of {TERMS} terms: {lost:?}", lost.len());
        });
    }

    #[test]
    fn the_freshness_of_a_leader_is_the_time_at_which_it_last_served() {
        let role = watch::Sender::new(leader_of(1));
        let (transport, _links) = Transport::unconnected(&peers());
        let (mut replication, _flush_handle) = Replication::new(replicated(boot_now()), transport, role.subscribe());
        let began = boot_now();
        replication.tick();
        replication.publish();
        let served_at = replication.clients_up_to_date_at().borrow().expect("it serves");
        assert!(served_at >= began);
        // The node has slept through its lease, and the election has not reported it yet.
        let ended = RoleState::Leader { serves_until: boot_now(), handing_over: false };
        role.send_replace(Role { state: ended, ..leader_of(1) });
        thread::sleep(Duration::from_millis(5));
        replication.tick();
        replication.publish();
        assert_eq!(*replication.clients_up_to_date_at().borrow(), Some(served_at));
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_term_that_a_late_request_begins_is_ended_at_the_next_tick() {
        let registry = replicated(boot_now());
        let role = watch::Sender::new(follower_of(1));
        let (transport, _links) = Transport::unconnected(&peers());
        let (replication, _flush_handle) = Replication::new(registry.clone(), transport, role.subscribe());
        let late = async {
            tokio::time::sleep(TICK_INTERVAL / 2).await;
            registry.begin_term(Term(1));
            assert!(is_queued(&registry, "alice"));
            tokio::time::sleep(TICK_INTERVAL).await;
            assert!(!is_queued(&registry, "bob"));
        };
        tokio::select! {
            () = replication.run() => panic!("the replication ends only with the election"),
            () = late => {}
        }
    }
}
