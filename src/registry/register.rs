//! A user registers: one create-only write, so that the bucket decides who was first.

use bytes::Bytes;
use tracing::info;

use super::index::Facts;
use super::lookup::Stored;
use super::{RegisterError, Registry, Unavailable, draw, lock};
use crate::domain::{Addr, Metadata, Profile, UserId, Username, WallMs};
use crate::storage::{Created, Key};

/// What a client registers.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// The name.
    pub username: Username,
    /// Where others can reach it, if it told.
    pub addr: Option<Addr>,
    /// A password, if it wants one.
    pub password: Option<String>,
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
            let stored = self.read_profile(&user.username).await?;
            // A profile that was deleted by hand is registered anew below.
            if !matches!(stored, Stored::Nothing) {
                return self.compare(user, stored).await;
            }
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
        match self.0.bucket.create(&key, to_bytes(&profile)).await.map_err(Unavailable::from)? {
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
