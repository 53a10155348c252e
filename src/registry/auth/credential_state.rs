//! Cached state of a user's password: enough to check a token, without the password itself. Pure.
//!
//! Each token contains a fingerprint of the password. If it differs from the fingerprint here, the
//! password was changed after the token was issued.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use rollcall_core::{Profile, Term, UserId};

/// Domain separator: keeps these digests apart from any other digest of the same bytes.
const DOMAIN_SEPARATOR: &[u8] = b"rollcall password mark 1";

/// Length of a fingerprint in bytes. 128 bits are enough to tell passwords of one user apart.
const FINGERPRINT_BYTES: usize = 16;

/// Fingerprint of one password of one user: the first bytes of a digest of the user id and the
/// stored hash. The salt in the hash is secret, so the fingerprint reveals nothing about the
/// password.
#[derive(Clone, Copy, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct PasswordFingerprint([u8; FINGERPRINT_BYTES]);

/// A node's knowledge about a user's password.
///
/// Nodes may know different states, and [`Self::merge`] selects the newer one. It is commutative,
/// associative and idempotent, so the order and the number of deliveries do not matter. A state
/// from a later term is newer, because the leader of that term has read all earlier writes. Within
/// a term only the leader writes, and it raises `version` with each change.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum CredentialState {
    /// The user has no password and can never get one.
    #[default]
    Open,
    /// The user has a password, but this node does not know in this term whether its fingerprint is
    /// the latest. The bucket must be read.
    Unread { term: Term },
    /// The fingerprint of the password as read or written in this term.
    Known { term: Term, version: u32, fingerprint: PasswordFingerprint },
}

impl PasswordFingerprint {
    pub(crate) const BYTES: usize = FINGERPRINT_BYTES;

    pub(crate) fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; FINGERPRINT_BYTES] {
        &self.0
    }

    fn new(user: UserId, hash: &str) -> Self {
        let digest =
            Sha256::new().chain_update(DOMAIN_SEPARATOR).chain_update(user.as_bytes()).chain_update(hash).finalize();
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
        Self(fingerprint)
    }
}

impl fmt::Debug for PasswordFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordFingerprint(…)")
    }
}

impl CredentialState {
    /// The state of a profile that was read or written in `term`.
    pub(crate) fn from_profile(profile: &Profile, term: Term) -> Self {
        profile.password_hash.as_ref().map_or(Self::Open, |hash| {
            let fingerprint = PasswordFingerprint::new(profile.id, hash.reveal());
            Self::Known { term, version: profile.password_version, fingerprint }
        })
    }

    /// Whether the user has no password.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    /// The fingerprint of the password, if it is known.
    pub(crate) fn fingerprint(self) -> Option<PasswordFingerprint> {
        match self {
            Self::Known { fingerprint, .. } => Some(fingerprint),
            Self::Open | Self::Unread { .. } => None,
        }
    }

    /// The term in which this state was read, written or invalidated.
    pub(crate) fn term(self) -> Term {
        match self {
            Self::Open => Term::default(),
            Self::Unread { term } | Self::Known { term, .. } => term,
        }
    }

    /// The state after invalidation in `term`: the password must be read again. `Open` does not
    /// change.
    pub(crate) fn invalidated(self, term: Term) -> Self {
        if self.is_open() { self } else { Self::Unread { term } }
    }

    /// The newer of the two states.
    pub(crate) fn merge(self, other: Self) -> Self {
        if self.rank().cmp(&other.rank()) == Ordering::Less { other } else { self }
    }

    /// Sort key of a state; newer states have greater keys. Two different states never have equal
    /// keys.
    fn rank(self) -> (Term, u8, u32, PasswordFingerprint) {
        match self {
            Self::Open => (Term::default(), 0, 0, PasswordFingerprint::default()),
            Self::Unread { term } => (term, 1, 0, PasswordFingerprint::default()),
            Self::Known { term, version, fingerprint } => (term, 2, version, fingerprint),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::testing::{hex, name};
    use rollcall_core::PasswordHash;

    fn profile(hash: Option<&str>) -> Profile {
        Profile {
            password_hash: hash.map(|hash| PasswordHash::new(hash.to_owned())),
            ..Profile::new(UserId::from_u128(7), name("alice"), String::new())
        }
    }

    pub(crate) fn credential_state() -> impl Strategy<Value = CredentialState> {
        let (term, version, fingerprint) = (0_u64..3, 0_u32..3, 0_u8..3);
        (0_u8..3, term, version, fingerprint).prop_map(|(kind, term, version, fingerprint)| match kind {
            0 => CredentialState::Open,
            1 => CredentialState::Unread { term: Term(term) },
            _ => CredentialState::Known {
                term: Term(term),
                version,
                fingerprint: PasswordFingerprint([fingerprint; FINGERPRINT_BYTES]),
            },
        })
    }

    /// Tokens and replicated rows contain fingerprints.
    #[test]
    fn a_fingerprint_has_its_golden_bytes() {
        let fingerprint = CredentialState::from_profile(&profile(Some("$argon2id$a")), Term(1)).fingerprint().unwrap();
        assert_eq!(hex(fingerprint.as_bytes()), "56fea05c9cab4a6e48b7d75e49080d01");
    }

    #[test]
    fn fingerprints_differ_by_hash_and_by_user_and_debug_output_hides_them() {
        let fingerprint = |profile: &Profile| CredentialState::from_profile(profile, Term(1)).fingerprint().unwrap();
        let alice = profile(Some("$argon2id$a"));
        let bob = Profile { id: UserId::from_u128(8), ..alice.clone() };
        assert_ne!(fingerprint(&alice), fingerprint(&profile(Some("$argon2id$b"))));
        assert_ne!(fingerprint(&alice), fingerprint(&bob));
        assert_eq!(fingerprint(&alice), fingerprint(&alice));
        assert!(CredentialState::from_profile(&profile(None), Term(1)).is_open());
        assert_eq!(format!("{:?}", fingerprint(&alice)), "PasswordFingerprint(…)");
    }

    #[test]
    fn a_state_from_a_later_term_or_a_later_change_of_the_same_term_is_newer() {
        let known = |term, version| CredentialState::Known {
            term: Term(term),
            version,
            fingerprint: PasswordFingerprint::default(),
        };
        let invalidated = |term| CredentialState::Unread { term: Term(term) };
        for (older, newer) in [
            (CredentialState::Open, invalidated(0)),
            (invalidated(1), known(1, 0)),
            (known(1, 0), known(1, 1)),
            // Nodes with newer states may have failed, so the password must be read again.
            (known(1, 5), invalidated(2)),
            (known(1, 5), known(2, 0)),
        ] {
            assert_eq!(older.merge(newer), newer);
            assert_eq!(newer.merge(older), newer);
        }
    }

    proptest! {
        #[test]
        fn merging_credential_states_is_commutative_associative_and_idempotent(a in credential_state(), b in credential_state(), c in credential_state()) {
            prop_assert_eq!(a.merge(b), b.merge(a));
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            prop_assert_eq!(a.merge(b).merge(b), a.merge(b));
            prop_assert_eq!(a.merge(a), a);
        }
    }
}
