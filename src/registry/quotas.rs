//! Quotas: what one client address, one user and all users together may store, and the errors
//! beyond it.

use thiserror::Error;

use rollcall_core::{Rate, Username};

/// The quotas of a registry. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quotas {
    /// New registrations of one client address.
    pub registrations: Option<RegistrationRate>,
    /// Bytes of the images that one client address stores.
    pub uploads: Option<UploadRate>,
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

/// A burst of bytes, and then so many a second. Both are at least 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UploadRate {
    /// Bytes without a wait.
    pub burst_bytes: u64,
    /// Further bytes a second.
    pub bytes_per_second: u64,
}

impl UploadRate {
    /// The rate of the token bucket. A token is a millisecond of uploads at `bytes_per_second`.
    pub(super) fn bucket(self) -> Rate {
        Rate::new(self.tokens(self.burst_bytes), 1)
    }

    /// The tokens that an image of so many bytes takes. An image that is larger than the burst
    /// takes the whole bucket, because it could never be stored otherwise.
    pub(super) fn cost(self, bytes: u64) -> u64 {
        self.tokens(bytes.min(self.burst_bytes))
    }

    fn tokens(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1000).div_ceil(self.bytes_per_second.max(1))
    }
}

/// A client address registers users or stores images too quickly.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RateLimited {
    /// New registrations.
    #[error(
        "Too many new users from this address: registration_burst allows {} at once, and registration_rate {} a second \
         after that; try again in {} s",
        .rate.burst,
        .rate.per_second,
        .wait_ms.div_ceil(1000)
    )]
    Registrations {
        /// The limit.
        rate: RegistrationRate,
        /// Milliseconds until the next registration is accepted.
        wait_ms: u64,
    },
    /// Bytes of images.
    #[error(
        "Too many bytes of images from this address: upload_burst_bytes allows {} at once, and upload_rate_bytes {} a \
         second after that; try again in {} s",
        .rate.burst_bytes,
        .rate.bytes_per_second,
        .wait_ms.div_ceil(1000)
    )]
    Uploads {
        /// The limit.
        rate: UploadRate,
        /// Milliseconds until this image is accepted.
        wait_ms: u64,
    },
}

impl RateLimited {
    /// Milliseconds until the same request is accepted.
    #[must_use]
    pub fn wait_ms(self) -> u64 {
        match self {
            Self::Registrations { wait_ms, .. } | Self::Uploads { wait_ms, .. } => wait_ms,
        }
    }
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
