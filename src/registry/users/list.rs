//! Lists everybody who registered. The list is whole or not given.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::facts::Facts;
use super::profiles::Profiles;
use crate::presence::Seen;
use crate::registry::coverage::TermCoverage;
use crate::registry::coverage_watch::CoverageWatch;
use crate::registry::error::UsersError;
use crate::registry::online::clients::{Clients, ROWS_A_LOCK};
use rollcall_core::{Addr, BootMs, Metadata, Page, Term, UserId, Username};

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

/// What tells a list of the users of one moment from that of another: equal versions, equal lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsersVersion {
    index: u64,
    online: u64,
    touches: u64,
}

/// Lists users.
pub(crate) struct UserList {
    profiles: Arc<Profiles>,
    clients: Arc<Clients>,
    coverage: Arc<CoverageWatch>,
}

impl UserList {
    /// A list of the users in `profiles`, each with what `clients` know of it.
    pub(crate) fn new(profiles: Arc<Profiles>, clients: Arc<Clients>, coverage: Arc<CoverageWatch>) -> Self {
        Self { profiles, clients, coverage }
    }

    /// Waits until the index is whole in `epoch`, 4 s at most.
    pub(crate) async fn wait_until_complete(&self, epoch: Term) -> Result<(), UsersError> {
        let may_list = |coverage: &TermCoverage| coverage.users_in(epoch).may_list_users();
        let may_list = self.coverage.wait_for(epoch, WAIT_FOR_INDEX, may_list).await;
        if may_list { Ok(()) } else { Err(UsersError::IndexRebuilding) }
    }

    /// What tells a list of the users of one moment from that of another.
    pub(crate) fn version(&self, now: BootMs) -> UsersVersion {
        let index = self.profiles.index().revision();
        let (online, touches) = self.clients.ask(now, |table, now| (table.version(now), table.touches()));
        UsersVersion { index, online, touches }
    }

    /// The users on `page`, sorted by name, as of `now`. Only those that this node knows: see [`Self::wait_until_complete`].
    pub(crate) fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        self.users_parts(page.clone(), now).flatten().collect()
    }

    /// As [`Self::users`], part by part.
    pub(crate) fn users_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<UserRow>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let rows = self.profiles.index().part(&page, ROWS_A_LOCK);
            // Behind the last row there is at most one empty part.
            rest = rows.last().and_then(|(last, _)| page.rest_after(last, rows.len()));
            Some(self.users_of(rows, now))
        })
    }

    fn users_of(&self, rows: Vec<(Username, Arc<Facts>)>, now: BootMs) -> Vec<UserRow> {
        let seen: Vec<Option<Seen>> =
            self.clients.ask(now, |table, now| rows.iter().map(|(name, _)| table.seen(name, now)).collect());
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
    use super::*;
    use crate::registry::Credentials;
    use crate::registry::auth::credential_state::Guard;
    use crate::registry::testing::{caller, name, registry, user};

    #[tokio::test]
    async fn a_list_that_takes_several_locks_is_whole_and_each_row_has_its_own_presence() {
        let (registry, _) = registry();
        for number in 0..=2 * ROWS_A_LOCK {
            let mut index = registry.0.users.list.profiles.index();
            let profile = Facts {
                id: rollcall_core::UserId::nil(),
                addr: None,
                registered_at: "".into(),
                metadata: Metadata::default(),
            };
            index.insert(name(&format!("u{number:05}")), profile, Guard::Open);
        }
        let online = format!("u{:05}", ROWS_A_LOCK + 1);
        registry.heartbeat(&name(&online), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        let rows = registry.users(&Page::default(), BootMs(0));
        assert_eq!(rows.len(), 2 * ROWS_A_LOCK + 1);
        let online_rows: Vec<&str> = rows.iter().filter(|row| row.online).map(|row| row.username.as_str()).collect();
        assert_eq!(online_rows, [online.as_str()]);
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert_eq!(registry.users(&Page::default(), BootMs(0))[0].username, name("alice"));
    }

    #[tokio::test]
    async fn the_version_changes_with_registrations_heartbeats_and_time_outs_and_with_nothing_else() {
        let (registry, _) = registry();
        let mut versions = Vec::new();
        let mut note = |now| versions.push(registry.users_version(now));
        note(BootMs(0));
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        note(BootMs(0));
        registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        note(BootMs(0));
        registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(500))).await.unwrap();
        note(BootMs(500));
        (1000..=30_500).step_by(500).for_each(|ms| registry.observe(BootMs(ms)));
        note(BootMs(30_500));
        assert!(versions.windows(2).all(|pair| pair[0] != pair[1]), "{versions:?}");
        assert_eq!(registry.users_version(BootMs(31_000)), versions[4]);
    }
}
