//! Random values of the registry. No other file of the registry generates any.

use rand::RngExt;

use rollcall_core::{UserId, WallMs};

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

/// Suffix of the name of an image stored at `now`; it distinguishes images of the same second. The
/// high bits are the millisecond and the low bits are random, so that images of one second sort by
/// age.
pub(super) fn image_suffix(now: WallMs) -> u32 {
    let (_, random_bits) = user_id().as_u64_pair();
    u32::from(now.subsecond_ms()) << 22 | u32::try_from(random_bits & 0x3f_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_the_same_second_sort_by_millisecond() {
        let suffixes: Vec<u32> = [0, 1, 500, 999].map(|ms| image_suffix(WallMs::new(1_733_511_234_000 + ms))).to_vec();
        assert!(suffixes.is_sorted());
        assert_ne!(
            image_suffix(WallMs::new(5)),
            image_suffix(WallMs::new(5)),
            "fails by chance once in four million runs"
        );
    }
}
