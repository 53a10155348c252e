//! Errors of the registry. `Display` is the message for the client; `source` is for the log only.

use thiserror::Error;

use super::auth::credentials::DenialReason;
use super::images::image_check::rejection::ImageRejection;
use super::quotas::{QuotaExceeded, RateLimited};
use crate::storage::BucketError;
use rollcall_core::{InvalidMetadata, InvalidUsername, Username};

const STORAGE_UNAVAILABLE: &str = "The storage is unavailable at the moment; try again shortly";
const STORAGE_FULL: &str = "The storage is full; the operator must free some space, or change min_free_bytes; the log \
                            of the node has the figures";

/// The bucket did not reply, or replied with an error. A write may have taken effect, and it is
/// safe to repeat it. The source is the error of the bucket, for the log only.
#[derive(Clone, Debug, Error)]
#[error("{}", if self.is_full() { STORAGE_FULL } else { STORAGE_UNAVAILABLE })]
pub struct StorageUnavailable(#[source] Box<BucketError>);

impl From<BucketError> for StorageUnavailable {
    fn from(cause: BucketError) -> Self {
        Self(Box::new(cause))
    }
}

impl StorageUnavailable {
    /// The error of the bucket, for the log.
    #[must_use]
    pub fn cause(&self) -> String {
        self.0.to_string()
    }

    /// Whether the bucket has no space for objects of users.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(*self.0, BucketError::Full { .. })
    }

    /// Whether a write that failed with this error stored nothing: the store refused it, or it was
    /// not tried. That an earlier attempt of the same call took effect is too rare to count.
    pub(super) fn stored_nothing(&self) -> bool {
        match *self.0 {
            BucketError::Unavailable { .. } | BucketError::Full { .. } | BucketError::Unreadable { .. } => true,
            BucketError::TimedOut { .. } | BucketError::Vanished { .. } => false,
        }
    }

    /// Whether the error is about one unreadable object, while the bucket itself works.
    pub(super) fn concerns_one_object(&self) -> bool {
        matches!(*self.0, BucketError::Unreadable { .. })
    }
}

/// A fair pool had no place for a request, or another client needs its connection.
#[derive(Clone, Copy, Debug, Error)]
#[error("Too many requests of this kind are in progress; try again in a second")]
pub struct Overloaded;

/// A read of the bucket for a client failed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Too many reads wait.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The bucket did not reply.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
}

impl ReadError {
    /// The error for the log.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Overloaded(overloaded) => overloaded.to_string(),
            Self::Storage(unavailable) => unavailable.cause(),
        }
    }

    /// Whether the error is about one unreadable object, while the bucket itself works.
    pub(super) fn concerns_one_object(&self) -> bool {
        matches!(self, Self::Storage(unavailable) if unavailable.concerns_one_object())
    }
}

impl From<BucketError> for ReadError {
    fn from(cause: BucketError) -> Self {
        StorageUnavailable::from(cause).into()
    }
}

/// A user could not be looked up.
#[derive(Debug, Error)]
pub enum LookupError {
    /// No user with this name is registered.
    #[error("User '{0}' is not registered; register with POST /register first")]
    NotRegistered(Username),
    /// The user's profile is unreadable. This was logged at the first read.
    #[error("The stored profile of '{0}' cannot be read; the operator must restore it")]
    Corrupt(Username),
    /// The bucket did not reply.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    /// Too many reads wait.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

impl From<ReadError> for LookupError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overloaded(overloaded) => overloaded.into(),
            ReadError::Storage(unavailable) => unavailable.into(),
        }
    }
}

/// A registration failed.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The name is not registered, and it breaks the rule for names of new users.
    #[error(transparent)]
    Name(#[from] InvalidUsername),
    /// The name is not registered, and the metadata breaks the rule for new users.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// The client's address registers users too quickly.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The registry has as many users as it may.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The name is registered with other data.
    #[error("User '{0}' is already registered with other data; choose another name")]
    Taken(Username),
    /// The bucket did not reply.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    /// Too many reads wait.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The registration is stored, but not yet known to a majority of the nodes.
    #[error("User '{0}' is stored, but not known to a majority of the nodes yet; send the same registration again")]
    NotReplicated(Username),
    /// The settings require a password and the request has none.
    #[error("A password is required: give one in the field \"password\"")]
    PasswordRequired,
    /// The password could not be hashed, or could not be compared with that of an earlier
    /// registration.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// Authentication or authorization failed, or a password was not changed.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The user could not be looked up.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The credentials were rejected.
    #[error("User '{0}' is protected by a password: {1}")]
    Unauthorized(Username, DenialReason),
    /// The settings require a password and this user has none.
    #[error("User '{0}' has no password, and one is required here: register another name with a password")]
    PasswordRequired(Username),
    /// The password is wrong.
    #[error("The password of '{0}' is wrong")]
    WrongPassword(Username),
    /// The user has no password, so there is nothing to verify.
    #[error(
        "User '{0}' was registered without a password: its heartbeats need no token, and it cannot be given a password"
    )]
    NoPassword(Username),
    /// Too many wrong passwords.
    #[error("Too many wrong passwords; try again in {} s", .wait_ms.div_ceil(1000))]
    TooManyAttempts {
        /// Milliseconds until the next attempt is accepted.
        wait_ms: u64,
    },
    /// The queue for password hashing is full.
    #[error("Too many passwords are being checked at the moment; try again in a second")]
    Overloaded,
    /// The password could not be hashed.
    #[error("The password could not be processed; try again")]
    Hashing(String),
    /// Every attempt to change the password failed, because another request changed it at the same
    /// time.
    #[error("The password of '{0}' is being changed by another request; try again")]
    Contended(Username),
    /// The password is stored, but not yet known to a majority of the nodes.
    #[error(
        "The password of '{0}' is stored, but not known to a majority of the nodes yet; send the same request again"
    )]
    NotReplicated(Username),
}

impl AuthError {
    /// Milliseconds until the next attempt is accepted; 0 for an error that does not end by
    /// waiting.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        if let Self::TooManyAttempts { wait_ms } = self { *wait_ms } else { 0 }
    }
}

impl From<StorageUnavailable> for AuthError {
    fn from(unavailable: StorageUnavailable) -> Self {
        Self::Lookup(LookupError::Storage(unavailable))
    }
}

/// An image was not stored.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The user could not be looked up, or the request is not authorized to act for the user.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The image breaks a rule.
    #[error("Upload failed: Validation error: {0}")]
    Rejected(#[from] ImageRejection),
    /// The bucket did not reply.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    /// Too many images wait to be checked, or too many reads wait.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The client's address stores images too quickly.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The user has as many images as it may.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// All generated names were taken. Practically this does not happen.
    #[error("Found no free name for the image; try again")]
    NoFreeName,
}

impl From<ReadError> for UploadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overloaded(overloaded) => overloaded.into(),
            ReadError::Storage(unavailable) => unavailable.into(),
        }
    }
}

impl UploadError {
    /// Whether an upload that failed with this error stored nothing.
    pub(super) fn stored_nothing(&self) -> bool {
        match self {
            Self::Storage(error) => error.stored_nothing(),
            Self::Auth(_)
            | Self::Rejected(_)
            | Self::Overloaded(_)
            | Self::RateLimited(_)
            | Self::Quota(_)
            | Self::NoFreeName => true,
        }
    }
}

/// An image could not be read.
#[derive(Debug, Error)]
pub enum ImageError {
    /// There is no image with this name.
    #[error("There is no such image")]
    NotFound,
    /// The image could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The users could not be listed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UsersError {
    /// A new leader is still reading the bucket.
    #[error("The list of users is being read from the storage and is not complete yet; try again shortly")]
    IndexRebuilding,
}
