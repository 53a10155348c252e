//! A user registers: one create-only write, so that the bucket decides who was first.

use std::sync::Arc;

use tracing::info;

use super::profiles::{Profiles, Stored, to_bytes};
use crate::registry::auth::credentials::Caller;
use crate::registry::auth::proof::PasswordProof;
use crate::registry::auth::token::{Granted, Tokens};
use crate::registry::error::{AuthError, RegisterError, Unavailable};
use crate::registry::random;
use crate::registry::replication_source::ReplicationSource;
use crate::storage::{CreateOutcome, Key};
use rollcall_core::{Addr, Metadata, Password, Profile, Term, UserId, Username};

/// What a client registers.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// The name.
    pub username: Username,
    /// Where others can reach it, if it told.
    pub addr: Option<Addr>,
    /// A password, if it wants one.
    pub password: Option<Password>,
    /// What it wants known; empty if nothing.
    pub metadata: Metadata,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The name was free and is taken now, durably.
    New(UserId),
    /// The very same registration was made before.
    Repeated(UserId),
}

/// A registration that was made, now or before.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Which of the two.
    pub outcome: Outcome,
    /// A token, if the user has a password.
    pub granted: Option<Granted>,
}

/// Registers users.
pub(crate) struct Registration {
    profiles: Arc<Profiles>,
    proof: Arc<PasswordProof>,
    tokens: Arc<Tokens>,
    source: Arc<ReplicationSource>,
    require_password: bool,
}

impl Registration {
    /// Registers users in `profiles`, each of whom must have a password if that is required.
    pub(crate) fn new(
        profiles: Arc<Profiles>,
        proof: Arc<PasswordProof>,
        tokens: Arc<Tokens>,
        source: Arc<ReplicationSource>,
        require_password: bool,
    ) -> Self {
        Self { profiles, proof, tokens, source, require_password }
    }

    /// Registers a user. When this returns `Ok`, the registration is durable and known to a majority of the nodes.
    pub(crate) async fn register(&self, user: NewUser, caller: Caller) -> Result<Registered, RegisterError> {
        if user.password.is_none() && self.require_password {
            return Err(RegisterError::PasswordRequired);
        }
        let epoch = self.profiles.term();
        // A name that is known to be taken needs no hash and no write.
        if self.profiles.index().get(&user.username).is_some() {
            return match self.profiles.read_profile(&user.username).await? {
                // Nobody unregisters, so it is the bucket that is in doubt. A name must not be given away because of that.
                Stored::Nothing => Err(self.profiles.vanished(&user.username).into()),
                stored => self.compare(user, stored, epoch, caller).await,
            };
        }
        let password_hash = match user.password.clone() {
            Some(password) => Some(self.proof.hash(password).await?),
            None => None,
        };
        let profile = Profile {
            user_id: random::user_id(),
            username: user.username.clone(),
            addr: user.addr,
            registered_at: caller.wall.to_rfc3339(),
            metadata: user.metadata.clone(),
            password_hash,
            password_version: 0,
        };
        let key = Key::Profile(user.username.clone());
        let created = match self.profiles.bucket().create(&key, to_bytes(&profile)).await.map_err(Unavailable::from) {
            // Something is there, so the name is not free, just as with a profile that is damaged.
            Err(error) if error.concerns_one_object() => {
                self.profiles.report_unreadable(&user.username, &error.cause());
                return Err(RegisterError::Taken(user.username));
            }
            created => created?,
        };
        match created {
            CreateOutcome::Created(_) => {
                info!(user = %user.username, id = %profile.user_id, "registered {}", user.username);
                self.acknowledge(Outcome::New(profile.user_id), profile, epoch, caller).await
            }
            CreateOutcome::AlreadyExists(object) => {
                let stored = self.profiles.parse_profile(&user.username, &object.bytes);
                self.compare(user, stored, epoch, caller).await
            }
        }
    }

    /// Whether `user` is what was stored under its name already in `epoch`.
    async fn compare(
        &self,
        user: NewUser,
        stored: Stored,
        epoch: Term,
        caller: Caller,
    ) -> Result<Registered, RegisterError> {
        let taken = || RegisterError::Taken(user.username.clone());
        // Whatever the bytes mean, the name is not free.
        let Stored::Profile(profile) = stored else { return Err(taken()) };
        let same_facts = profile.addr == user.addr && profile.metadata == user.metadata;
        let same_password = match (user.password.clone(), profile.password_hash.clone()) {
            (None, None) => true,
            // No processor time for one that is refused anyway.
            (Some(password), Some(hash)) if same_facts => {
                match self.proof.compare(&user.username, password, hash, caller).await {
                    Ok(()) => true,
                    Err(AuthError::WrongPassword(_)) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            _ => false,
        };
        if !(same_facts && same_password) {
            self.profiles.note(profile, epoch);
            return Err(taken());
        }
        self.acknowledge(Outcome::Repeated(profile.user_id), profile, epoch, caller).await
    }

    /// Notes a registration that is durable, waits until a majority knows it, and gives a token if it has a password.
    async fn acknowledge(
        &self,
        outcome: Outcome,
        profile: Profile,
        epoch: Term,
        caller: Caller,
    ) -> Result<Registered, RegisterError> {
        let granted = self.tokens.issue_for(&profile, caller.wall);
        let name = profile.username.clone();
        self.profiles.note(profile, epoch);
        self.source.known_to_majority(&name).await.map_err(|_| RegisterError::NotReplicated(name))?;
        Ok(Registered { outcome, granted })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::*;
    use crate::registry::Credentials;
    use crate::registry::testing::{caller, name, registry, registry_on, user};
    use crate::storage::{Backend, Fault};
    use rollcall_core::BootMs;

    fn with_password(password: &str) -> NewUser {
        NewUser { password: Some(Password::new(password.to_owned())), ..user("alice") }
    }

    #[tokio::test]
    async fn of_many_registrations_at_once_one_is_new_and_the_same_ones_repeat_it() {
        let (registry, memory) = registry();
        let other = registry_on(&memory);
        let attempts = (0..10).map(|n| if n % 2 == 0 { &registry } else { &other });
        let outcomes = join_all(attempts.map(|registry| registry.register(user("alice"), caller(BootMs(0))))).await;
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(|made| made.unwrap().outcome).collect();
        let new: Vec<&Outcome> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::New(_))).collect();
        let [Outcome::New(id)] = new[..] else { panic!("{outcomes:?}") };
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Repeated(*id)).count(), 9);
    }

    #[tokio::test]
    async fn another_registration_of_a_name_is_refused_on_every_node() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        let metadata = serde_json::from_str::<Metadata>(r#"{"x":1}"#).unwrap();
        for registry in [registry, registry_on(&memory)] {
            let other = NewUser { metadata: metadata.clone(), ..user("alice") };
            assert!(
                matches!(registry.register(other, caller(BootMs(0))).await, Err(RegisterError::Taken(taken)) if taken == name("alice"))
            );
        }
    }

    #[tokio::test]
    async fn a_registration_repeats_only_with_its_password_and_stores_none_in_clear() {
        let (registry, memory) = registry();
        let first = registry.register(with_password("secret"), caller(BootMs(0))).await.unwrap();
        let Outcome::New(id) = first.outcome else { panic!("{first:?}") };
        assert!(first.granted.is_some());
        for registry in [registry, registry_on(&memory)] {
            let repeated = registry.register(with_password("secret"), caller(BootMs(0))).await.unwrap();
            assert_eq!(repeated.outcome, Outcome::Repeated(id));
            assert!(repeated.granted.is_some());
            for other in [with_password("Secret"), with_password(""), user("alice")] {
                assert!(matches!(registry.register(other, caller(BootMs(0))).await, Err(RegisterError::Taken(_))));
            }
            let stored = registry
                .0
                .users
                .registration
                .profiles
                .bucket()
                .get(&Key::Profile(name("alice")))
                .await
                .unwrap()
                .unwrap();
            let stored = String::from_utf8(stored.bytes.to_vec()).unwrap();
            assert!(stored.contains("$argon2id$") && !stored.contains("secret"), "{stored}");
        }
    }

    #[tokio::test]
    async fn metadata_that_was_stored_equals_what_was_sent() {
        let (registry, _) = registry();
        // A number whose nearest reading depends on exact parsing.
        let text =
            r#"{"x":0.1,"y":1.7976931348623157e308,"z":5.0e-324,"w":6.934698245112694e276,"v":-2.693554001703998e265}"#;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        let alice = NewUser { metadata, ..user("alice") };
        let first = registry.register(alice.clone(), caller(BootMs(0))).await.unwrap();
        let Outcome::New(id) = first.outcome else { panic!("{first:?}") };
        assert_eq!(first.granted, None, "there is nothing to prove without a password");
        let again = registry.register(alice, caller(BootMs(0))).await.unwrap();
        assert_eq!(again.outcome, Outcome::Repeated(id));
    }

    #[tokio::test]
    async fn a_registration_whose_answer_was_lost_can_be_repeated() {
        let (registry, memory) = registry();
        memory.faults().set_outage(Some(Fault::LoseResponse));
        assert!(matches!(registry.register(user("alice"), caller(BootMs(0))).await, Err(RegisterError::Storage(_))));
        memory.faults().set_outage(None);
        let again = registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        assert!(matches!(again.outcome, Outcome::Repeated(_)));
        assert!(registry.heartbeat(&name("alice"), None, Credentials::None, caller(BootMs(0))).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_whose_profile_is_damaged_is_not_free() {
        let (registry, _) = registry();
        let key = Key::Profile(name("alice"));
        registry.0.users.registration.profiles.bucket().create(&key, Bytes::from_static(b"{\"user")).await.unwrap();
        assert!(matches!(registry.register(user("alice"), caller(BootMs(0))).await, Err(RegisterError::Taken(_))));
    }

    #[tokio::test]
    async fn a_name_that_vanished_from_the_bucket_is_not_given_away() {
        let (registry, memory) = registry();
        registry.register(user("alice"), caller(BootMs(0))).await.unwrap();
        memory.delete(&Key::Profile(name("alice"))).await.unwrap();
        for user in [user("alice"), with_password("other")] {
            assert!(matches!(registry.register(user, caller(BootMs(0))).await, Err(RegisterError::Storage(_))));
        }
        assert_eq!(memory.get(&Key::Profile(name("alice"))).await.unwrap(), None);
    }
}
