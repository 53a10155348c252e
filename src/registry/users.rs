//! Lists everybody who registered. The list is whole or not given.

use std::time::Duration;

use compact_str::CompactString;
use tokio::time::timeout;

use super::{Epoch, Registry, UsersError, lock};
use crate::domain::{Addr, BootMs, Metadata, Page, UserId, Username};

/// How long a question waits for the index to become whole: longer than a new leader needs for some thousand users,
/// shorter than clients wait.
const WAIT_FOR_INDEX: Duration = Duration::from_secs(4);

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

    /// The users on `page`, sorted by name, as of `now`. Only those that this node knows: see [`Self::index_whole`].
    #[must_use]
    pub fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        let rows = lock(&self.0.index).page(page);
        self.presence(now, |table, now| {
            let row = |(username, facts): (Username, std::sync::Arc<super::index::Facts>)| {
                let seen = table.seen(&username, now);
                UserRow {
                    id: facts.id,
                    addr: seen.and_then(|seen| seen.addr).or(facts.addr),
                    registered_at: facts.registered_at.clone(),
                    metadata: facts.metadata.clone(),
                    online: seen.is_some_and(|seen| seen.online),
                    seen_ago_ms: seen.map(|seen| seen.ago_ms),
                    username,
                }
            };
            rows.into_iter().map(row).collect()
        })
    }
}
