//! List of registered users. It is complete or not served at all.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::profile_store::ProfileStore;
use super::user_details::UserDetails;
use crate::presence::LastSeen;
use crate::registry::coverage::TermCoverage;
use crate::registry::coverage_watch::CoverageWatch;
use crate::registry::error::UsersError;
use crate::registry::online::online_clients::{OnlineClients, ROWS_PER_LOCK};
use rollcall_core::{Addr, BootMs, Metadata, Page, Term, UserId, Username};

/// Longest wait for the index to become complete. A new leader needs less time for several thousand
/// users, and the request timeout of clients is longer.
const MAX_WAIT_FOR_INDEX: Duration = Duration::from_secs(4);

/// A registered user, as a row of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRow {
    /// The name.
    pub username: Username,
    /// The id of the registration.
    pub id: UserId,
    /// The last reported address, or the registered address if none was reported.
    pub addr: Option<Addr>,
    /// RFC 3339, UTC.
    pub registered_at: CompactString,
    /// The metadata of the registration.
    pub metadata: Metadata,
    /// Whether the user is online.
    pub online: bool,
    /// The time of the last heartbeat, else the time in the profile. RFC 3339, UTC; `None` if there
    /// is neither.
    pub last_seen: Option<String>,
}

/// Version of the list of users. Equal versions mean equal lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsersVersion {
    /// Revision of the index of users.
    index: u64,
    /// Version of the list of online clients.
    online: u64,
    /// Version of the times of the last heartbeats.
    activity: u64,
}

/// Lists users.
pub(crate) struct UserList {
    profiles: Arc<ProfileStore>,
    clients: Arc<OnlineClients>,
    coverage: Arc<CoverageWatch>,
}

impl UserList {
    /// A list of the users in `profiles`, with their presence from `clients`.
    pub(crate) fn new(profiles: Arc<ProfileStore>, clients: Arc<OnlineClients>, coverage: Arc<CoverageWatch>) -> Self {
        Self { profiles, clients, coverage }
    }

    /// Waits until the index is complete in `term`, for at most 4 s.
    pub(crate) async fn wait_until_complete(&self, term: Term) -> Result<(), UsersError> {
        let may_list = |coverage: &TermCoverage| coverage.users_in(term).may_list_users();
        let may_list = self.coverage.wait_for(term, MAX_WAIT_FOR_INDEX, may_list).await;
        if may_list { Ok(()) } else { Err(UsersError::IndexRebuilding) }
    }

    /// The version of the list at `now`.
    pub(crate) fn version(&self, now: BootMs) -> UsersVersion {
        let index = self.profiles.index().revision();
        let (online, activity) =
            self.clients.with_table(now, |table, now| (table.version(now), table.activity_version()));
        UsersVersion { index, online, activity }
    }

    /// The users on `page` at `now`, sorted by name. Only users in the index are included; see
    /// [`Self::wait_until_complete`].
    pub(crate) fn users(&self, page: &Page, now: BootMs) -> Vec<UserRow> {
        self.users_parts(page.clone(), now).flatten().collect()
    }

    /// Like [`Self::users`], in parts, so that no lock is held for long.
    pub(crate) fn users_parts(&self, page: Page, now: BootMs) -> impl Iterator<Item = Vec<UserRow>> {
        let mut rest = Some(page);
        iter::from_fn(move || {
            let page = rest.take()?;
            let rows = self.profiles.index().part(&page, ROWS_PER_LOCK);
            // If the last part is full, one empty part may follow.
            rest = rows.last().and_then(|(last, _)| page.rest_after(last, rows.len()));
            Some(self.with_presence(rows, now))
        })
    }

    fn with_presence(&self, rows: Vec<(Username, Arc<UserDetails>)>, now: BootMs) -> Vec<UserRow> {
        let seen: Vec<Option<LastSeen>> = self
            .clients
            .with_table(now, |table, now| rows.iter().map(|(name, _)| table.last_seen(name, now)).collect());
        let row = |((username, details), seen): ((Username, Arc<UserDetails>), Option<LastSeen>)| UserRow {
            id: details.id,
            addr: seen.and_then(|seen| seen.addr).or(details.addr),
            registered_at: details.registered_at.clone(),
            metadata: details.metadata.clone(),
            online: seen.is_some_and(|seen| seen.is_online),
            last_seen: seen
                .map(|seen| seen.at.to_rfc3339())
                .or_else(|| details.last_seen.as_deref().map(str::to_owned)),
            username,
        };
        rows.into_iter().zip(seen).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Credentials;
    use crate::registry::auth::credential_state::CredentialState;
    use crate::registry::testing::{caller, name, registry, user, wall};
    use crate::registry::{ReplicatedUser, Rows};
    use rollcall_core::WallMs;

    #[tokio::test]
    async fn a_list_read_in_several_parts_is_complete_and_each_row_has_its_own_presence() {
        let (registry, _) = registry();
        for number in 0..=2 * ROWS_PER_LOCK {
            let mut index = registry.0.users.list.profiles.index();
            let profile = UserDetails {
                id: rollcall_core::UserId::nil(),
                addr: None,
                registered_at: "".into(),
                last_seen: None,
                metadata: Metadata::default(),
            };
            index.insert(name(&format!("u{number:05}")), profile, CredentialState::Open);
        }
        let online = format!("u{:05}", ROWS_PER_LOCK + 1);
        registry.heartbeat(&name(&online), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        let rows = registry.users(&Page::default(), BootMs(0));
        assert_eq!(rows.len(), 2 * ROWS_PER_LOCK + 1);
        let online_rows: Vec<&str> = rows.iter().filter(|row| row.online).map(|row| row.username.as_str()).collect();
        assert_eq!(online_rows, [online.as_str()]);
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert_eq!(registry.users(&Page::default(), BootMs(0))[0].username, name("alice"));
    }

    #[tokio::test]
    async fn last_seen_is_the_time_of_the_last_heartbeat_else_the_time_in_the_profile() {
        let (registry, _) = registry();
        let stored = "2025-12-06T18:20:25.123456789Z";
        for (username, last_seen) in [("alice", Some(stored)), ("bob", None)] {
            let details = UserDetails {
                id: rollcall_core::UserId::nil(),
                addr: None,
                registered_at: "".into(),
                last_seen: last_seen.map(Into::into),
                metadata: Metadata::default(),
            };
            // As another node receives it.
            let row = ReplicatedUser::new(name(username), &details, CredentialState::Open);
            registry.merge(&Rows { users: vec![row], ..Rows::default() }, BootMs(0));
        }
        let seen = || {
            let rows = registry.users(&Page::default(), BootMs(2000));
            rows.into_iter().map(|row| row.last_seen).collect::<Vec<_>>()
        };
        assert_eq!(seen(), [Some(stored.to_owned()), None]);
        let beat = registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(2000))).await.unwrap();
        assert_eq!(beat.seen_at, WallMs::new(wall().unix_ms() + 2000));
        assert_eq!(seen(), [Some(beat.seen_at.to_rfc3339()), None]);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_changes_the_times_of_heartbeats_and_the_version_of_the_list() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        let at = |ms: i64| WallMs::new(wall().unix_ms() + ms);
        for (set_to, last_seen, is_changed) in [(1999, 0, false), (2000, 1000, true), (-3_600_000, -3_601_000, true)] {
            let before = registry.users_version(BootMs(1000));
            registry.update_wall_time(BootMs(1000), at(set_to));
            assert_eq!(registry.users_version(BootMs(1000)) != before, is_changed, "{set_to}");
            let rows = registry.users(&Page::default(), BootMs(1000));
            assert_eq!(rows[0].last_seen, Some(at(last_seen).to_rfc3339()), "{set_to}");
        }
    }

    #[tokio::test]
    async fn a_registration_while_the_clock_is_not_set_is_not_earlier_than_the_snapshot() {
        let (registry, _) = registry();
        registry.update_wall_time(BootMs(1000), WallMs::new(7000));
        let snapshot = WallMs::new(1_796_000_000_000);
        for (username, registered_at) in [("alice", WallMs::new(7000)), ("bob", snapshot)] {
            registry.register(user(username), caller(BootMs(1000))).await.unwrap();
            let rows = registry.users(&Page::default(), BootMs(1000));
            assert_eq!(rows.last().unwrap().registered_at, registered_at.to_rfc3339());
            registry.note_earlier_time(BootMs(1000), snapshot);
        }
    }

    #[tokio::test]
    async fn the_version_changes_only_with_registrations_heartbeats_and_timeouts() {
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
        (1000..=30_500).step_by(500).for_each(|ms| registry.tick(BootMs(ms)));
        note(BootMs(30_500));
        assert!(versions.windows(2).all(|pair| pair[0] != pair[1]), "{versions:?}");
        assert_eq!(registry.users_version(BootMs(31_000)), versions[4]);
    }
}
