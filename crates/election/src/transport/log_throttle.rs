//! Rate limit for log lines about refused links. Pure.
//!
//! A misconfigured node and the other nodes dial each other every second until an operator corrects
//! the configuration. Any program that reaches the port can cause refusals too. Therefore at most
//! one line a minute is logged for each member and kind of refusal. All non-members count as one
//! member.

use std::collections::HashMap;

use crate::process::NodeId;
use crate::wire::refusal::RefusalKind;
use rollcall_core::BootMs;

/// Shortest interval between two log lines for the same key, in milliseconds.
const REPEAT_AFTER_MS: u64 = 60_000;

/// Longest quotation of another program's text in a log line, in characters.
pub(crate) const MAX_QUOTED_CHARS: usize = 600;

/// Time of the latest log line per member and kind of refusal. The map is bounded by the number of
/// members and kinds.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    latest: HashMap<(Option<NodeId>, RefusalKind), BootMs>,
}

impl LogThrottle {
    /// Whether to log a refusal by or of `member`. `None` stands for all non-members.
    pub(crate) fn should_log(&mut self, member: Option<NodeId>, kind: RefusalKind, now: BootMs) -> bool {
        // The refused node tries again soon, so this is not a problem.
        if kind == RefusalKind::TryAgain {
            return false;
        }
        let due = self.latest.get(&(member, kind)).is_none_or(|last| now.since(*last) >= REPEAT_AFTER_MS);
        if due {
            self.latest.insert((member, kind), now);
        }
        due
    }

    /// Forgets the lines about this member, because a link to it is up. Its next refusal is logged
    /// at once.
    pub(crate) fn reset(&mut self, member: NodeId) {
        self.latest.retain(|(refused, _), _| *refused != Some(member));
    }
}

#[cfg(test)]
mod tests {
    use rollcall_core::escape::sanitize_line;

    use super::*;

    #[test]
    fn a_refusal_is_logged_again_after_a_minute_or_after_a_link() {
        let mut log_throttle = LogThrottle::default();
        let (member, non_member) = (Some(NodeId(1)), None);
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(0)));
        assert!(!log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(59_999)));
        assert!(log_throttle.should_log(member, RefusalKind::AddressConflict, BootMs(1)), "another kind");
        assert!(log_throttle.should_log(non_member, RefusalKind::ConfigMismatch, BootMs(1)), "not a member");
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(60_000)));
        log_throttle.reset(NodeId(1));
        assert!(log_throttle.should_log(member, RefusalKind::ConfigMismatch, BootMs(60_001)));
        assert!(!log_throttle.should_log(non_member, RefusalKind::ConfigMismatch, BootMs(60_000)));
        assert!(!log_throttle.should_log(member, RefusalKind::TryAgain, BootMs(0)));
    }

    #[test]
    fn quoted_text_is_one_short_line() {
        let line = sanitize_line(&format!("a\nb\u{1b}[31m{}", "x".repeat(10_000)), MAX_QUOTED_CHARS);
        assert!(line.starts_with("a b\u{fffd}[31m") && line.chars().count() == MAX_QUOTED_CHARS + 1);
    }
}
