//! What a node knows of a user's password without knowing the password: enough to tell a token that is good from one that
//! was given before the last change. Pure.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use rollcall_core::{Profile, Term, UserId};

/// Keeps these digests apart from whatever else is ever made of the same bytes.
const DOMAIN_SEPARATOR: &[u8] = b"rollcall password mark 1";

const FINGERPRINT_BYTES: usize = 16;

/// Names one password of one user: a part of a digest over the stored hash, whose salt nobody else knows. Nothing can be
/// learnt from it about the password.
#[derive(Clone, Copy, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct PasswordFingerprint([u8; FINGERPRINT_BYTES]);

/// What is known of a user's password.
///
/// Two nodes may know different things. [`Self::merge`] says which of them is right; it is commutative, associative and
/// idempotent, so that it does not matter in which order, or how often, nodes tell each other. What was seen in a later
/// term is merge: whoever leads it reads what all before it wrote. Within an term only its leader writes, and counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum CredentialState {
    /// There is none, and never will be.
    #[default]
    Open,
    /// There is one; which, was not known for certain in that term, and must be read from the bucket.
    Unread { term: Term },
    /// This one, as it was read or written in that term.
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
    /// What a profile says that was asked for, or written, in `term`.
    pub(crate) fn from_profile(profile: &Profile, term: Term) -> Self {
        profile.password_hash.as_ref().map_or(Self::Open, |hash| {
            let fingerprint = PasswordFingerprint::new(profile.user_id, hash.reveal());
            Self::Known { term, version: profile.password_version, fingerprint }
        })
    }

    /// Whether there is no password.
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

    /// When it was known, or known to be unknown.
    pub(crate) fn term(self) -> Term {
        match self {
            Self::Open => Term::default(),
            Self::Unread { term } | Self::Known { term, .. } => term,
        }
    }

    /// The same, if it must be read again in `term`.
    pub(crate) fn invalidated(self, term: Term) -> Self {
        if self.is_open() { self } else { Self::Unread { term } }
    }

    /// Which of the two is right.
    pub(crate) fn merge(self, other: Self) -> Self {
        if self.rank().cmp(&other.rank()) == Ordering::Less { other } else { self }
    }

    /// Total, so that no two different guards are equally new.
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
    use crate::registry::testing::name;
    use rollcall_core::{Metadata, PasswordHash};

    fn profile(hash: Option<&str>) -> Profile {
        Profile {
            user_id: UserId::from_u128(7),
            username: name("alice"),
            addr: None,
            registered_at: String::new(),
            metadata: Metadata::default(),
            password_hash: hash.map(|hash| PasswordHash::new(hash.to_owned())),
            password_version: 0,
        }
    }

    pub(crate) fn credential() -> impl Strategy<Value = CredentialState> {
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

    #[test]
    fn another_hash_or_another_user_has_another_mark_and_none_shows_the_hash() {
        let fingerprint = |profile: &Profile| CredentialState::from_profile(profile, Term(1)).fingerprint().unwrap();
        let alice = profile(Some("$argon2id$a"));
        let bob = Profile { user_id: UserId::from_u128(8), ..alice.clone() };
        assert_ne!(fingerprint(&alice), fingerprint(&profile(Some("$argon2id$b"))));
        assert_ne!(fingerprint(&alice), fingerprint(&bob));
        assert_eq!(fingerprint(&alice), fingerprint(&alice));
        assert!(CredentialState::from_profile(&profile(None), Term(1)).is_open());
        assert_eq!(format!("{:?}", fingerprint(&alice)), "PasswordFingerprint(…)");
    }

    #[test]
    fn what_a_later_epoch_found_is_newer_and_so_is_a_later_change_of_one_epoch() {
        let known = |term, version| CredentialState::Known {
            term: Term(term),
            version,
            fingerprint: PasswordFingerprint::default(),
        };
        let invalidated = |term| CredentialState::Unread { term: Term(term) };
        for (older, merge) in [
            (CredentialState::Open, invalidated(0)),
            (invalidated(1), known(1, 0)),
            (known(1, 0), known(1, 1)),
            // Whoever knew more may be gone, and what is left be older: so it is read again.
            (known(1, 5), invalidated(2)),
            (known(1, 5), known(2, 0)),
        ] {
            assert_eq!(older.merge(merge), merge);
            assert_eq!(merge.merge(older), merge);
        }
    }

    proptest! {
        #[test]
        fn in_which_order_and_how_often_nodes_tell_makes_no_difference(a in credential(), b in credential(), c in credential()) {
            prop_assert_eq!(a.merge(b), b.merge(a));
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            prop_assert_eq!(a.merge(b).merge(b), a.merge(b));
            prop_assert_eq!(a.merge(a), a);
        }
    }
}
