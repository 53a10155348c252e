//! The one place of the registry that draws randomness.

use rand::RngExt;

use rollcall_core::{UserId, WallMs};

/// The id of a new registration.
#[expect(clippy::disallowed_methods, reason = "this is the place of the registry that draws")]
pub(super) fn user_id() -> UserId {
    uuid::Uuid::new_v4()
}

/// The bytes of a secret key.
#[expect(clippy::disallowed_methods, reason = "this is the place of the registry that draws")]
pub(super) fn secret_key<const BYTES: usize>() -> [u8; BYTES] {
    rand::rng().random()
}

/// What tells apart pictures of one second. The millisecond comes first and chance after it, so that pictures of one
/// second sort by age too.
pub(super) fn image_suffix(now: WallMs) -> u32 {
    let (_, chance) = user_id().as_u64_pair();
    u32::from(now.subsecond_ms()) << 22 | u32::try_from(chance & 0x3f_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_one_second_sort_by_their_milliseconds() {
        let suffixes: Vec<u32> = [0, 1, 500, 999].map(|ms| image_suffix(WallMs::new(1_733_511_234_000 + ms))).to_vec();
        assert!(suffixes.is_sorted());
        assert_ne!(
            image_suffix(WallMs::new(5)),
            image_suffix(WallMs::new(5)),
            "with one chance in four million to fail"
        );
    }
}
