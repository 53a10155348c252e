//! What this node's registry tells the others', takes in from them, and waits for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::rows::{RowNo, Rows};
use super::{Epoch, Registry, lock};
use rollcall_core::{BootMs, Username};

/// How long a registration waits until a majority knows it: longer than a node is away whose link broke for a moment,
/// shorter than clients wait.
const WAIT_FOR_MAJORITY: Duration = Duration::from_secs(2);

/// How long a question who is online waits until a new leader was told by the others.
const WAIT_FOR_CLIENTS: Duration = Duration::from_secs(1);

/// Which new rows a majority knows: those after `floor` up to `upto`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
    floor: RowNo,
    upto: RowNo,
}

/// In time, no majority said that it knows a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotReplicated;

impl Confirmed {
    /// A majority knows nothing of what comes after `floor`.
    pub(super) fn none_after(floor: RowNo) -> Self {
        Self { floor, upto: floor }
    }
}

impl Registry {
    /// The epoch that began last.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        lock(&self.0.index).epoch()
    }

    /// Ends the replication of `ended`: this node takes no registrations and heartbeats in it any more. What was not taken by
    /// [`Self::take_changes`] is forgotten as a change, not as a fact. If a later epoch has begun meanwhile, nothing is done:
    /// its changes are to be told.
    pub fn end_replication(&self, ended: Epoch) {
        let mut index = lock(&self.0.index);
        if index.epoch() <= ended {
            index.track(false);
            // Under both locks, as an epoch begins.
            lock(&self.0.presence).table.track(false);
        }
    }

    /// The epoch in which the index holds every registration that was acknowledged.
    #[must_use]
    pub fn whole(&self) -> watch::Receiver<Option<Epoch>> {
        self.0.whole.subscribe()
    }

    /// Notes that a leader served at `now`: this node, or one that was heard just now. While none does, no client ages,
    /// from the first such note on.
    pub fn served(&self, now: BootMs) {
        lock(&self.0.presence).clock.served(now);
    }

    /// Some of what changed, and up to which new users all have been given; `None` if nothing did.
    #[must_use]
    pub fn take_changes(&self, now: BootMs) -> Option<(Rows, Option<RowNo>)> {
        if let Some((users, upto)) = lock(&self.0.index).take_fresh(Rows::MOST_BYTES) {
            return Some((Rows { users, beats: Vec::new() }, Some(upto)));
        }
        let beats = self.presence(now, |table, now| table.take_changed(Rows::MOST_BEATS, now));
        (!beats.is_empty()).then(|| (Rows { beats, users: Vec::new() }, None))
    }

    /// Some clients after a name, or from the first on; none only if there are no more.
    #[must_use]
    pub fn clients_after(&self, after: Option<&Username>, now: BootMs) -> Rows {
        let beats = self.presence(now, |table, now| table.rows_after(after, Rows::MOST_BEATS, now));
        Rows { beats, users: Vec::new() }
    }

    /// Some users after a name, or from the first on; none only if there are no more.
    #[must_use]
    pub fn users_after(&self, after: Option<&Username>) -> Rows {
        Rows { users: lock(&self.0.index).rows_after(after, Rows::MOST_BYTES), beats: Vec::new() }
    }

    /// Takes in what another node told.
    pub fn merge(&self, rows: &Rows, now: BootMs) {
        if !rows.beats.is_empty() {
            self.presence(now, |table, now| rows.beats.iter().for_each(|beat| table.merge(beat, now)));
        }
        if !rows.users.is_empty() {
            let index = &mut *lock(&self.0.index);
            rows.users.iter().for_each(|row| index.merge(row));
        }
    }

    /// Takes in what a snapshot on disk says that was made `away_ms` ago. Users count only once their names are confirmed.
    pub fn remember(&self, rows: Rows, away_ms: u64, now: BootMs) {
        let Rows { beats, users } = rows;
        self.presence(now, |table, now| {
            for beat in beats {
                table.merge(&beat.remembered(away_ms), now);
            }
        });
        let index = &mut *lock(&self.0.index);
        for row in &users {
            index.remember(row);
        }
    }

    /// Whether this process has once had every registration that was acknowledged until then.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    /// Notes that a majority of complete nodes told all that it knows, so that the index holds everything that was acknowledged
    /// before `epoch`.
    pub fn mark_told(&self, epoch: Epoch) {
        let mut index = lock(&self.0.index);
        if index.epoch() == epoch {
            index.set_told();
            drop(index);
            self.mark_whole(epoch);
        }
    }

    /// Notes that it has, because it took in all that such a node knows.
    pub fn set_complete(&self) {
        self.0.complete.store(true, Ordering::Release);
    }

    /// Notes that in `epoch` this node knows who is online as well as any other.
    pub fn mark_clients_known(&self, epoch: Epoch) {
        self.0.clients_known.send_replace(Some(epoch));
    }

    /// Waits until this node knows who is online in `epoch` as well as any other, 1 s at most: a new leader that was not in
    /// step asks the others first. If none of them answers, it knows it best.
    pub async fn clients_known(&self, epoch: Epoch) {
        if self.0.settings.replicated && *self.0.clients_known.borrow() != Some(epoch) {
            let mut known = self.0.clients_known.subscribe();
            let _ = timeout(WAIT_FOR_CLIENTS, known.wait_for(|known| *known == Some(epoch))).await;
        }
    }

    /// Notes that a majority knows the new rows up to `upto`.
    pub fn confirm(&self, upto: RowNo) {
        self.0.confirmed.send_modify(|confirmed| confirmed.upto = confirmed.upto.max(upto));
    }

    /// Waits until there are new users to tell the others of. For one waiter.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Waits until a majority knows a row, 2 s at most. One that was told in an earlier epoch is told again.
    pub(super) async fn known_to_majority(&self, name: &Username) -> Result<(), NotReplicated> {
        if !self.0.settings.replicated {
            return Ok(());
        }
        let mut confirmed = self.0.confirmed.subscribe();
        let known = async {
            loop {
                let Confirmed { floor, upto } = *confirmed.borrow_and_update();
                // A new epoch begins with a new floor, and then the row gets a new number.
                let no = lock(&self.0.index).number_since(floor, name);
                if no.is_some_and(|no| no <= upto) {
                    return;
                }
                self.0.news.notify_one();
                // The sender lives as long as this registry.
                let _ = confirmed.changed().await;
            }
        };
        timeout(WAIT_FOR_MAJORITY, known).await.map_err(|_| NotReplicated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::super::testing::{caller, name, replicated};
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
        registry.begin_term(Epoch(1));
        assert_eq!(told_of(&registry, "alice").await, (true, true));
        registry.begin_term(Epoch(2));
        registry.end_replication(Epoch(1));
        assert_eq!(told_of(&registry, "bob").await, (true, true));
        registry.end_replication(Epoch(2));
        assert_eq!(told_of(&registry, "carol").await, (false, false));
        registry.begin_term(Epoch(3));
        assert_eq!(told_of(&registry, "dave").await, (true, true));
    }
}
