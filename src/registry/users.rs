//! Lists everybody who registered. The list is whole or not given.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::index::Facts;
use super::{Epoch, Registry, UsersError, lock};
use crate::domain::{Addr, BootMs, Metadata, Page, UserId, Username};
use crate::presence::Seen;

/// How long a question waits for the index to become whole: longer than a new leader needs for some thousand users,
/// shorter than clients wait.
const WAIT_FOR_INDEX: Duration = Duration::from_secs(4);

/// Lists that are made or sent at once; more wait. Each is whole in memory: some 20 MB for a hundred thousand users without
/// metadata.
pub(super) const LISTS_AT_ONCE: usize = 4;

/// How long a question waits for its turn: longer than a large list takes to be made and sent, shorter than clients wait.
const WAIT_FOR_TURN: Duration = Duration::from_secs(2);

/// Rows that presence is asked about under one lock, so that heartbeats do not wait for a long list.
const ROWS_A_LOCK: usize = 1000;

/// The right to make one list. To be kept until the list has been sent.
#[derive(Debug)]
pub struct ListTurn {
    _permit: OwnedSemaphorePermit,
}

/// A registered user.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRow {
    /// The name.
    pub username: Username,
    /// The id of the registration.
    pub id: UserId,
    /// The live address if one was told, else the registered one.
    pub addr: Option<Addr>,
    /// RFC 3339, UTC.
    pub registered_at: CompactString,
    /// What the user gave at registration.
    pub metadata: Metadata,
    /// Whether it is online.
    pub online: bool,
    /// How long ago its last heartbeat came; `None` if none is remembered.
    pub seen_ago_ms: Option<u64>,
}

impl Registry {
    /// Waits until the index is whole in `epoch`, 4 s at most.
    ///
    /// # Errors
    /// [`UsersError::IndexRebuilding`] if it does not become whole in time.
    pub async fn index_whole(&self, epoch: Epoch) -> Result<(), UsersError> {
        let mut whole = self.0.whole.subscribe();
        let became_whole = timeout(WAIT_FOR_INDEX, whole.wait_for(|whole| *whole == Some(epoch))).await;
        match became_whole {
            Ok(Ok(_)) => Ok(()),
            // The sender lives as long as this registry, so the first of these does not happen.
            Ok(Err(_)) | Err(_) => Err(UsersError::IndexRebuilding),
        }
    }

    /// Waits until one more list may be made, 2 s at most.
    ///
    /// # Errors
    /// [`UsersError::Busy`] if others take too long.
    pub async fn list_turn(&self) -> Result<ListTurn, UsersError> {
        let turn = timeout(WAIT_FOR_TURN, Arc::clone(&self.0.lists).acquire_owned()).await;
        match turn {
            Ok(Ok(permit)) => Ok(ListTurn { _permit: permit }),
            // Nobody closes the semaphore, so the first of these does not happen.
            Ok(Err(_)) | Err(_) => Err(UsersError::Busy),
        }
    }

    /// The users on `page`, sorted by name, as of `now`. Only those that this node knows: see [`Self::index_whole`].
    #[must_use]
    pub fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        let rows = lock(&self.0.index).page(page);
        let mut seen = Vec::with_capacity(rows.len());
        for rows in rows.chunks(ROWS_A_LOCK) {
            self.presence(now, |table, now| seen.extend(rows.iter().map(|(name, _)| table.seen(name, now))));
        }
        let row = |((username, facts), seen): ((Username, Arc<Facts>), Option<Seen>)| UserRow {
            id: facts.id,
            addr: seen.and_then(|seen| seen.addr).or(facts.addr),
            registered_at: facts.registered_at.clone(),
            metadata: facts.metadata.clone(),
            online: seen.is_some_and(|seen| seen.online),
            seen_ago_ms: seen.map(|seen| seen.ago_ms),
            username,
        };
        rows.into_iter().zip(seen).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{name, registry, user, wall};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_waits_for_its_turn_and_not_for_ever() {
        let (registry, _) = registry();
        let mut turns = Vec::new();
        for _ in 0..LISTS_AT_ONCE {
            turns.push(registry.list_turn().await.unwrap());
        }
        assert_eq!(registry.list_turn().await.unwrap_err(), UsersError::Busy);
        let later = async {
            tokio::time::sleep(WAIT_FOR_TURN / 2).await;
            turns.pop();
        };
        let (turn, ()) = tokio::join!(registry.list_turn(), later);
        assert!(turn.is_ok());
    }

    #[tokio::test]
    async fn a_list_that_takes_several_locks_is_whole_and_each_row_has_its_own_presence() {
        let (registry, _) = registry();
        for number in 0..=2 * ROWS_A_LOCK {
            let mut index = lock(&registry.0.index);
            let profile = Facts {
                id: crate::domain::UserId::nil(),
                addr: None,
                registered_at: "".into(),
                metadata: Metadata::default(),
            };
            index.insert(name(&format!("u{number:05}")), profile);
        }
        let online = format!("u{:05}", ROWS_A_LOCK + 1);
        registry.heartbeat(&name(&online), None, BootMs(0)).await.unwrap();
        let rows = registry.users(&Page::default(), BootMs(0));
        assert_eq!(rows.len(), 2 * ROWS_A_LOCK + 1);
        let online_rows: Vec<&str> = rows.iter().filter(|row| row.online).map(|row| row.username.as_str()).collect();
        assert_eq!(online_rows, [online.as_str()]);
        registry.register(user("alice"), wall()).await.unwrap();
        assert_eq!(registry.users(&Page::default(), BootMs(0))[0].username, name("alice"));
    }
}
