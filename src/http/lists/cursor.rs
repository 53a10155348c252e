//! A place in the changes of one leader's list, as clients carry it. What is in it is nobody's business but ours.

use std::fmt;

use rollcall_core::{BootMs, Term};

/// What a cursor that knows nothing yet looks like; anybody may write it.
const NOTHING_YET: &str = "0";

/// Whose changes are counted. A term has one leader, and the start of its process tells terms of a cluster from those of
/// another one whose data was deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) struct ListSource {
    /// The term in which the list was read.
    pub(in crate::http) term: Term,
    /// When the leader's process started, on its own clock.
    pub(in crate::http) started_at: BootMs,
}

/// A version of a leader's list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) struct ListCursor {
    /// Whose list.
    pub(in crate::http) source: ListSource,
    /// Its version.
    pub(in crate::http) version: u64,
}

/// A cursor as a client sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum ClientCursor {
    /// `0`: it knows no list yet.
    Initial,
    /// One that some leader gave.
    At(ListCursor),
}

impl ClientCursor {
    /// Reads a cursor; `None` for what no leader can have given.
    pub(in crate::http) fn parse(text: &str) -> Option<Self> {
        if text == NOTHING_YET {
            return Some(Self::Initial);
        }
        let mut parts = text.split('-').map(number);
        let (term, started_at, version) = (parts.next()??, parts.next()??, parts.next()??);
        let source = ListSource { term: Term(term), started_at: BootMs(started_at) };
        parts.next().is_none().then_some(Self::At(ListCursor { source, version }))
    }

    /// The version, if it is one of that leader's list.
    pub(in crate::http) fn version_of(self, source: ListSource) -> Option<u64> {
        match self {
            Self::At(cursor) if cursor.source == source => Some(cursor.version),
            Self::At(_) | Self::Initial => None,
        }
    }
}

/// Digits as we write them; the standard parser would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.source.term.0, self.source.started_at.0, self.version)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_leader_gave_is_refused_and_nothing_is_a_beginning() {
        assert_eq!(ClientCursor::parse("0"), Some(ClientCursor::Initial));
        for wrong in ["", "1", "1-2", "1-2-3-4", "1-2-", "--", "1-2-x", "1-+2-3", " 1-2-3", "1-2-10000000000000000"] {
            assert_eq!(ClientCursor::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was_given_and_counts_at_its_source_only(
            term in any::<u64>(), started in any::<u64>(), version in any::<u64>(),
        ) {
            let source = ListSource { term: Term(term), started_at: BootMs(started) };
            let given = ClientCursor::parse(&ListCursor { source, version }.to_string()).unwrap();
            prop_assert_eq!(given.version_of(source), Some(version));
            for other in [ListSource { term: Term(!term), ..source }, ListSource { started_at: BootMs(!started), ..source }] {
                prop_assert_eq!(given.version_of(other), None);
            }
        }
    }
}
