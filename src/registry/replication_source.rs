//! The registry's side of the replication: what it tells other nodes, takes in from them, and waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::debug;

use super::coverage::{Coverage, TermCoverage};
use super::coverage_watch::CoverageWatch;
use super::online::clients::Clients;
use super::users::profiles::Profiles;
use super::users::rows::{RowNo, Rows};
use rollcall_core::{BootMs, Term, Username};

/// How long a registration waits until a majority knows it: longer than a node is away whose link broke for a moment,
/// shorter than clients wait.
const WAIT_FOR_MAJORITY: Duration = Duration::from_secs(2);

/// How long a question who is online waits until a new leader was told by the others.
const WAIT_FOR_CLIENTS: Duration = Duration::from_secs(1);

/// Which new rows a majority knows: those after `floor` up to `upto`.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    floor: RowNo,
    upto: RowNo,
}

/// In time, no majority said that it knows a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotReplicated;

impl Confirmed {
    /// A majority knows nothing of what comes after `floor`.
    fn none_after(floor: RowNo) -> Self {
        Self { floor, upto: floor }
    }
}

/// This node's side of the replication: its terms, what changed in its tables, and what is known of
/// them elsewhere.
pub(super) struct ReplicationSource {
    profiles: Arc<Profiles>,
    clients: Arc<Clients>,
    coverage: Arc<CoverageWatch>,
    /// The term that runs: the same as the index has, without its lock.
    term: AtomicU64,
    confirmed: watch::Sender<Confirmed>,
    /// There are new users to tell the other nodes of.
    news: Notify,
    replicated: bool,
}

impl ReplicationSource {
    /// A source in no term. `replicated`: there are other nodes to tell.
    pub(super) fn new(
        profiles: Arc<Profiles>,
        clients: Arc<Clients>,
        coverage: Arc<CoverageWatch>,
        replicated: bool,
    ) -> Self {
        Self {
            profiles,
            clients,
            coverage,
            term: AtomicU64::new(0),
            confirmed: watch::Sender::new(Confirmed::none_after(RowNo::default())),
            news: Notify::new(),
            replicated,
        }
    }

    /// The term that began last.
    pub(super) fn term(&self) -> Term {
        self.profiles.term()
    }

    /// Begins an epoch: others may have written to the bucket until now, so the index counts as not whole and names
    /// missed before are asked for again. To be followed by a rebuild of it. An older epoch is ignored.
    ///
    /// It costs next to nothing if the epoch runs already, so it can be called with every request: nothing may be answered
    /// in an epoch that has not begun.
    pub(super) fn begin_term(&self, epoch: Term) {
        if epoch.0 <= self.term.load(Ordering::Acquire) {
            return;
        }
        let mut index = self.profiles.index();
        // Another thread may have come first.
        if epoch > index.epoch() {
            index.begin(epoch);
            let floor = index.track(self.replicated);
            self.clients.begin(epoch, self.replicated);
            self.coverage.change(|node| node.begin(epoch));
            if self.replicated {
                self.confirmed.send_replace(Confirmed::none_after(floor));
            }
            self.term.store(epoch.0, Ordering::Release);
        }
    }

    /// Ends the replication of `ended`: this node takes no registrations and heartbeats in it any more. What was not taken by
    /// [`Self::take_changes`] is forgotten as a change, not as a fact. If a later epoch has begun meanwhile, nothing is done:
    /// its changes are to be told.
    pub(super) fn end_replication(&self, ended: Term) {
        let mut index = self.profiles.index();
        if index.epoch() <= ended {
            index.track(false);
            // Under both locks, as an epoch begins.
            self.clients.end_tracking();
        }
    }

    /// Some of what changed, and up to which new users all have been given; `None` if nothing did.
    pub(super) fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        if let Some((users, upto)) = self.profiles.index().take_fresh(Rows::MOST_BYTES) {
            return Some((Rows { users, beats: Vec::new() }, Some(upto)));
        }
        let beats = self.clients.ask(now, |table, now| table.take_changed(Rows::MOST_BEATS, now));
        (!beats.is_empty()).then(|| (Rows { beats, users: Vec::new() }, None))
    }

    /// Some clients after a name, or from the first on; none only if there are no more.
    pub(super) fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        let beats = self.clients.ask(now, |table, now| table.rows_after(after, Rows::MOST_BEATS, now));
        Rows { beats, users: Vec::new() }
    }

    /// Some users after a name, or from the first on; none only if there are no more.
    pub(super) fn users_after(&self, after: Option<&Username>) -> Rows {
        Rows { users: self.profiles.index().rows_after(after, Rows::MOST_BYTES), beats: Vec::new() }
    }

    /// Takes in what another node told.
    pub(super) fn merge(&self, rows: &Rows, now: BootMs) {
        if !rows.beats.is_empty() {
            self.clients.ask(now, |table, now| rows.beats.iter().for_each(|beat| table.merge(beat, now)));
        }
        if !rows.users.is_empty() {
            let index = &mut *self.profiles.index();
            rows.users.iter().for_each(|row| index.merge(row));
        }
    }

    /// Takes in what a snapshot on disk says that was made `away_ms` ago. Users count only once their names are confirmed.
    pub(super) fn remember(&self, rows: Rows, away_ms: u64, now: BootMs) {
        let Rows { beats, users } = rows;
        self.clients.ask(now, |table, now| {
            for beat in beats {
                table.merge(&beat.remembered(away_ms), now);
            }
        });
        let index = &mut *self.profiles.index();
        for row in &users {
            index.remember(row);
        }
    }

    /// Notes that at least so much of the users is here in `epoch`. An epoch that ended meanwhile is not marked: then others
    /// may have written since.
    pub(super) fn raise_users(&self, epoch: Term, coverage: Coverage) {
        let mut index = self.profiles.index();
        if index.epoch() == epoch {
            if coverage.may_list_users() {
                debug!(users = index.len(), "the list of users is complete");
            }
            index.raise(coverage);
            self.coverage.change(|node| node.raise_users(epoch, coverage));
        }
    }

    /// Waits until this node knows who is online in `epoch` as well as any other, 1 s at most: a new leader that was not in
    /// step asks the others first. If none of them answers, it knows it best.
    pub(super) async fn wait_for_clients(&self, epoch: Term) {
        if self.replicated {
            let may_answer = |coverage: &TermCoverage| coverage.clients_in(epoch).may_answer_online();
            self.coverage.wait_for(epoch, WAIT_FOR_CLIENTS, may_answer).await;
        }
    }

    /// Notes that a majority knows the new rows up to `upto`.
    pub(super) fn confirm(&self, upto: RowNo) {
        self.confirmed.send_modify(|confirmed| confirmed.upto = confirmed.upto.max(upto));
    }

    /// Waits until there are new users to tell the others of. For one waiter.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Waits until a majority knows a row, 2 s at most. One that was told in an earlier epoch is told again.
    pub(super) async fn known_to_majority(&self, name: &Username) -> Result<(), NotReplicated> {
        if !self.replicated {
            return Ok(());
        }
        let mut confirmed = self.confirmed.subscribe();
        let known = async {
            loop {
                let Confirmed { floor, upto } = *confirmed.borrow_and_update();
                // A new epoch begins with a new floor, and then the row gets a new number.
                let no = self.profiles.index().number_since(floor, name);
                if no.is_some_and(|no| no <= upto) {
                    return;
                }
                self.news.notify_one();
                // The sender lives as long as this registry.
                let _ = confirmed.changed().await;
            }
        };
        timeout(WAIT_FOR_MAJORITY, known).await.map_err(|_| NotReplicated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{caller, name, replicated};
    use super::super::{Credentials, Registry};
    use super::*;

    /// What is to be told of a user who registers now and says that it is online: whether the one and the other.
    async fn told_of(registry: &Registry, user: &str) -> (bool, bool) {
        registry.merge(&Rows::of_user(name(user)), BootMs(0));
        registry.heartbeat(&name(user), None, Credentials::None, caller(BootMs(0))).await.expect("registered");
        let rows: Vec<Rows> = std::iter::from_fn(|| registry.take_changes(BootMs(0))).map(|(rows, _)| rows).collect();
        (rows.iter().any(|rows| !rows.users.is_empty()), rows.iter().any(|rows| !rows.beats.is_empty()))
    }

    #[tokio::test]
    async fn the_end_of_an_epoch_that_comes_late_does_not_end_the_next_one() {
        let registry = replicated(BootMs(0));
        registry.begin_term(Term(1));
        assert_eq!(told_of(&registry, "alice").await, (true, true));
        registry.begin_term(Term(2));
        registry.end_replication(Term(1));
        assert_eq!(told_of(&registry, "bob").await, (true, true));
        registry.end_replication(Term(2));
        assert_eq!(told_of(&registry, "carol").await, (false, false));
        registry.begin_term(Term(3));
        assert_eq!(told_of(&registry, "dave").await, (true, true));
    }
}
