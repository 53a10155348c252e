//! Makes the index whole: lists the bucket and reads the profiles that are not known yet.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, interval_at, sleep};
use tracing::{debug, info, warn};

use super::profile_store::{ProfileStore, StoredProfile};
use crate::registry::coverage::Coverage;
use crate::registry::error::StorageUnavailable;
use crate::registry::replication_source::ReplicationSource;
use crate::storage::{Folder, Key};
use rollcall_core::{Term, Username};

/// ProfileStore that are read at once.
const MAX_CONCURRENT_READS: usize = 16;

/// How often a long rebuild says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Names that are looked up under one lock, so that heartbeats do not wait for a long list.
const NAMES_PER_LOCK: usize = 1000;

/// The pause before another try when the bucket does not answer (each call has its own retries already).
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// LoggedCauses of failed tries that are told apart; whatever comes after so many is more of the same.
const MAX_LOGGED_CAUSES: usize = 8;

/// Why tries failed so far, so that each cause is logged once and not once a second.
#[derive(Debug, Default)]
struct LoggedCauses(HashSet<String>);

impl LoggedCauses {
    /// Whether `cause` was not met before.
    fn is_new(&mut self, cause: &str) -> bool {
        self.0.len() < MAX_LOGGED_CAUSES && self.0.insert(cause.to_owned())
    }
}

/// Makes the index whole.
pub(crate) struct IndexRebuild {
    profiles: Arc<ProfileStore>,
    source: Arc<ReplicationSource>,
}

impl IndexRebuild {
    /// Reads into the index of `profiles`, and tells `source` when it is whole.
    pub(crate) fn new(profiles: Arc<ProfileStore>, source: Arc<ReplicationSource>) -> Self {
        Self { profiles, source }
    }

    /// Reads the bucket until the index is whole in `term`, or a later term begins. Tries again for as long as the
    /// bucket does not answer. May be dropped at any time; what was read stays.
    pub(crate) async fn run(&self, term: Term) {
        let mut causes = LoggedCauses::default();
        while self.profiles.term() == term {
            match self.read_unknown_profiles().await {
                Ok(()) => {
                    self.profiles.index().drop_unconfirmed();
                    return self.source.raise_users(term, Coverage::Complete);
                }
                Err(why) => {
                    let cause = why.cause();
                    if causes.is_new(&cause) {
                        warn!("the list of users is not whole yet: {cause}; trying again until it is");
                    }
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn read_unknown_profiles(&self) -> Result<(), StorageUnavailable> {
        let listed = self.profiles.bucket().list(&Folder::Users).await?;
        let username = |name: &String| {
            Username::parse(name).inspect_err(|_| debug!("skipped {name:?} in the bucket: not a username")).ok()
        };
        let mut unknown = Vec::new();
        for names in listed.chunks(NAMES_PER_LOCK) {
            unknown.extend(self.profiles.index().reconcile(names.iter().filter_map(username)));
        }
        let total = unknown.len();
        let mut reads =
            pin!(stream::iter(unknown).map(|name| self.read_into_index(name)).buffer_unordered(MAX_CONCURRENT_READS));
        let mut progress = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        let mut done = 0;
        loop {
            tokio::select! {
                read = reads.next() => match read {
                    Some(read) => read?,
                    None => return Ok(()),
                },
                _ = progress.tick() => {
                    info!("reading the list of users: {done} of {total} new profiles");
                    continue;
                }
            }
            done += 1;
        }
    }

    async fn read_into_index(&self, name: Username) -> Result<(), StorageUnavailable> {
        let term = self.profiles.term();
        match self.profiles.read_profile(&name).await? {
            StoredProfile::Valid(profile) => {
                self.profiles.add_to_index(profile, term);
            }
            // A folder of pictures whose owner is gone; nobody registered.
            StoredProfile::Missing => debug!("skipped '{name}' in the bucket: no {}", Key::Profile(name.clone())),
            // One broken object must not hide everybody else; it was logged where it was read.
            StoredProfile::Corrupt => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::{caller, name, registry, registry_in, registry_on, user};
    use crate::registry::{AuthError, Credentials, LookupError, RegisterError, Registry, UsersError};
    use crate::storage::{Backend, Fault, MemoryBackend};
    use rollcall_core::{BootMs, Page};

    fn names(registry: &Registry) -> Vec<String> {
        registry.users(&Page::default(), BootMs(0)).into_iter().map(|user| user.username.to_string()).collect()
    }

    async fn register_all(memory: &MemoryBackend, usernames: &[&str]) {
        let registry = registry_on(memory);
        for username in usernames {
            registry.register(user(username), caller(BootMs(0))).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_rebuilt_index_holds_every_profile_and_skips_what_is_none() {
        let (registry, memory) = registry();
        register_all(&memory, &["alice", "bob", "carol"]).await;
        let damaged = Key::Profile(name("damaged"));
        memory.create(&damaged, b"{}".as_slice().into()).await.unwrap();
        let other = memory.get(&Key::Profile(name("bob"))).await.unwrap().unwrap();
        memory.create(&Key::Profile(name("not-bob")), other.bytes).await.unwrap();
        let image = rollcall_core::ImageName::parse("1733511234-a1b2c3d4.png").unwrap();
        memory.create(&Key::Image(name("only-images"), image), b"x".as_slice().into()).await.unwrap();
        registry.begin_term(Term(3));
        registry.rebuild_index(Term(3)).await;
        assert_eq!(registry.wait_for_users(Term(3)).await, Ok(()));
        assert_eq!(names(&registry), ["alice", "bob", "carol"]);
    }

    #[tokio::test]
    async fn profiles_that_are_known_are_not_read_again() {
        let (registry, memory) = registry();
        register_all(&memory, &["alice", "bob"]).await;
        registry.begin_term(Term(1));
        registry.rebuild_index(Term(1)).await;
        register_all(&memory, &["carol"]).await;
        let before = memory.faults().calls();
        registry.begin_term(Term(2));
        registry.rebuild_index(Term(2)).await;
        // One listing, and one profile.
        assert_eq!(memory.faults().calls() - before, 2);
        assert_eq!(names(&registry), ["alice", "bob", "carol"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_is_whole_only_in_the_epoch_in_which_it_was_rebuilt() {
        let (registry, _) = registry();
        registry.begin_term(Term(1));
        assert_eq!(registry.wait_for_users(Term(1)).await, Err(UsersError::IndexRebuilding));
        registry.rebuild_index(Term(1)).await;
        assert_eq!(registry.wait_for_users(Term(1)).await, Ok(()));
        // Before anybody began it here, as when a request is quicker than the composition root.
        assert_eq!(registry.wait_for_users(Term(2)).await, Err(UsersError::IndexRebuilding));
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_began_in_an_earlier_epoch_makes_no_later_one_whole() {
        let (registry, memory) = registry();
        registry.begin_term(Term(1));
        memory.faults().inject(1, &Fault::Delay(Duration::from_secs(2)));
        let late = registry.rebuild_index(Term(1));
        let next = async {
            sleep(Duration::from_secs(1)).await;
            registry.begin_term(Term(2));
        };
        tokio::join!(late, next);
        for term in [1, 2] {
            assert_eq!(registry.wait_for_users(Term(term)).await, Err(UsersError::IndexRebuilding));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_waits_for_the_index_and_a_rebuild_for_the_storage() {
        let (registry, memory) = registry();
        register_all(&memory, &["alice"]).await;
        registry.begin_term(Term(1));
        memory.faults().inject(3, &Fault::Transient);
        let (whole, ()) = tokio::join!(registry.wait_for_users(Term(1)), registry.rebuild_index(Term(1)));
        assert_eq!(whole, Ok(()));
        assert_eq!(names(&registry), ["alice"]);
    }

    #[tokio::test]
    async fn one_object_that_cannot_be_read_does_not_hide_everybody_else() {
        let dir = tempfile::tempdir().unwrap();
        registry_in(dir.path()).register(user("alice"), caller(BootMs(0))).await.unwrap();
        let profile = |username| dir.path().join(Key::Profile(name(username)).path());
        std::fs::create_dir_all(profile("dan")).unwrap();
        std::fs::create_dir_all(profile("eve").parent().unwrap()).unwrap();
        std::fs::write(profile("eve"), vec![b' '; crate::storage::MAX_OBJECT_BYTES + 1]).unwrap();
        let registry = registry_in(dir.path());
        registry.begin_term(Term(1));
        registry.rebuild_index(Term(1)).await;
        assert_eq!(names(&registry), ["alice"]);
        for broken in ["dan", "eve"] {
            let heartbeat = registry.heartbeat(&name(broken), None, Credentials::None, caller(BootMs(0))).await;
            assert!(matches!(heartbeat, Err(AuthError::Lookup(LookupError::Corrupt(_)))), "{heartbeat:?}");
            let registered = registry.register(user(broken), caller(BootMs(0))).await;
            assert!(matches!(registered, Err(RegisterError::Taken(_))), "{registered:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_refuses_everything_is_not_taken_for_broken_profiles() {
        let (registry, memory) = registry();
        register_all(&memory, &["alice"]).await;
        registry.begin_term(Term(1));
        memory.faults().inject(1, &Fault::None);
        memory.faults().inject(1, &Fault::Permanent);
        registry.rebuild_index(Term(1)).await;
        assert_eq!(names(&registry), ["alice"], "it was tried again");
    }

    #[test]
    fn a_cause_is_news_once_and_there_is_an_end_of_news() {
        let mut causes = LoggedCauses::default();
        assert!(causes.is_new("away"));
        assert!(!causes.is_new("away"));
        let news = (0..100).filter(|n| causes.is_new(&format!("cause {n}"))).count();
        assert_eq!(news, MAX_LOGGED_CAUSES - 1);
    }
}
