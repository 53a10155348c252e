//! Order of two versions of one user's profile. The only place that decides which of them a copy
//! keeps.

use rollcall_core::{Profile, Username};

/// Order of the profile in the source of a copy and the different one in its target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProfileOrder {
    /// The source has the later version.
    SourceIsNewer,
    /// The target has the later version.
    TargetIsNewer,
    /// Neither is a later version of the other. With the reason.
    Conflict(&'static str),
}

/// Compares two different profiles of `user` by their revision: the number of password changes.
/// Nothing else of a profile changes after the registration. Profiles of different registrations
/// have no order, because each counts from zero.
pub(super) fn profile_order(user: &Username, source: &[u8], target: &[u8]) -> ProfileOrder {
    let (source, target) = match (Profile::decode_of(user, source), Profile::decode_of(user, target)) {
        (Ok(source), Ok(target)) => (source, target),
        (Err(_), _) => return ProfileOrder::Conflict("the profile in the source cannot be read"),
        (_, Err(_)) => return ProfileOrder::Conflict("the profile in the target cannot be read"),
    };
    if source.id != target.id {
        return ProfileOrder::Conflict("the target has another registration of this name");
    }
    match source.password_version.cmp(&target.password_version) {
        std::cmp::Ordering::Greater => ProfileOrder::SourceIsNewer,
        std::cmp::Ordering::Less => ProfileOrder::TargetIsNewer,
        std::cmp::Ordering::Equal => ProfileOrder::Conflict("the target has other content with the same revision"),
    }
}

#[cfg(test)]
mod tests {
    use rollcall_core::UserId;

    use super::*;

    fn profile(id: u128, password_version: u32, status: &str) -> Vec<u8> {
        let id = UserId::from_u128(id);
        format!(
            r#"{{"id":"{id}","username":"alice","registered_at":"2025-12-06T18:19:25Z","status":"{status}","password_version":{password_version}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn the_greater_revision_of_one_registration_is_newer_and_nothing_else_is() {
        let alice = Username::parse("alice").unwrap();
        let order = |source: &[u8], target: &[u8]| profile_order(&alice, source, target);
        assert_eq!(order(&profile(1, 2, "a"), &profile(1, 1, "a")), ProfileOrder::SourceIsNewer);
        assert_eq!(order(&profile(1, 1, "a"), &profile(1, 2, "a")), ProfileOrder::TargetIsNewer);
        for (source, target, reason) in [
            (profile(1, 1, "a"), profile(1, 1, "b"), "same revision"),
            (profile(1, 2, "a"), profile(2, 1, "a"), "another registration"),
            (b"{".to_vec(), profile(1, 1, "a"), "in the source"),
            (profile(1, 1, "a"), b"{".to_vec(), "in the target"),
        ] {
            let found = order(&source, &target);
            assert!(matches!(found, ProfileOrder::Conflict(text) if text.contains(reason)), "{found:?}");
        }
    }
}
