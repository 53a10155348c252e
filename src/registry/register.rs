//! A user registers: one create-only write, so that the bucket decides who was first.

use bytes::Bytes;
use tracing::info;

use super::index::Facts;
use super::lookup::Stored;
use super::{RegisterError, Registry, Unavailable, draw, lock};
use crate::domain::{Addr, Metadata, Password, Profile, UserId, Username, WallMs};
use crate::storage::{Created, Key};

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

impl Registry {
    /// Registers a user at `now`. When this returns `Ok`, the registration is durable.
    ///
    /// # Errors
    /// [`RegisterError`] if the name is taken with other data, or the bucket gave no answer; then the write may have
    /// taken effect, and the same registration may be sent again.
    pub async fn register(&self, user: NewUser, now: WallMs) -> Result<Outcome, RegisterError> {
        // A name that is known to be taken needs no hash and no write.
        if lock(&self.0.index).get(&user.username).is_some() {
            return match self.read_profile(&user.username).await? {
                // Nobody unregisters, so it is the bucket that is in doubt. A name must not be given away because of that.
                Stored::Nothing => {
                    let key = Key::Profile(user.username);
                    Err(Unavailable::from(self.0.bucket.vanished(&key)).into())
                }
                stored => self.compare(user, stored).await,
            };
        }
        let password_hash = match user.password.clone() {
            Some(password) => Some(self.0.passwords.hash(password).await.map_err(RegisterError::Password)?),
            None => None,
        };
        let profile = Profile {
            user_id: draw::user_id(),
            username: user.username.clone(),
            addr: user.addr,
            registered_at: now.to_rfc3339(),
            metadata: user.metadata.clone(),
            password_hash,
        };
        let key = Key::Profile(user.username.clone());
        let created = match self.0.bucket.create(&key, to_bytes(&profile)).await.map_err(Unavailable::from) {
            // Something is there, so the name is not free, just as with a profile that is damaged.
            Err(error) if error.concerns_one_object() => {
                self.report_unreadable(&user.username, &error.cause());
                return Err(RegisterError::Taken(user.username));
            }
            created => created?,
        };
        match created {
            Created::New(_) => {
                let (id, name) = (profile.user_id, user.username);
                info!(user = %name, %id, "registered {name}");
                lock(&self.0.index).insert(name, Facts::from(profile));
                Ok(Outcome::New(id))
            }
            Created::Taken(object) => {
                let stored = self.parse_profile(&user.username, &object.bytes);
                self.compare(user, stored).await
            }
        }
    }

    /// Whether `user` is what is stored under its name already.
    async fn compare(&self, user: NewUser, stored: Stored) -> Result<Outcome, RegisterError> {
        let taken = || RegisterError::Taken(user.username.clone());
        // Whatever the bytes mean, the name is not free.
        let Stored::Profile(profile) = stored else { return Err(taken()) };
        let same_facts = profile.addr == user.addr && profile.metadata == user.metadata;
        let same_password = match (user.password.clone(), profile.password_hash.clone()) {
            (None, None) => true,
            // No processor time for one that is refused anyway.
            (Some(password), Some(hash)) if same_facts => {
                self.0.passwords.verify(password, hash).await.map_err(RegisterError::Password)?
            }
            _ => false,
        };
        let id = profile.user_id;
        lock(&self.0.index).insert(user.username.clone(), Facts::from(profile));
        if same_facts && same_password { Ok(Outcome::Repeated(id)) } else { Err(taken()) }
    }
}

fn to_bytes(profile: &Profile) -> Bytes {
    serde_json::to_vec(profile).expect("a profile has only text keys").into()
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::super::testing::{name, registry, registry_on, user, wall};
    use super::*;
    use crate::domain::BootMs;
    use crate::storage::{Backend, Fault};

    fn with_password(password: &str) -> NewUser {
        NewUser { password: Some(Password::new(password.to_owned())), ..user("alice") }
    }

    #[tokio::test]
    async fn of_many_registrations_at_once_one_is_new_and_the_same_ones_repeat_it() {
        let (registry, memory) = registry();
        let other = registry_on(&memory);
        let attempts = (0..10).map(|n| if n % 2 == 0 { &registry } else { &other });
        let outcomes = join_all(attempts.map(|registry| registry.register(user("alice"), wall()))).await;
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(Result::unwrap).collect();
        let new: Vec<&Outcome> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::New(_))).collect();
        let [Outcome::New(id)] = new[..] else { panic!("{outcomes:?}") };
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Repeated(*id)).count(), 9);
    }

    #[tokio::test]
    async fn another_registration_of_a_name_is_refused_on_every_node() {
        let (registry, memory) = registry();
        registry.register(user("alice"), wall()).await.unwrap();
        let metadata = serde_json::from_str::<Metadata>(r#"{"x":1}"#).unwrap();
        for registry in [registry, registry_on(&memory)] {
            let other = NewUser { metadata: metadata.clone(), ..user("alice") };
            assert!(
                matches!(registry.register(other, wall()).await, Err(RegisterError::Taken(taken)) if taken == name("alice"))
            );
        }
    }

    #[tokio::test]
    async fn a_registration_repeats_only_with_its_password_and_stores_none_in_clear() {
        let (registry, memory) = registry();
        let Ok(Outcome::New(id)) = registry.register(with_password("secret"), wall()).await else { panic!() };
        for registry in [registry, registry_on(&memory)] {
            let repeated = registry.register(with_password("secret"), wall()).await.unwrap();
            assert_eq!(repeated, Outcome::Repeated(id));
            for other in [with_password("Secret"), with_password(""), user("alice")] {
                assert!(matches!(registry.register(other, wall()).await, Err(RegisterError::Taken(_))));
            }
            let stored = registry.0.bucket.get(&Key::Profile(name("alice"))).await.unwrap().unwrap();
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
        let Ok(Outcome::New(id)) = registry.register(alice.clone(), wall()).await else { panic!() };
        assert_eq!(registry.register(alice, wall()).await.unwrap(), Outcome::Repeated(id));
    }

    #[tokio::test]
    async fn a_registration_whose_answer_was_lost_can_be_repeated() {
        let (registry, memory) = registry();
        memory.faults().set_outage(Some(Fault::LoseAnswer));
        assert!(matches!(registry.register(user("alice"), wall()).await, Err(RegisterError::Storage(_))));
        memory.faults().set_outage(None);
        assert!(matches!(registry.register(user("alice"), wall()).await, Ok(Outcome::Repeated(_))));
        assert!(registry.heartbeat(&name("alice"), None, BootMs(0)).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_whose_profile_is_damaged_is_not_free() {
        let (registry, _) = registry();
        let key = Key::Profile(name("alice"));
        registry.0.bucket.create(&key, Bytes::from_static(b"{\"user")).await.unwrap();
        assert!(matches!(registry.register(user("alice"), wall()).await, Err(RegisterError::Taken(_))));
    }

    #[tokio::test]
    async fn a_name_that_vanished_from_the_bucket_is_not_given_away() {
        let (registry, memory) = registry();
        registry.register(user("alice"), wall()).await.unwrap();
        memory.delete(&Key::Profile(name("alice"))).await.unwrap();
        for user in [user("alice"), with_password("other")] {
            assert!(matches!(registry.register(user, wall()).await, Err(RegisterError::Storage(_))));
        }
        assert_eq!(memory.get(&Key::Profile(name("alice"))).await.unwrap(), None);
    }
}
