//! Heartbeats: authorization, and the update of the presence table.

use std::sync::Arc;

use super::online_clients::OnlineClients;
use crate::registry::auth::authorizer::{AuthDecision, Authorizer};
use crate::registry::auth::credentials::{Caller, Credentials, DenialReason};
use crate::registry::error::AuthError;
use crate::registry::users::profile_store::ProfileStore;
use crate::registry::users::user_index::IndexEntry;
use rollcall_core::{Addr, BootMs, Username, WallMs};

/// Number of heartbeats per TTL for a client that follows the suggested interval. One lost
/// heartbeat does no harm.
const HEARTBEATS_PER_TTL: u64 = 3;

/// An accepted heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AcceptedHeartbeat {
    /// The address that other clients now see; `None` if the client never reported one.
    pub addr: Option<Addr>,
    /// The time of the heartbeat, as the list of users displays it.
    pub seen_at: WallMs,
    /// Time for which the client stays online, in milliseconds.
    pub ttl_ms: u64,
    /// Suggested time until the next heartbeat, in milliseconds.
    pub next_heartbeat_ms: u64,
}

/// Accepts heartbeats.
pub(crate) struct Heartbeats {
    clients: Arc<OnlineClients>,
    profiles: Arc<ProfileStore>,
    authorizer: Arc<Authorizer>,
    need_no_credentials: bool,
}

impl Heartbeats {
    /// Each heartbeat that `authorizer` permits marks its client in `clients` as online. With
    /// `need_no_credentials`, a heartbeat without credentials for a name with a password does the
    /// same, but never changes the client's address.
    pub(crate) fn new(
        clients: Arc<OnlineClients>,
        profiles: Arc<ProfileStore>,
        authorizer: Arc<Authorizer>,
        need_no_credentials: bool,
    ) -> Self {
        Self { clients, profiles, authorizer, need_no_credentials }
    }

    /// Records a heartbeat: the registered user is online from now on, at `addr` if one is given.
    /// The bucket is read in three cases only:
    ///
    /// * for a name that is not in the index,
    /// * to verify a password,
    /// * for a user's first token in a term, if no other node reported the user's password state.
    pub(crate) async fn heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Result<AcceptedHeartbeat, AuthError> {
        let entry = self.profiles.entry(name, caller).await?;
        match self.authorizer.authorize(name, &entry, credentials, caller).await {
            Ok(()) => Ok(self.record(name, addr, &entry, caller.now)),
            Err(AuthError::Unauthorized(_, DenialReason::Missing)) if self.need_no_credentials => {
                Ok(self.record(name, None, &entry, caller.now))
            }
            Err(error) => Err(error),
        }
    }

    /// Like [`Self::heartbeat`], for a client that is online already and has no password. This is
    /// the common case. Otherwise returns `None` and changes nothing.
    pub(crate) fn renew(&self, name: &Username, addr: Option<Addr>, now: BootMs) -> Option<AcceptedHeartbeat> {
        let (renewed, seen_at) =
            self.clients.with_table_without_expiry(now, |table, now| (table.renew(name, addr, now), now.wall));
        renewed.map(|renewed| self.accepted(renewed.addr, seen_at))
    }

    /// Like [`Self::heartbeat`], if the heartbeat can be accepted without waiting. Otherwise
    /// returns `None` and changes nothing.
    pub(crate) fn try_heartbeat(
        &self,
        name: &Username,
        addr: Option<Addr>,
        credentials: Credentials<'_>,
        caller: Caller<'_>,
    ) -> Option<AcceptedHeartbeat> {
        let entry = self.profiles.index().entry(name)?;
        match self.authorizer.authorize_from_memory(&entry, credentials, caller.wall) {
            AuthDecision::Allowed => Some(self.record(name, addr, &entry, caller.now)),
            AuthDecision::Denied(DenialReason::Missing) if self.need_no_credentials => {
                Some(self.record(name, None, &entry, caller.now))
            }
            AuthDecision::Denied(_) | AuthDecision::Undecided => None,
        }
    }

    fn record(&self, name: &Username, reported: Option<Addr>, entry: &IndexEntry, now: BootMs) -> AcceptedHeartbeat {
        // A user without a password never gets one. So further heartbeats need no check while the
        // client is online.
        let is_open = entry.credential.is_open();
        let (addr, seen_at) = self.clients.with_table_without_expiry(now, |table, now| {
            let addr = table.heartbeat(name, reported, entry.addr, now);
            if is_open {
                table.mark_open(name);
            }
            (addr, now.wall)
        });
        self.accepted(addr, seen_at)
    }

    fn accepted(&self, addr: Option<Addr>, seen_at: WallMs) -> AcceptedHeartbeat {
        let ttl_ms = self.clients.ttl_ms();
        AcceptedHeartbeat { addr, seen_at, ttl_ms, next_heartbeat_ms: (ttl_ms / HEARTBEATS_PER_TTL).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::{caller, name, registry, registry_on, settings, user, wall};
    use crate::registry::{LookupError, RegisterRequest, Registry, RegistrySettings, TokenKey};
    use crate::storage::{Bucket, Fault, MemoryBackend, RetryPolicy};
    use rollcall_core::{Page, Password, Term};

    #[tokio::test]
    async fn a_client_is_listed_until_exactly_the_ttl_after_its_heartbeat() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let accepted = registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        assert_eq!((accepted.ttl_ms, accepted.next_heartbeat_ms), (30_000, 10_000));
        (0..30_000).step_by(250).for_each(|ms| registry.tick(BootMs(ms)));
        assert_eq!(registry.online(&Page::default(), BootMs(29_999)).len(), 1);
        assert_eq!(registry.online_count(BootMs(29_999)), 1);
        assert_eq!(registry.online_count(BootMs(30_000)), 0);
    }

    #[tokio::test]
    async fn renew_accepts_only_clients_without_a_password() {
        let (registry, _) = registry();
        let password = Password::new("secret".to_owned());
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let carol = RegisterRequest { password: Some(password), ..user("carol") };
        let token = registry.register(carol, caller(BootMs(0))).await.unwrap().issued_token.unwrap().token;
        for username in ["alice", "carol"] {
            let credentials = if username == "carol" { Credentials::Bearer(token.reveal()) } else { Credentials::None };
            assert_eq!(registry.renew(&name(username), None, BootMs(0)), None, "not online yet");
            let accepted = registry.heartbeat(&name(username), None, credentials, caller(BootMs(0))).await.unwrap();
            let renewed = registry.renew(&name(username), None, BootMs(1));
            let expected = AcceptedHeartbeat { seen_at: registry.wall_time(BootMs(1)), ..accepted };
            assert_eq!(renewed, (username == "alice").then_some(expected), "{username}");
        }
    }

    #[tokio::test]
    async fn a_setting_lets_heartbeats_without_credentials_renew_a_client_but_not_move_it() {
        let addr = |text: &str| Addr::new(text.parse().unwrap());
        for need_no_credentials in [false, true] {
            let settings = RegistrySettings { heartbeats_need_no_credentials: need_no_credentials, ..settings() };
            let bucket = Bucket::new(Arc::new(MemoryBackend::new()), RetryPolicy::default());
            let registry = Registry::new(bucket, settings, &TokenKey::new([7; 32]), BootMs(0), wall());
            let password = Some(Password::new("secret".to_owned()));
            let carol = RegisterRequest { password, addr: addr("10.0.0.1:1"), ..user("carol") };
            let token = registry.register(carol, caller(BootMs(0))).await.unwrap().issued_token.unwrap().token;
            let (carol, elsewhere) = (name("carol"), addr("10.0.0.2:2"));
            let wrong = Credentials::Bearer("rc1.forged");
            assert!(registry.heartbeat(&carol, elsewhere, wrong, caller(BootMs(0))).await.is_err());
            assert_eq!(registry.try_heartbeat(&carol, elsewhere, wrong, caller(BootMs(0))), None);
            assert_eq!(registry.online_count(BootMs(0)), 0);
            let without = registry.heartbeat(&carol, elsewhere, Credentials::None, caller(BootMs(0))).await;
            let at = without.ok().map(|accepted| accepted.addr);
            assert_eq!(at, need_no_credentials.then_some(addr("10.0.0.1:1")), "the registered address");
            let owner = Credentials::Bearer(token.reveal());
            let moved = registry.heartbeat(&carol, addr("10.0.0.3:3"), owner, caller(BootMs(1))).await.unwrap();
            assert_eq!(moved.addr, addr("10.0.0.3:3"));
            let without = registry.try_heartbeat(&carol, elsewhere, Credentials::None, caller(BootMs(2)));
            assert_eq!(without.map(|accepted| accepted.addr), need_no_credentials.then_some(addr("10.0.0.3:3")));
            // The name is never marked as one whose heartbeats may move it.
            assert_eq!(registry.renew(&carol, elsewhere, BootMs(3)), None);
        }
    }

    #[tokio::test]
    async fn no_client_goes_offline_because_the_process_was_paused() {
        let (registry, _) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.unwrap();
        assert_eq!(registry.online_count(BootMs(3_600_000)), 1);
    }

    #[tokio::test]
    async fn a_known_user_costs_no_bucket_read_and_an_unknown_one_costs_one_per_two_seconds() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let before = memory.faults().calls();
        for (username, at, calls) in
            [("alice", 0, 0), ("bob", 0, 1), ("bob", 1999, 1), ("bob", 2000, 2), ("alice", 2000, 2)]
        {
            let accepted = registry.heartbeat(&name(username), None, Credentials::None, caller(BootMs(at))).await;
            assert_eq!(accepted.is_ok(), username == "alice");
            assert_eq!(memory.faults().calls() - before, calls, "{username} at {at}");
        }
    }

    #[tokio::test]
    async fn a_name_that_was_not_found_is_looked_up_again_in_a_new_term() {
        let (registry, memory) = registry();
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_err());
        registry_on(&memory).register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(1))).await.is_err());
        registry.begin_term(Term(1));
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(2))).await.is_ok());
    }

    #[tokio::test]
    async fn a_user_who_registers_after_a_failed_lookup_is_known_at_once() {
        let (registry, _) = registry();
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_err());
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_ok());
    }

    #[tokio::test]
    async fn an_unavailable_bucket_is_not_mistaken_for_an_unregistered_user() {
        let (registry, memory) = registry();
        registry_on(&memory).register(user("alice"), caller(BootMs(0))).await.unwrap();
        memory.faults().set_outage(Some(Fault::Transient));
        let accepted = registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await;
        assert!(matches!(accepted, Err(AuthError::Lookup(LookupError::Storage(_)))));
        memory.faults().set_outage(None);
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_ok());
    }
}
