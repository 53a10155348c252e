//! The registry's side of replication: changes to send, rows to merge, and waiting for a majority.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::debug;

use super::coverage::{Coverage, TermCoverage};
use super::coverage_watch::CoverageWatch;
use super::online::online_clients::OnlineClients;
use super::replicated_rows::bounds::{AbsurdValue, remove_absurd_values};
use super::replicated_rows::{RowNo, Rows};
use super::users::profile_store::ProfileStore;
use rollcall_core::{BootMs, Term, Username, WallMs};

/// Longest wait of a registration for a majority. A link that breaks for a moment recovers within
/// this time. Shorter than the request timeout of clients.
const MAX_WAIT_FOR_MAJORITY: Duration = Duration::from_secs(2);

/// Longest wait of a query for online clients until the other nodes have replied to a new leader.
const MAX_WAIT_FOR_CLIENTS: Duration = Duration::from_secs(1);

/// Watermark of replication: a majority has the users with row numbers after `floor`, up to and
/// including `up_to`.
#[derive(Clone, Copy, Debug)]
struct MajorityWatermark {
    floor: RowNo,
    up_to: RowNo,
}

/// A row was not acknowledged by a majority in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotReplicated;

impl MajorityWatermark {
    /// A watermark at which a majority has no row after `floor`.
    fn starting_at(floor: RowNo) -> Self {
        Self { floor, up_to: floor }
    }
}

/// The registry's side of replication: the current term, the changes to send, and the rows that a
/// majority has.
pub(super) struct ReplicationSource {
    profiles: Arc<ProfileStore>,
    online: Arc<OnlineClients>,
    coverage: Arc<CoverageWatch>,
    /// Copy of the index's term, readable without the lock of the index.
    term: AtomicU64,
    watermark: watch::Sender<MajorityWatermark>,
    /// Signals that a registration or password change waits for a majority.
    new_users: Notify,
    replicated: bool,
}

impl ReplicationSource {
    /// A source before its first term. `replicated`: whether the cluster has other nodes.
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

    /// The current term.
    pub(super) fn term(&self) -> Term {
        self.profiles.term()
    }

    /// Begins a term. Other nodes may have written to the bucket until now. So the index is
    /// incomplete again, and a name that was not found is looked up again. The caller must rebuild
    /// the index next. An older term is ignored.
    ///
    /// The call is nearly free if the term has already begun, so it may precede every request. No
    /// request may be answered in a term that has not begun.
    pub(super) fn begin_term(&self, term: Term) {
        if term.0 <= self.term.load(Ordering::Acquire) {
            return;
        }
        let mut index = self.profiles.index();
        // Another thread may have begun the term first.
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

    /// Ends the replication of term `ended`, in which this node accepts no more registrations and
    /// heartbeats. The queue of changes is emptied; the tables stay. Does nothing if a later term
    /// has begun, because its changes must be replicated.
    pub(super) fn end_replication(&self, ended: Term) {
        let mut index = self.profiles.index();
        if index.term() <= ended {
            index.set_replication(false);
            // The lock of the index is still held, as in `begin_term`.
            self.online.stop_replication();
        }
    }

    /// The next batch of changes to replicate; `None` if there are none. If the batch has users,
    /// the number is the row number of the last one.
    pub(super) fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        if let Some((users, up_to)) = self.profiles.index().take_pending(Rows::MAX_BYTES) {
            return Some((Rows { users, clients: Vec::new() }, Some(up_to)));
        }
        let clients = self.online.with_table(now, |table, now| table.take_unreplicated(Rows::CLIENTS, now));
        (!clients.is_empty()).then(|| (Rows { clients, users: Vec::new() }, None))
    }

    /// The next batch of clients with names after `after`, or from the start. Empty only at the
    /// end.
    pub(super) fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        let clients = self.online.with_table(now, |table, now| table.rows_after(after, Rows::CLIENTS, now));
        Rows { clients, users: Vec::new() }
    }

    /// The next batch of users with names after `after`, or from the start. Empty only at the end.
    pub(super) fn users_after(&self, after: Option<&Username>) -> Rows {
        Rows { users: self.profiles.index().rows_after(after, Rows::MAX_BYTES), clients: Vec::new() }
    }

    /// Merges rows received from another node.
    pub(super) fn merge(&self, rows: &Rows, now: BootMs) {
        if !rows.clients.is_empty() {
            self.online.with_table(now, |table, now| rows.clients.iter().for_each(|client| table.merge(client, now)));
        }
        if !rows.users.is_empty() {
            let index = &mut *self.profiles.index();
            rows.users.iter().for_each(|row| index.merge(row));
        }
    }

    /// Loads the rows of a snapshot of the time `written_at`, written `downtime_ms` ago. Its users
    /// stay unlisted until their names are found in the bucket. Absurd values are ignored; returns
    /// the first one.
    pub(super) fn load_snapshot(
        &self,
        rows: Rows,
        written_at: WallMs,
        downtime_ms: u64,
        now: BootMs,
    ) -> Option<AbsurdValue> {
        let clients = rows.clients.into_iter().map(|client| client.restored_after(downtime_ms, written_at)).collect();
        let mut rows = Rows { clients, users: rows.users };
        // The ballot is not known yet, so the terms are bounded as for a node without one.
        let absurd = remove_absurd_values(&mut rows, Term::default());
        self.online.with_table(now, |table, now| rows.clients.iter().for_each(|client| table.merge(client, now)));
        let index = &mut *self.profiles.index();
        rows.users.iter().for_each(|row| index.add_unconfirmed(row));
        absurd
    }

    /// Raises the coverage of the users in `term`. Ignored if another term has begun meanwhile,
    /// because other nodes may have written since.
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

    /// Waits until this node may answer queries for online clients in `term`, for at most
    /// [`MAX_WAIT_FOR_CLIENTS`]. A new leader that was not up to date waits for the reports of the
    /// other nodes. If they do not reply in time, it answers from its own data.
    pub(super) async fn wait_for_clients(&self, term: Term) {
        if self.replicated {
            let may_answer = |coverage: &TermCoverage| coverage.clients_in(term).may_answer_online();
            self.coverage.wait_for(term, MAX_WAIT_FOR_CLIENTS, may_answer).await;
        }
    }

    /// Records that a majority has the new rows up to the number `up_to`.
    pub(super) fn confirm_majority(&self, up_to: RowNo) {
        self.watermark.send_modify(|watermark| watermark.up_to = watermark.up_to.max(up_to));
    }

    /// Waits until a registration or password change waits for a majority. For a single caller.
    pub(super) async fn wait_for_new_users(&self) {
        self.new_users.notified().await;
    }

    /// Waits until a majority has the row of `name`, for at most [`MAX_WAIT_FOR_MAJORITY`]. A row
    /// that was sent in an earlier term is queued again.
    pub(super) async fn wait_for_majority(&self, name: &Username) -> Result<(), NotReplicated> {
        if !self.replicated {
            return Ok(());
        }
        let mut watermark = self.watermark.subscribe();
        let known = async {
            loop {
                let MajorityWatermark { floor, up_to } = *watermark.borrow_and_update();
                // If a new term has begun, the floor is higher, and the row gets a new number.
                let row_no = self.profiles.index().number_after(floor, name);
                if row_no.is_some_and(|row_no| row_no <= up_to) {
                    return;
                }
                self.new_users.notify_one();
                // The channel stays open, because `self` owns the sender.
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

    /// Registers a user and sends a heartbeat. Returns whether a user row and a client row are
    /// queued for replication.
    async fn replicated_after_heartbeat(registry: &Registry, user: &str) -> (bool, bool) {
        registry.merge(&Rows::of_user(name(user)), BootMs(0));
        registry.heartbeat(&name(user), None, Credentials::None, caller(BootMs(0))).await.expect("registered");
        let rows: Vec<Rows> = std::iter::from_fn(|| registry.take_changes(BootMs(0))).map(|(rows, _)| rows).collect();
        (rows.iter().any(|rows| !rows.users.is_empty()), rows.iter().any(|rows| !rows.clients.is_empty()))
    }

    #[tokio::test]
    async fn ending_an_old_term_late_does_not_end_replication_of_the_next() {
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
