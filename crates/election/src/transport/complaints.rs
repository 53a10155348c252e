//! Which refusals are worth a line in the log. Pure.
//!
//! A node that does not belong here tries again every second, from both sides, for as long as nobody corrects it; and
//! anybody who reaches the port can cause refusals. So one line a minute for each member and kind, and one for all who
//! are no members.

use std::collections::HashMap;

use crate::process::NodeId;
use crate::wire::refusal::RefusalKind;
use rollcall_core::BootMs;

/// The same complaint is not repeated earlier.
const REPEAT_AFTER_MS: u64 = 60_000;

/// Longest piece of another program's text that a log line repeats, in characters.
pub(crate) const MAX_QUOTED_CHARS: usize = 600;

/// What was complained of lately. Bounded: members and kinds are few.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    latest: HashMap<(Option<NodeId>, RefusalKind), BootMs>,
}

impl Complaints {
    /// Whether to log that `who` (`None` for whoever is no member) was refused, or refused us.
    pub(crate) fn is_due(&mut self, who: Option<NodeId>, kind: RefusalKind, now: BootMs) -> bool {
        // Being told to try again is no trouble yet.
        if kind == RefusalKind::NotYet {
            return false;
        }
        let due = self.latest.get(&(who, kind)).is_none_or(|last| now.since(*last) >= REPEAT_AFTER_MS);
        if due {
            self.latest.insert((who, kind), now);
        }
        due
    }

    /// A link to a member stands, so whatever comes next is news.
    pub(crate) fn forget(&mut self, who: NodeId) {
        self.latest.retain(|(complained, _), _| *complained != Some(who));
    }
}

#[cfg(test)]
mod tests {
    use rollcall_core::escape::sanitize_line;

    use super::*;

    #[test]
    fn a_complaint_is_repeated_after_a_minute_or_after_a_good_link() {
        let mut complaints = Complaints::default();
        let (member, stranger) = (Some(NodeId(1)), None);
        assert!(complaints.is_due(member, RefusalKind::Different, BootMs(0)));
        assert!(!complaints.is_due(member, RefusalKind::Different, BootMs(59_999)));
        assert!(complaints.is_due(member, RefusalKind::Doubled, BootMs(1)), "another kind");
        assert!(complaints.is_due(stranger, RefusalKind::Different, BootMs(1)), "somebody else");
        assert!(complaints.is_due(member, RefusalKind::Different, BootMs(60_000)));
        complaints.forget(NodeId(1));
        assert!(complaints.is_due(member, RefusalKind::Different, BootMs(60_001)));
        assert!(!complaints.is_due(stranger, RefusalKind::Different, BootMs(60_000)));
        assert!(!complaints.is_due(member, RefusalKind::NotYet, BootMs(0)));
    }

    #[test]
    fn what_others_said_is_one_short_line() {
        let line = sanitize_line(&format!("a\nb\u{1b}[31m{}", "x".repeat(10_000)), MAX_QUOTED_CHARS);
        assert!(line.starts_with("a b\u{fffd}[31m") && line.chars().count() == MAX_QUOTED_CHARS + 1);
    }
}
