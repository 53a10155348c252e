//! What can go wrong in each use case. Display is what the client reads; the source is for the log.

use thiserror::Error;

use super::auth::credentials::DenialReason;
use super::images::image_check::rejection::ImageRejection;
use crate::storage::BucketError;
use rollcall_core::Username;

/// The bucket did not answer. A write may have taken effect all the same; to repeat it is safe. What the bucket said is
/// the source, for the log only.
#[derive(Clone, Debug, Error)]
#[error("The storage is unavailable at the moment; try again shortly")]
pub struct StorageUnavailable(#[source] Box<BucketError>);

impl From<BucketError> for StorageUnavailable {
    fn from(cause: BucketError) -> Self {
        Self(Box::new(cause))
    }
}

impl StorageUnavailable {
    /// What the bucket said.
    #[must_use]
    pub fn cause(&self) -> String {
        self.0.to_string()
    }

    /// Whether only one object is in trouble, and the bucket is well.
    pub(super) fn concerns_one_object(&self) -> bool {
        matches!(*self.0, BucketError::Unreadable { .. })
    }
}

/// A user could not be looked up.
#[derive(Debug, Error)]
pub enum LookupError {
    /// Nobody registered under that name.
    #[error("User '{0}' is not registered; register with POST /register first")]
    NotRegistered(Username),
    /// There is a profile that cannot be read. It was logged when it was first met.
    #[error("The stored profile of '{0}' cannot be read; whoever runs this service has to repair it")]
    Corrupt(Username),
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
}

/// A registration was not made.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// Somebody registered under that name, with other data.
    #[error("User '{0}' is already registered with other data; choose another name")]
    Taken(Username),
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    /// It is stored, but too few nodes know of it yet.
    #[error("User '{0}' is stored, but not known to a majority of the nodes yet; send the same registration again")]
    NotReplicated(Username),
    /// Users must have a password here.
    #[error("A password is required: give one in the field \"password\"")]
    PasswordRequired,
    /// The password could not be hashed, or not be compared with that of an earlier registration.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// A request may not act for a user, or a password was neither proved nor changed.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The user could not be looked up.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The credentials are not good.
    #[error("User '{0}' is protected by a password: {1}")]
    Unauthorized(Username, DenialReason),
    /// Users must have a password here, and this one has none.
    #[error("User '{0}' has no password, and one is required here: register another name with a password")]
    PasswordRequired(Username),
    /// The password is not the user's.
    #[error("The password of '{0}' is another one")]
    WrongPassword(Username),
    /// The user has none, so there is nothing to prove.
    #[error(
        "User '{0}' was registered without a password: its heartbeats need no token, and it cannot be given a password"
    )]
    NoPassword(Username),
    /// Too many wrong passwords.
    #[error("Too many wrong passwords; try again in {} s", .wait_ms.div_ceil(1000))]
    TooManyAttempts {
        /// After how many milliseconds another is looked at.
        wait_ms: u64,
    },
    /// As many passwords as may wait to be hashed are waiting.
    #[error("Too many passwords are being checked at the moment; try again in a second")]
    Overloaded,
    /// The password could not be hashed.
    #[error("The password could not be processed; try again")]
    Hashing(String),
    /// The password was changed by others again and again.
    #[error("The password of '{0}' is being changed by others at the same time; try again")]
    Contended(Username),
    /// The password is stored, but too few nodes know of it yet.
    #[error(
        "The password of '{0}' is stored, but not known to a majority of the nodes yet; send the same request again"
    )]
    NotReplicated(Username),
}

impl AuthError {
    /// After how many milliseconds another try is looked at; 0 where waiting is not what helps.
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

/// A picture was not stored.
#[derive(Debug, Error)]
pub enum UploadError {
    /// Whose picture it is could not be found out, or the request may not act for that user.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The picture breaks a rule.
    #[error("Upload failed: Validation error: {0}")]
    Rejected(#[from] ImageRejection),
    /// The bucket did not answer, or had no free name.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
    /// Names that were drawn were taken again and again, which chance does not do.
    #[error("The image could not be named; try again")]
    NoFreeName,
}

/// A picture cannot be given.
#[derive(Debug, Error)]
pub enum ImageError {
    /// There is none of that name.
    #[error("There is no such image")]
    NotFound,
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
}

/// All clients with their pictures cannot be given.
#[derive(Debug, Error)]
pub enum ImagesStreamError {
    /// As many downloads as may run are running.
    #[error("Too many downloads of all images are running; try again in a second")]
    Busy,
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] StorageUnavailable),
}

/// The users could not be listed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UsersError {
    /// A new leader is still reading the bucket.
    #[error("The list of users is being read from the storage and is not whole yet; try again shortly")]
    IndexRebuilding,
}
