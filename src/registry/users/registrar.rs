//! Registration: one create-only write per user.
//!
//! The bucket therefore decides which of two concurrent registrations of a name succeeds.

use std::sync::Arc;

use tracing::info;

use super::profile_store::{MAX_READ_WAIT, ProfileStore, StoredProfile};
use super::registration_quota::{Admission, RegistrationQuota};
use crate::registry::auth::credentials::Caller;
use crate::registry::auth::password_verifier::PasswordVerifier;
use crate::registry::auth::token_signer::{IssuedToken, TokenSigner};
use crate::registry::error::{AuthError, LookupError, RegisterError, StorageUnavailable};
use crate::registry::online::online_clients::OnlineClients;
use crate::registry::quotas::Quotas;
use crate::registry::random;
use crate::registry::replication_source::ReplicationSource;
use crate::storage::{CreateOutcome, Key};
use rollcall_core::{Addr, Metadata, Password, Profile, Term, UserId, Username};

/// A request to register a user.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterRequest {
    /// The name.
    pub username: Username,
    /// The address at which other clients reach the user, if any.
    pub addr: Option<Addr>,
    /// The password, if any.
    pub password: Option<Password>,
    /// Metadata; may be empty.
    pub metadata: Metadata,
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RegisterOutcome {
    /// The name was free, and the registration is durable now.
    New(UserId),
    /// The user was registered before, with the same address, metadata and password.
    Repeated(UserId),
}

/// A successful registration, new or repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletedRegistration {
    /// Whether the registration is new.
    pub outcome: RegisterOutcome,
    /// A token, if the user has a password.
    pub issued_token: Option<IssuedToken>,
}

/// Registers users.
pub(crate) struct Registrar {
    profiles: Arc<ProfileStore>,
    verifier: Arc<PasswordVerifier>,
    tokens: Arc<TokenSigner>,
    source: Arc<ReplicationSource>,
    clients: Arc<OnlineClients>,
    require_password: bool,
    quota: RegistrationQuota,
}

impl Registrar {
    /// A registrar for the users in `profiles`. The time of a registration is the wall time that
    /// `clients` displays. With `require_password`, it rejects users without a password. It rejects
    /// new users beyond `quotas`.
    pub(crate) fn new(
        profiles: Arc<ProfileStore>,
        verifier: Arc<PasswordVerifier>,
        tokens: Arc<TokenSigner>,
        source: Arc<ReplicationSource>,
        clients: Arc<OnlineClients>,
        require_password: bool,
        quotas: Quotas,
    ) -> Self {
        let quota = RegistrationQuota::new(quotas);
        Self { profiles, verifier, tokens, source, clients, require_password, quota }
    }

    /// Registers a user. When this returns `Ok`, the registration is durable and known to a
    /// majority of the nodes.
    pub(crate) async fn register(
        &self,
        user: RegisterRequest,
        caller: Caller<'_>,
    ) -> Result<CompletedRegistration, RegisterError> {
        if user.password.is_none() && self.require_password {
            return Err(RegisterError::PasswordRequired);
        }
        if let Err(invalid) = check_new(&user) {
            // Another program may have registered this user.
            self.ensure_registered(&user.username, invalid, caller).await?;
        }
        let term = self.profiles.term();
        // A name in the index is taken, so neither a hash nor a write is needed.
        if self.profiles.index().get(&user.username).is_some() {
            return self.compare_with_bucket(user, term, caller).await;
        }
        let users = self.profiles.index().len();
        let admission = match self.quota.admit(caller.from, users, caller.now) {
            Ok(admission) => admission,
            // The name is new, so no read is needed to refuse it.
            Err(refusal) if self.profiles.index().is_complete() => return Err(refusal),
            Err(refusal) => {
                // Repetitions do not count, but the index of a new leader may lack the user.
                self.ensure_registered(&user.username, refusal, caller).await?;
                return self.compare_with_bucket(user, term, caller).await;
            }
        };
        let password_hash = match user.password.clone() {
            Some(password) => match self.verifier.hash(password, caller).await {
                Ok(hash) => Some(hash),
                Err(error) => {
                    admission.stored_nothing();
                    return Err(error.into());
                }
            },
            None => None,
        };
        let registered_at = self.clients.wall_time(caller.now);
        let profile = Profile {
            addr: user.addr,
            metadata: user.metadata.clone(),
            password_hash,
            ..Profile::new(random::user_id(), user.username.clone(), registered_at.to_rfc3339())
        };
        let key = Key::Profile(user.username.clone());
        let created = match self
            .profiles
            .bucket()
            .create(&key, profile.encode().into())
            .await
            .map_err(StorageUnavailable::from)
        {
            // The object exists but cannot be read, so the name is taken. A profile that cannot
            // be parsed also takes its name.
            Err(error) if error.concerns_one_object() => {
                self.profiles.report_unreadable(&user.username, &error.cause());
                admission.stored_nothing();
                return Err(RegisterError::Taken(user.username));
            }
            Err(error) if error.stored_nothing() => {
                admission.stored_nothing();
                return Err(error.into());
            }
            created => created?,
        };
        match created {
            CreateOutcome::Created(_) => {
                info!(user = %user.username, id = %profile.id, "user registered");
                let outcome = RegisterOutcome::New(profile.id);
                self.acknowledge(outcome, profile, Some(admission), term, caller).await
            }
            CreateOutcome::AlreadyExists(object) => {
                admission.stored_nothing();
                let stored = self.profiles.parse_profile(&user.username, &object.bytes);
                self.compare_with_stored(user, stored, term, caller).await
            }
        }
    }

    /// Returns `refusal` if the name is not registered. Reads the bucket if the index does not know
    /// the name.
    async fn ensure_registered(
        &self,
        name: &Username,
        refusal: RegisterError,
        caller: Caller<'_>,
    ) -> Result<(), RegisterError> {
        match self.profiles.look_up(name, caller).await {
            Ok(_) => Ok(()),
            Err(LookupError::NotRegistered(_)) => Err(refusal),
            Err(LookupError::Corrupt(name)) => Err(RegisterError::Taken(name)),
            Err(LookupError::Storage(unavailable)) => Err(unavailable.into()),
            Err(LookupError::Overloaded(overloaded)) => Err(overloaded.into()),
        }
    }

    /// Compares `user`, whose name is in the index, with its profile in the bucket.
    async fn compare_with_bucket(
        &self,
        user: RegisterRequest,
        term: Term,
        caller: Caller<'_>,
    ) -> Result<CompletedRegistration, RegisterError> {
        let permit = self.profiles.read_permit(caller.claimant(), MAX_READ_WAIT).await?;
        let stored = self.profiles.read_profile(&user.username).await?;
        drop(permit);
        match stored {
            // Users are never removed, so the bucket has lost the profile. The name still belongs
            // to its user.
            StoredProfile::Missing => Err(self.profiles.missing_error(&user.username).into()),
            stored => self.compare_with_stored(user, stored, term, caller).await,
        }
    }

    /// Compares `user` with the profile stored under its name, as read in `term`.
    async fn compare_with_stored(
        &self,
        user: RegisterRequest,
        stored: StoredProfile,
        term: Term,
        caller: Caller<'_>,
    ) -> Result<CompletedRegistration, RegisterError> {
        let taken = || RegisterError::Taken(user.username.clone());
        // A corrupt object also takes the name.
        let StoredProfile::Valid(profile) = stored else { return Err(taken()) };
        let same_details = profile.addr == user.addr && profile.metadata == user.metadata;
        let same_password = match (user.password.clone(), profile.password_hash.clone()) {
            (None, None) => true,
            // The password is hashed only if the rest is equal.
            (Some(password), Some(hash)) if same_details => {
                match self.verifier.verify_hash(&user.username, password, hash, caller).await {
                    Ok(()) => true,
                    Err(AuthError::WrongPassword(_)) => false,
                    Err(error) => return Err(error.into()),
                }
            }
            _ => false,
        };
        if !(same_details && same_password) {
            self.profiles.add_to_index(profile, term);
            return Err(taken());
        }
        self.acknowledge(RegisterOutcome::Repeated(profile.id), profile, None, term, caller).await
    }

    /// Adds a durable registration to the index, waits for a majority, and issues a token if there
    /// is a password.
    async fn acknowledge(
        &self,
        outcome: RegisterOutcome,
        profile: Profile,
        admission: Option<Admission<'_>>,
        term: Term,
        caller: Caller<'_>,
    ) -> Result<CompletedRegistration, RegisterError> {
        let issued_token = self.tokens.issue_for_profile(&profile, caller.wall);
        let name = profile.username.clone();
        self.profiles.add_to_index(profile, term);
        // From here on the index counts the user.
        drop(admission);
        self.source.wait_for_majority(&name).await.map_err(|_| RegisterError::NotReplicated(name))?;
        Ok(CompletedRegistration { outcome, issued_token })
    }
}

/// Checks the rules for new users. Users of other programs may break them.
fn check_new(user: &RegisterRequest) -> Result<(), RegisterError> {
    user.username.check_new()?;
    Ok(user.metadata.check_new()?)
}

#[cfg(test)]
mod tests;
