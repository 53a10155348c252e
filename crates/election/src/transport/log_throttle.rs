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
pub(crate) struct LogThrottle {
    latest: HashMap<(Option<NodeId>, RefusalKind), BootMs>,
}

impl LogThrottle {
    /// Whether to log that `member` (`None` for whoever is no member) was refused, or refused us.
    pub(crate) fn should_log(&mut self, member: Option<NodeId>, kind: RefusalKind, now: BootMs) -> bool {
        // Being told to try again is no trouble yet.
        if kind == RefusalKind::TryAgain {
            return false;
        }
        let due = self.latest.get(&(member, kind)).is_none_or(|last| now.since(*last) >= REPEAT_AFTER_MS);
        if due {
            self.latest.insert((member, kind), now);
        }
        due
    }

    /// A link to a member stands, so whatever comes next is news.
    pub(crate) fn reset(&mut self, member: NodeId) {
        self.latest.retain(|(refused, _), _| *refused != Some(member));
    }
}

#[cfg(test)]
mod tests {
    use rollcall_core::escape::sanitize_line;

    use super::*;

    #[test]
    fn a_complaint_is_repeated_after_a_minute_or_after_a_good_link() {
        let mut log_throttle = LogThrottle::default();
        let (member, stranger) = (Some(NodeId(1)), None);
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(0)));
        assert!(!log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(59_999)));
        assert!(log_throttle.should_log(member, RefusalKind::AddressConflict, BootMs(1)), "another kind");
        assert!(log_throttle.should_log(stranger, RefusalKind::ConfigMismatch, BootMs(1)), "somebody else");
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(60_000)));
        log_throttle.reset(NodeId(1));
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(60_001)));
        assert!(!log_throttle.should_log(stranger, RefusalKind::ConfigMismatch, BootMs(60_000)));
        assert!(!log_throttle.should_log(member, RefusalKind::TryAgain, BootMs(0)));
    }

    #[test]
    fn what_others_said_is_one_short_line() {
        let line = sanitize_line(&format!("a\nb\u{1b}[31m{}", "x".repeat(10_000)), MAX_QUOTED_CHARS);
        assert!(line.starts_with("a b\u{fffd}[31m") && line.chars().count() == MAX_QUOTED_CHARS + 1);
    }
}
