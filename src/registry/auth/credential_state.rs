//! What a node knows of a user's password without knowing the password: enough to tell a token that is good from one that
//! was given before the last change. Pure.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use rollcall_core::{Profile, Term, UserId};

/// Keeps these digests apart from whatever else is ever made of the same bytes.
const DOMAIN: &[u8] = b"rollcall password mark 1";

const MARK_BYTES: usize = 16;

/// Names one password of one user: a part of a digest over the stored hash, whose salt nobody else knows. Nothing can be
/// learnt from it about the password.
#[derive(Clone, Copy, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct Mark([u8; MARK_BYTES]);

/// What is known of a user's password.
///
/// Two nodes may know different things. [`Self::newer`] says which of them is right; it is commutative, associative and
/// idempotent, so that it does not matter in which order, or how often, nodes tell each other. What was seen in a later
/// epoch is newer: whoever leads it reads what all before it wrote. Within an epoch only its leader writes, and counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum Guard {
    /// There is none, and never will be.
    #[default]
    Open,
    /// There is one; which, was not known for certain in that epoch, and must be read from the bucket.
    Unread { epoch: Term },
    /// This one, as it was read or written in that epoch.
    Known { epoch: Term, version: u32, mark: Mark },
}

impl Mark {
    pub(crate) const BYTES: usize = MARK_BYTES;

    pub(crate) fn from_bytes(bytes: [u8; MARK_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; MARK_BYTES] {
        &self.0
    }

    fn of(user: UserId, hash: &str) -> Self {
        let digest = Sha256::new().chain_update(DOMAIN).chain_update(user.as_bytes()).chain_update(hash).finalize();
        let mut mark = [0; MARK_BYTES];
        mark.copy_from_slice(&digest[..MARK_BYTES]);
        Self(mark)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(…)")
    }
}

impl Guard {
    /// What a profile says that was asked for, or written, in `epoch`.
    pub(crate) fn of(profile: &Profile, epoch: Term) -> Self {
        profile.password_hash.as_ref().map_or(Self::Open, |hash| {
            let mark = Mark::of(profile.user_id, hash.reveal());
            Self::Known { epoch, version: profile.password_version, mark }
        })
    }

    /// Whether there is no password.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    /// The mark of the password, if it is known.
    pub(crate) fn mark(self) -> Option<Mark> {
        match self {
            Self::Known { mark, .. } => Some(mark),
            Self::Open | Self::Unread { .. } => None,
        }
    }

    /// When it was known, or known to be unknown.
    pub(crate) fn epoch(self) -> Term {
        match self {
            Self::Open => Term::default(),
            Self::Unread { epoch } | Self::Known { epoch, .. } => epoch,
        }
    }

    /// The same, if it must be read again in `epoch`.
    pub(crate) fn unread(self, epoch: Term) -> Self {
        if self.is_open() { self } else { Self::Unread { epoch } }
    }

    /// Which of the two is right.
    pub(crate) fn newer(self, other: Self) -> Self {
        if self.rank().cmp(&other.rank()) == Ordering::Less { other } else { self }
    }

    /// Total, so that no two different guards are equally new.
    fn rank(self) -> (Term, u8, u32, Mark) {
        match self {
            Self::Open => (Term::default(), 0, 0, Mark::default()),
            Self::Unread { epoch } => (epoch, 1, 0, Mark::default()),
            Self::Known { epoch, version, mark } => (epoch, 2, version, mark),
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

    pub(crate) fn guard() -> impl Strategy<Value = Guard> {
        let (epoch, version, mark) = (0_u64..3, 0_u32..3, 0_u8..3);
        (0_u8..3, epoch, version, mark).prop_map(|(kind, epoch, version, mark)| match kind {
            0 => Guard::Open,
            1 => Guard::Unread { epoch: Term(epoch) },
            _ => Guard::Known { epoch: Term(epoch), version, mark: Mark([mark; MARK_BYTES]) },
        })
    }

    #[test]
    fn another_hash_or_another_user_has_another_mark_and_none_shows_the_hash() {
        let mark = |profile: &Profile| Guard::of(profile, Term(1)).mark().unwrap();
        let alice = profile(Some("$argon2id$a"));
        let bob = Profile { user_id: UserId::from_u128(8), ..alice.clone() };
        assert_ne!(mark(&alice), mark(&profile(Some("$argon2id$b"))));
        assert_ne!(mark(&alice), mark(&bob));
        assert_eq!(mark(&alice), mark(&alice));
        assert!(Guard::of(&profile(None), Term(1)).is_open());
        assert_eq!(format!("{:?}", mark(&alice)), "Mark(…)");
    }

    #[test]
    fn what_a_later_epoch_found_is_newer_and_so_is_a_later_change_of_one_epoch() {
        let known = |epoch, version| Guard::Known { epoch: Term(epoch), version, mark: Mark::default() };
        let unread = |epoch| Guard::Unread { epoch: Term(epoch) };
        for (older, newer) in [
            (Guard::Open, unread(0)),
            (unread(1), known(1, 0)),
            (known(1, 0), known(1, 1)),
            // Whoever knew more may be gone, and what is left be older: so it is read again.
            (known(1, 5), unread(2)),
            (known(1, 5), known(2, 0)),
        ] {
            assert_eq!(older.newer(newer), newer);
            assert_eq!(newer.newer(older), newer);
        }
    }

    proptest! {
        #[test]
        fn in_which_order_and_how_often_nodes_tell_makes_no_difference(a in guard(), b in guard(), c in guard()) {
            prop_assert_eq!(a.newer(b), b.newer(a));
            prop_assert_eq!(a.newer(b).newer(c), a.newer(b.newer(c)));
            prop_assert_eq!(a.newer(b).newer(b), a.newer(b));
            prop_assert_eq!(a.newer(a), a);
        }
    }
}
