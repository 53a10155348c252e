//! Quotas: what one client address, one user and all users together may store, and the errors
//! beyond it.

use thiserror::Error;

use rollcall_core::{Rate, Username};

/// The quotas of a registry. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quotas {
    /// New registrations of one client address.
    pub registrations: Option<RegistrationRate>,
    /// Users in all.
    pub users: Option<u64>,
    /// Images of one user.
    pub images_per_user: Option<u64>,
    /// Bytes of all images of one user.
    pub image_bytes_per_user: Option<u64>,
}

/// A burst of new registrations, and then so many a second. Both are at least 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RegistrationRate {
    /// Registrations without a wait.
    pub burst: u64,
    /// Further registrations a second; at most 1000.
    pub per_second: u64,
}

impl RegistrationRate {
    /// The rate of the token bucket. Its refill time is a whole number of milliseconds.
    pub(super) fn bucket(self) -> Rate {
        Rate::new(self.burst, (1000 / self.per_second.max(1)).max(1))
    }
}

/// A client address registers users too quickly.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "Too many new users from this address: registration_burst allows {} at once, and registration_rate {} a second after \
     that; try again in {} s",
    .rate.burst,
    .rate.per_second,
    .wait_ms.div_ceil(1000)
)]
pub struct RateLimited {
    /// The limit.
    pub rate: RegistrationRate,
    /// Milliseconds until the next registration is accepted.
    pub wait_ms: u64,
}

/// A total is used up. Waiting does not help.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum QuotaExceeded {
    /// Users in all.
    #[error("The registry has {users} users, and max_users is {max}; ask the operator to raise max_users")]
    Users {
        /// Users now.
        users: u64,
        /// The quota.
        max: u64,
    },
    /// Images of one user.
    #[error("User '{user}' has {images} images, and max_images_per_user is {max}; ask the operator to raise it")]
    Images {
        /// The user.
        user: Username,
        /// Images now.
        images: u64,
        /// The quota.
        max: u64,
    },
    /// Bytes of all images of one user.
    #[error(
        "The images of user '{user}' would have {bytes} bytes with this one, and max_image_bytes_per_user is {max}; send \
         a smaller image, or ask the operator to raise the limit"
    )]
    ImageBytes {
        /// The user.
        user: Username,
        /// Bytes with the new image.
        bytes: u64,
        /// The quota.
        max: u64,
    },
}
