//! Cursor: a version of one leader's list, as clients send it back. It is opaque to clients.

use std::fmt;

use rollcall_core::{BootMs, Term};

/// The cursor of a client that has no list yet. It is the only cursor that a client may construct.
const INITIAL: &str = "0";

/// The leader that a version belongs to. A term has at most one leader. But if the data of a
/// cluster is deleted, the same terms occur again. Then the start times of the processes differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) struct ListSource {
    /// The term in which the list was read.
    pub(in crate::http) term: Term,
    /// Start time of the leader's process, on the leader's own boot clock.
    pub(in crate::http) started_at: BootMs,
}

/// A version of a leader's list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) struct ListCursor {
    /// The leader.
    pub(in crate::http) source: ListSource,
    /// The version of its list.
    pub(in crate::http) version: u64,
}

/// A cursor as a client sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http) enum ClientCursor {
    /// `0`: the client has no list yet.
    Initial,
    /// A cursor that a leader created.
    At(ListCursor),
}

impl ClientCursor {
    /// Parses a cursor. `None` if no leader can have created it.
    pub(in crate::http) fn parse(text: &str) -> Option<Self> {
        if text == INITIAL {
            return Some(Self::Initial);
        }
        let mut parts = text.split('-').map(parse_hex);
        let (term, started_at, version) = (parts.next()??, parts.next()??, parts.next()??);
        let source = ListSource { term: Term(term), started_at: BootMs(started_at) };
        parts.next().is_none().then_some(Self::At(ListCursor { source, version }))
    }

    /// The version, if the cursor is of this leader's list.
    pub(in crate::http) fn version_of(self, source: ListSource) -> Option<u64> {
        match self {
            Self::At(cursor) if cursor.source == source => Some(cursor.version),
            Self::At(_) | Self::Initial => None,
        }
    }
}

/// Hexadecimal digits only. The standard parser would also accept a sign.
fn parse_hex(text: &str) -> Option<u64> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
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
    fn a_cursor_that_no_leader_created_is_rejected_and_zero_is_the_initial_cursor() {
        assert_eq!(ClientCursor::parse("0"), Some(ClientCursor::Initial));
        for wrong in ["", "1", "1-2", "1-2-3-4", "1-2-", "--", "1-2-x", "1-+2-3", " 1-2-3", "1-2-10000000000000000"] {
            assert_eq!(ClientCursor::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_survives_a_round_trip_and_is_valid_at_its_source_only(
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
