//! Random values of the registry. No other file of the registry generates any.

use rand::RngExt;

use rollcall_core::UserId;

/// A random id for a new registration.
#[expect(clippy::disallowed_methods, reason = "the only file of the registry with randomness")]
pub(super) fn user_id() -> UserId {
    uuid::Uuid::new_v4()
}

/// Random bytes for a secret key.
#[expect(clippy::disallowed_methods, reason = "the only file of the registry with randomness")]
pub(super) fn secret_key<const BYTES: usize>() -> [u8; BYTES] {
    rand::rng().random()
}

/// Suffix of an image name; it distinguishes images of one number.
#[expect(clippy::disallowed_methods, reason = "the only file of the registry with randomness")]
pub(super) fn image_suffix() -> u32 {
    rand::rng().random()
}
