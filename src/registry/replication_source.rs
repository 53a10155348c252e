//! The registry's side of the replication: what it tells other nodes, takes in from them, and waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::debug;

use super::coverage::{Coverage, TermCoverage};
use super::coverage_watch::CoverageWatch;
use super::online::online_clients::OnlineClients;
use super::replicated_rows::{RowNo, Rows};
use super::users::profile_store::ProfileStore;
use rollcall_core::{BootMs, Term, Username};

/// How long a registration waits until a majority knows it: longer than a node is away whose link broke for a moment,
/// shorter than clients wait.
const MAX_WAIT_FOR_MAJORITY: Duration = Duration::from_secs(2);

/// How long a question who is online waits until a new leader was told by the others.
const MAX_WAIT_FOR_CLIENTS: Duration = Duration::from_secs(1);

/// Which new rows a majority knows: those after `floor` up to `up_to`.
#[derive(Clone, Copy, Debug)]
struct MajorityWatermark {
    floor: RowNo,
    up_to: RowNo,
}

/// In time, no majority said that it knows a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotReplicated;

impl MajorityWatermark {
    /// A majority knows nothing of what comes after `floor`.
    fn starting_at(floor: RowNo) -> Self {
        Self { floor, up_to: floor }
    }
}

/// This node's side of the replication: its terms, what changed in its tables, and what is known of
/// them elsewhere.
pub(super) struct ReplicationSource {
    profiles: Arc<ProfileStore>,
    online: Arc<OnlineClients>,
    coverage: Arc<CoverageWatch>,
    /// The term that runs: the same as the index has, without its lock.
    term: AtomicU64,
    watermark: watch::Sender<MajorityWatermark>,
    /// There are new users to tell the other nodes of.
    new_users: Notify,
    replicated: bool,
}

impl ReplicationSource {
    /// A source in no term. `replicated`: there are other nodes to tell.
    pub(super) fn new(
        profiles: Arc<ProfileStore>,
        clients: Arc<OnlineClients>,
        coverage: Arc<CoverageWatch>,
        replicated: bool,
    ) -> Self {
        Self {
            profiles,
            online: clients,
            coverage,
            term: AtomicU64::new(0),
            watermark: watch::Sender::new(MajorityWatermark::starting_at(RowNo::default())),
            new_users: Notify::new(),
            replicated,
        }
    }

    /// The term that began last.
    pub(super) fn term(&self) -> Term {
        self.profiles.term()
    }

    /// Begins an term: others may have written to the bucket until now, so the index counts as not whole and names
    /// missed before are asked for again. To be followed by a rebuild of it. An older term is ignored.
    ///
    /// It costs next to nothing if the term runs already, so it can be called with every request: nothing may be answered
    /// in an term that has not begun.
    pub(super) fn begin_term(&self, term: Term) {
        if term.0 <= self.term.load(Ordering::Acquire) {
            return;
        }
        let mut index = self.profiles.index();
        // Another thread may have come first.
        if term > index.term() {
            index.begin_term(term);
            let floor = index.set_replication(self.replicated);
            self.online.begin_term(term, self.replicated);
            self.coverage.change(|node| node.begin_term(term));
            if self.replicated {
                self.watermark.send_replace(MajorityWatermark::starting_at(floor));
            }
            self.term.store(term.0, Ordering::Release);
        }
    }

    /// Ends the replication of `ended`: this node takes no registrations and heartbeats in it any more. What was not taken by
    /// [`Self::take_changes`] is forgotten as a change, not as a fact. If a later term has begun meanwhile, nothing is done:
    /// its changes are to be told.
    pub(super) fn end_replication(&self, ended: Term) {
        let mut index = self.profiles.index();
        if index.term() <= ended {
            index.set_replication(false);
            // Under both locks, as an term begins.
            self.online.stop_replication();
        }
    }

    /// Some of what changed, and up to which new users all have been given; `None` if nothing did.
    pub(super) fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        if let Some((users, up_to)) = self.profiles.index().take_pending(Rows::MAX_BYTES) {
            return Some((Rows { users, clients: Vec::new() }, Some(up_to)));
        }
        let clients = self.online.with_table(now, |table, now| table.take_unreplicated(Rows::MAX_CLIENTS, now));
        (!clients.is_empty()).then(|| (Rows { clients, users: Vec::new() }, None))
    }

    /// Some clients after a name, or from the first on; none only if there are no more.
    pub(super) fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        let clients = self.online.with_table(now, |table, now| table.rows_after(after, Rows::MAX_CLIENTS, now));
        Rows { clients, users: Vec::new() }
    }

    /// Some users after a name, or from the first on; none only if there are no more.
    pub(super) fn users_after(&self, after: Option<&Username>) -> Rows {
        Rows { users: self.profiles.index().rows_after(after, Rows::MAX_BYTES), clients: Vec::new() }
    }

    /// Takes in what another node told.
    pub(super) fn merge(&self, rows: &Rows, now: BootMs) {
        if !rows.clients.is_empty() {
            self.online.with_table(now, |table, now| rows.clients.iter().for_each(|client| table.merge(client, now)));
        }
        if !rows.users.is_empty() {
            let index = &mut *self.profiles.index();
            rows.users.iter().for_each(|row| index.merge(row));
        }
    }

    /// Takes in what a snapshot on disk says that was made `downtime_ms` ago. Users count only once their names are watermark.
    pub(super) fn load_snapshot(&self, rows: Rows, downtime_ms: u64, now: BootMs) {
        let Rows { clients, users } = rows;
        self.online.with_table(now, |table, now| {
            for client in clients {
                table.merge(&client.restored_after(downtime_ms), now);
            }
        });
        let index = &mut *self.profiles.index();
        for row in &users {
            index.add_unconfirmed(row);
        }
    }

    /// Notes that at least so much of the users is here in `term`. An term that ended meanwhile is not marked: then others
    /// may have written since.
    pub(super) fn raise_users(&self, term: Term, coverage: Coverage) {
        let mut index = self.profiles.index();
        if index.term() == term {
            if coverage.may_list_users() {
                debug!(users = index.len(), "the list of users is complete");
            }
            index.raise(coverage);
            self.coverage.change(|node| node.raise_users(term, coverage));
        }
    }

    /// Waits until this node knows who is online in `term` as well as any other, 1 s at most: a new leader that was not in
    /// step asks the others first. If none of them answers, it knows it best.
    pub(super) async fn wait_for_clients(&self, term: Term) {
        if self.replicated {
            let may_answer = |coverage: &TermCoverage| coverage.clients_in(term).may_answer_online();
            self.coverage.wait_for(term, MAX_WAIT_FOR_CLIENTS, may_answer).await;
        }
    }

    /// Notes that a majority knows the new rows up to `up_to`.
    pub(super) fn confirm_majority(&self, up_to: RowNo) {
        self.watermark.send_modify(|watermark| watermark.up_to = watermark.up_to.max(up_to));
    }

    /// Waits until there are new users to tell the others of. For one waiter.
    pub(super) async fn wait_for_new_users(&self) {
        self.new_users.notified().await;
    }

    /// Waits until a majority knows a row, 2 s at most. One that was told in an earlier term is told again.
    pub(super) async fn wait_for_majority(&self, name: &Username) -> Result<(), NotReplicated> {
        if !self.replicated {
            return Ok(());
        }
        let mut watermark = self.watermark.subscribe();
        let known = async {
            loop {
                let MajorityWatermark { floor, up_to } = *watermark.borrow_and_update();
                // A new term begins with a new floor, and then the row gets a new number.
                let no = self.profiles.index().number_after(floor, name);
                if no.is_some_and(|no| no <= up_to) {
                    return;
                }
                self.new_users.notify_one();
                // The sender lives as long as this registry.
                let _ = watermark.changed().await;
            }
        };
        timeout(MAX_WAIT_FOR_MAJORITY, known).await.map_err(|_| NotReplicated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{caller, name, replicated};
    use super::super::{Credentials, Registry};
    use super::*;

    /// What is to be told of a user who registers now and says that it is online: whether the one and the other.
    async fn replicated_after_heartbeat(registry: &Registry, user: &str) -> (bool, bool) {
        registry.merge(&Rows::of_user(name(user)), BootMs(0));
        registry.heartbeat(&name(user), None, Credentials::None, caller(BootMs(0))).await.expect("registered");
        let rows: Vec<Rows> = std::iter::from_fn(|| registry.take_changes(BootMs(0))).map(|(rows, _)| rows).collect();
        (rows.iter().any(|rows| !rows.users.is_empty()), rows.iter().any(|rows| !rows.clients.is_empty()))
    }

    #[tokio::test]
    async fn the_end_of_an_epoch_that_comes_late_does_not_end_the_next_one() {
        let registry = replicated(BootMs(0));
        registry.begin_term(Term(1));
        assert_eq!(replicated_after_heartbeat(&registry, "alice").await, (true, true));
        registry.begin_term(Term(2));
        registry.end_replication(Term(1));
        assert_eq!(replicated_after_heartbeat(&registry, "bob").await, (true, true));
        registry.end_replication(Term(2));
        assert_eq!(replicated_after_heartbeat(&registry, "carol").await, (false, false));
        registry.begin_term(Term(3));
        assert_eq!(replicated_after_heartbeat(&registry, "dave").await, (true, true));
    }
}
