//! What can go wrong in each use case. Display is what the client reads; the source is for the log.

use thiserror::Error;

use super::picture::Rejected;
use crate::domain::Username;
use crate::storage::BucketError;

/// The bucket did not answer. A write may have taken effect all the same; to repeat it is safe. What the bucket said is
/// the source, for the log only.
#[derive(Clone, Debug, Error)]
#[error("The storage is unavailable at the moment; try again shortly")]
pub struct Unavailable(#[source] Box<BucketError>);

impl From<BucketError> for Unavailable {
    fn from(cause: BucketError) -> Self {
        Self(Box::new(cause))
    }
}

impl Unavailable {
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
    Storage(#[from] Unavailable),
}

/// A registration was not made.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// Somebody registered under that name, with other data.
    #[error("User '{0}' is already registered with other data; choose another name")]
    Taken(Username),
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] Unavailable),
    /// The password could not be hashed.
    #[error("The password could not be processed; try again")]
    Password(String),
}

/// A picture was not stored.
#[derive(Debug, Error)]
pub enum UploadError {
    /// Whose picture it is could not be found out.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The picture breaks a rule.
    #[error("Upload failed: Validation error: {0}")]
    Rejected(#[from] Rejected),
    /// The bucket did not answer, or had no free name.
    #[error(transparent)]
    Storage(#[from] Unavailable),
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
    Storage(#[from] Unavailable),
}

/// All clients with their pictures cannot be given.
#[derive(Debug, Error)]
pub enum BulkError {
    /// As many downloads as may run are running.
    #[error("Too many downloads of all images are running; try again in a second")]
    Busy,
    /// The bucket did not answer.
    #[error(transparent)]
    Storage(#[from] Unavailable),
}

/// The users could not be listed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UsersError {
    /// A new leader is still reading the bucket.
    #[error("The list of users is being read from the storage and is not whole yet; try again shortly")]
    IndexRebuilding,
    /// As many lists as may be made at once are being made or sent.
    #[error("Too many lists of users are asked for at the moment; try again shortly")]
    Busy,
}
