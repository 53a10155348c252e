//! Joins the replica to the election's links, to the registry and to the clock; holds no policy.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};
use uuid::Uuid;

use super::message::Message;
use super::replica::{Output, Replica};
use super::store::Store;
use crate::registry::{Coverage, Registry, RowNo, Rows};
use rollcall_core::clock::boot_now;
use rollcall_core::{BootMs, Term, Username};
use rollcall_election::{Inbound, Role, Transport};

/// How often changes are told. What a leader was told since may be lost with it.
const TICK: Duration = Duration::from_millis(100);

/// The longest that a leader which hands over waits until its followers have its last changes.
const FLUSH_TIME: Duration = Duration::from_millis(100);

/// Asks the running replication to tell what this node knows.
#[derive(Clone, Debug)]
pub struct Flusher(mpsc::Sender<oneshot::Sender<()>>);

/// Keeps what this node knows the same as what its leader knows, and the other way round.
pub struct Replication {
    registry: Registry,
    transport: Transport,
    role: watch::Receiver<Role>,
    replica: Replica,
    clients_up_to_date_at: watch::Sender<Option<BootMs>>,
    users_complete_at: watch::Sender<Option<BootMs>>,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    /// Who waits until the followers have everything.
    waiting: Option<oneshot::Sender<()>>,
}

/// The registry at one moment.
struct View<'r> {
    registry: &'r Registry,
    now: BootMs,
}

#[expect(clippy::disallowed_methods, reason = "the driver draws what its pure part is given")]
fn draw_id() -> Uuid {
    Uuid::new_v4()
}

impl Flusher {
    /// Waits until the followers have all that this node knew when it was called, 100 ms at most.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            if self.0.send(done).await.is_ok() {
                let _ = is_done.await;
            }
        };
        // Whether it is done or given up: whoever hands over goes on.
        let _ = timeout(FLUSH_TIME, flushed).await;
    }
}

impl Replication {
    /// A replication that has not begun.
    #[must_use]
    pub fn new(registry: Registry, transport: Transport, role: watch::Receiver<Role>) -> (Self, Flusher) {
        let (drawn, _) = draw_id().as_u64_pair();
        let replica = Replica::new(transport.me(), transport.count(), drawn);
        let (flush, flushes) = mpsc::channel(1);
        let this = Self {
            registry,
            transport,
            role,
            replica,
            clients_up_to_date_at: watch::Sender::new(None),
            users_complete_at: watch::Sender::new(None),
            flushes,
            waiting: None,
        };
        (this, Flusher(flush))
    }

    /// When this node's clients were last [`Coverage::UpToDate`] with its leader, on this machine's boot clock; `None` if
    /// they never were.
    #[must_use]
    pub fn clients_up_to_date_at(&self) -> watch::Receiver<Option<BootMs>> {
        self.clients_up_to_date_at.subscribe()
    }

    /// When this node's users were last [`Coverage::Complete`], on the same clock.
    #[must_use]
    pub fn users_complete_at(&self) -> watch::Receiver<Option<BootMs>> {
        self.users_complete_at.subscribe()
    }

    /// Runs until the election ends.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let registry = self.registry.clone();
        loop {
            let now = boot_now;
            let outputs = tokio::select! {
                changed = self.role.changed() => match changed {
                    Ok(()) => self.take_role(),
                    Err(_) => return,
                },
                inbound = self.transport.receive() => match inbound {
                    Some(inbound) => self.take(&inbound),
                    None => return,
                },
                () = registry.wait_for_new_users() => self.replica.flush(&mut View { registry: &registry, now: now() }),
                Some(done) = self.flushes.recv() => {
                    self.waiting = Some(done);
                    self.replica.flush(&mut View { registry: &registry, now: now() })
                }
                _ = ticks.tick() => self.tick(),
            };
            for output in outputs {
                self.perform(output);
            }
            self.publish();
        }
    }

    /// Leads from the moment at which this node serves; follows from the moment at which it does not lead.
    fn take_role(&mut self) -> Vec<Output> {
        // Read before the role: of the terms that began until now the role tells whether they are over. One that a request
        // begins from now on is not meant by what is ended below.
        let begun = self.registry.term();
        let role = self.role.borrow_and_update();
        let (term, leads) = (role.term, role.leads());
        let now = boot_now();
        let begins = role.is_serving(now) && self.replica.leads() != Some(term);
        drop(role);
        let mut view = View { registry: &self.registry, now };
        if begins {
            self.registry.begin_term(term);
            return self.replica.lead(term, &mut view, now);
        }
        if !leads {
            self.replica.follow(&mut view);
            // Also if a term was begun by a request and was over before this noticed.
            self.registry.end_replication(begun);
        }
        Vec::new()
    }

    fn tick(&mut self) -> Vec<Output> {
        // A request may begin its term so late that the role does not change any more.
        let mut outputs = self.take_role();
        let role = self.role.borrow();
        // After the role, as in every comparison of a lease with the clock.
        let now = boot_now();
        let serves = role.is_serving(now);
        drop(role);
        outputs.extend(self.replica.tick(&mut View { registry: &self.registry, now }, serves, now));
        outputs
    }

    fn take(&mut self, inbound: &Inbound) -> Vec<Output> {
        // It may have changed since the message began to be waited for.
        self.replica.remember(self.transport.saved_term());
        let now = boot_now();
        let Some(message) = Message::decode(&inbound.payload) else {
            debug!("what node {} sent is no message of a replica", inbound.from.node.0);
            return Vec::new();
        };
        self.replica.heard(inbound.from.node, message, &mut View { registry: &self.registry, now }, now)
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send(to, message) => {
                let payload = message.encode();
                for node in to {
                    // What is dropped here is missed there, and pulled.
                    let _ = self.transport.send(node, payload.clone());
                }
            }
            Output::Led => self.registry.note_active_leader(boot_now()),
            Output::Confirmed(upto) => self.registry.confirm_majority(upto),
            Output::Clients(term, coverage) => self.registry.raise_clients(term, coverage),
            Output::Users(term, coverage) => {
                info!("the list of users is whole: a majority of the nodes told what it knows");
                self.registry.raise_users(term, coverage);
            }
        }
    }

    fn publish(&mut self) {
        self.transport.set_may_take_over(self.replica.may_take_over());
        let freshness = self.replica.freshness();
        tell(&self.clients_up_to_date_at, freshness.clients);
        tell(&self.users_complete_at, freshness.users);
        if self.replica.is_flushed(boot_now())
            && let Some(done) = self.waiting.take()
        {
            // Whoever does not wait any more went on without it.
            let _ = done.send(());
        }
    }
}

fn tell<T: PartialEq>(told: &watch::Sender<T>, now: T) {
    told.send_if_modified(|before| {
        let is_news = *before != now;
        *before = now;
        is_news
    });
}

impl Store for View<'_> {
    fn merge(&mut self, rows: &Rows) {
        self.registry.merge(rows, self.now);
    }

    fn take_changes(&mut self) -> Option<(Rows, Option<RowNo>)> {
        self.registry.take_changes(self.now)
    }

    fn clients_after(&mut self, after: Option<&Username>) -> Rows {
        self.registry.clients_after(after, self.now)
    }

    fn users_after(&mut self, after: Option<&Username>) -> Rows {
        self.registry.users_after(after)
    }

    fn may_claim_complete(&self) -> bool {
        self.registry.coverage().borrow().may_claim_complete()
    }

    fn note_complete(&mut self) {
        self.registry.note_complete();
    }

    fn users_in(&self, term: Term) -> Coverage {
        self.registry.coverage().borrow().users_in(term)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::registry::testing::replicated;
    use rollcall_core::NodeAddr;
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

    /// Whether a user that registers now is one to tell the others of.
    fn is_tracked(registry: &Registry, user: &str) -> bool {
        registry.merge(&Rows::of_user(Username::parse(user).unwrap()), boot_now());
        registry.take_changes(boot_now()).is_some()
    }

    /// Requests begin terms while the replication is about to find that the term before is over.
    #[test]
    fn a_term_that_a_request_begins_is_not_ended_with_the_one_before() {
        const TERMS: u64 = 3000;
        let registry = replicated(boot_now());
        let role = watch::Sender::new(follower_of(0));
        let (transport, _links) = Transport::unconnected(&peers());
        let (mut replication, _flusher) = Replication::new(registry.clone(), transport, role.subscribe());
        // How often it has looked at the role.
        let (looks, over) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while over.load(Ordering::Acquire) == 0 {
                    replication.take_role();
                    looks.fetch_add(1, Ordering::AcqRel);
                }
            });
            let mut lost = Vec::new();
            for term in 1..=TERMS {
                role.send_replace(follower_of(term));
                role.send_replace(leader_of(term));
                registry.begin_term(Term(term));
                // The look that is under way, and one more.
                let seen = looks.load(Ordering::Acquire);
                while looks.load(Ordering::Acquire) < seen + 2 {
                    thread::yield_now();
                }
                if !is_tracked(&registry, &format!("u{term}")) {
                    lost.push(term);
                }
            }
            over.store(1, Ordering::Release);
            assert!(lost.is_empty(), "nothing is told in {} of {TERMS} terms: {lost:?}", lost.len());
        });
    }

    #[test]
    fn a_leaders_own_list_is_a_copy_from_when_it_served_last() {
        let role = watch::Sender::new(leader_of(1));
        let (transport, _links) = Transport::unconnected(&peers());
        let (mut replication, _flusher) = Replication::new(replicated(boot_now()), transport, role.subscribe());
        let began = boot_now();
        replication.tick();
        replication.publish();
        let served_at = replication.clients_up_to_date_at().borrow().expect("it serves");
        assert!(served_at >= began);
        // As when it slept through its lease: nothing has told it yet.
        let ended = RoleState::Leader { serves_until: boot_now(), handing_over: false };
        role.send_replace(Role { state: ended, ..leader_of(1) });
        thread::sleep(Duration::from_millis(5));
        replication.tick();
        replication.publish();
        assert_eq!(*replication.clients_up_to_date_at().borrow(), Some(served_at));
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_a_request_begins_when_it_is_over_already_is_ended() {
        let registry = replicated(boot_now());
        let role = watch::Sender::new(follower_of(1));
        let (transport, _links) = Transport::unconnected(&peers());
        let (replication, _flusher) = Replication::new(registry.clone(), transport, role.subscribe());
        let late = async {
            tokio::time::sleep(TICK / 2).await;
            registry.begin_term(Term(1));
            assert!(is_tracked(&registry, "alice"));
            tokio::time::sleep(TICK).await;
            assert!(!is_tracked(&registry, "bob"));
        };
        tokio::select! {
            () = replication.run() => panic!("it ends only with the election"),
            () = late => {}
        }
    }
}
