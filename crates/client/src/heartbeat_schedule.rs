//! When heartbeats are sent, and what is worth saying about them. Pure; the time is an argument.

use std::time::Duration;

use serde::Serialize;

use super::ClientError;
use rollcall_core::api::Accepted;

/// A server that suggests less would have its clients do nothing else.
const MIN_SUGGESTED: Duration = Duration::from_millis(100);
/// Nobody suggests more.
const MAX_SUGGESTED: Duration = Duration::from_hours(1);

/// When to send the next heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeartbeatInterval {
    /// When the server suggests.
    Suggested,
    /// Always after this time.
    Fixed(Duration),
}

impl HeartbeatInterval {
    /// How long after the sending of this heartbeat the next one is due.
    #[must_use]
    pub fn delay(self, accepted: &Accepted) -> Duration {
        match self {
            Self::Suggested => Duration::from_millis(accepted.next_heartbeat_ms).clamp(MIN_SUGGESTED, MAX_SUGGESTED),
            Self::Fixed(interval) => interval,
        }
    }

    /// Whether a client of this interval would fall offline between two heartbeats.
    #[must_use]
    pub fn exceeds_ttl(self, accepted: &Accepted) -> bool {
        self.delay(accepted) >= Duration::from_millis(accepted.ttl_ms)
    }
}

/// Something about a user's heartbeats that changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HeartbeatEvent {
    /// The first heartbeat was accepted.
    Online {
        /// What the leader said.
        message: String,
        /// The leader.
        leader: Option<String>,
        /// How long the user stays online without another heartbeat.
        ttl_ms: u64,
    },
    /// The registry lists the user at another address.
    Moved {
        /// What the leader said.
        message: String,
    },
    /// Another node accepts the heartbeats.
    LeaderChanged {
        /// The one before.
        from: Option<String>,
        /// The one now.
        to: Option<String>,
    },
    /// Nobody accepts them.
    Unreachable {
        /// Why.
        message: String,
    },
    /// They are accepted again.
    #[serde(rename = "back")]
    Recovered {
        /// Since the last one that was accepted.
        after_ms: u64,
    },
}

/// What becomes of the heartbeats after one that was not accepted.
#[derive(Debug, PartialEq)]
pub enum AfterFailure {
    /// The next one is sent at once; the change, if this is one.
    Retry(Option<HeartbeatEvent>),
    /// No further one would be accepted either.
    Stop,
}

/// What was said so far.
#[derive(Debug, Default)]
pub struct HeartbeatTracker {
    last: Option<LastAccepted>,
    is_failing: bool,
}

#[derive(Debug)]
struct LastAccepted {
    message: String,
    leader: Option<String>,
    at_ms: u64,
}

impl HeartbeatTracker {
    /// A heartbeat was accepted by `leader` at `now_ms`.
    pub fn on_accepted(&mut self, accepted: &Accepted, leader: Option<String>, now_ms: u64) -> Vec<HeartbeatEvent> {
        let Accepted { message, ttl_ms, .. } = accepted;
        let last = self.last.replace(LastAccepted { message: message.clone(), leader: leader.clone(), at_ms: now_ms });
        let Some(last) = last else {
            self.is_failing = false;
            return vec![HeartbeatEvent::Online { message: message.clone(), leader, ttl_ms: *ttl_ms }];
        };
        let mut events = Vec::new();
        if std::mem::take(&mut self.is_failing) {
            events.push(HeartbeatEvent::Recovered { after_ms: now_ms.saturating_sub(last.at_ms) });
        }
        if last.leader != leader {
            events.push(HeartbeatEvent::LeaderChanged { from: last.leader, to: leader });
        }
        if last.message != *message {
            events.push(HeartbeatEvent::Moved { message: message.clone() });
        }
        events
    }

    /// A heartbeat was not accepted, for all that the client tried.
    pub fn on_failed(&mut self, error: &ClientError) -> AfterFailure {
        let is_temporary = match error {
            // Too many guesses, or something broke inside the server: both pass.
            ClientError::Rejected { status, .. } => *status == 429 || *status >= 500,
            ClientError::NoServers | ClientError::Setup(_) => false,
            ClientError::Unreachable { .. }
            | ClientError::NotLeader { .. }
            | ClientError::NoLeader { .. }
            | ClientError::NoneReachable { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::Unavailable { .. }
            | ClientError::InvalidResponse { .. }
            | ClientError::DeadlineExceeded { .. } => true,
        };
        // Whoever has never been online may have mistyped the server.
        if !is_temporary || self.last.is_none() {
            return AfterFailure::Stop;
        }
        let is_new = !std::mem::replace(&mut self.is_failing, true);
        AfterFailure::Retry(is_new.then(|| HeartbeatEvent::Unreachable { message: error.to_string() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::api::Status;

    fn accepted(message: &str) -> Accepted {
        Accepted {
            success: true,
            status: Status::Ok,
            message: message.into(),
            last_seen: String::new(),
            ttl_ms: 30_000,
            next_heartbeat_ms: 10_000,
        }
    }

    fn take(tracker: &mut HeartbeatTracker, message: &str, leader: &str, now_ms: u64) -> Vec<HeartbeatEvent> {
        tracker.on_accepted(&accepted(message), Some(leader.to_owned()), now_ms)
    }

    fn refused(status: u16) -> ClientError {
        ClientError::Rejected { status, code: String::new(), message: "m".into() }
    }

    #[test]
    fn the_pace_is_the_server_s_unless_one_is_given() {
        let accepted = accepted("m");
        assert_eq!(HeartbeatInterval::Suggested.delay(&accepted), Duration::from_secs(10));
        assert_eq!(HeartbeatInterval::Fixed(Duration::from_secs(5)).delay(&accepted), Duration::from_secs(5));
        assert!(!HeartbeatInterval::Fixed(Duration::from_secs(29)).exceeds_ttl(&accepted));
        assert!(HeartbeatInterval::Fixed(Duration::from_secs(30)).exceeds_ttl(&accepted));
        let hasty = Accepted { next_heartbeat_ms: 0, ..accepted };
        assert_eq!(HeartbeatInterval::Suggested.delay(&hasty), MIN_SUGGESTED);
    }

    #[test]
    fn only_what_changed_is_said() {
        let mut tracker = HeartbeatTracker::default();
        let online = HeartbeatEvent::Online { message: "at a".into(), leader: Some("l1".into()), ttl_ms: 30_000 };
        assert_eq!(take(&mut tracker, "at a", "l1", 0), [online]);
        assert_eq!(take(&mut tracker, "at a", "l1", 10), []);
        let changed = HeartbeatEvent::LeaderChanged { from: Some("l1".into()), to: Some("l2".into()) };
        assert_eq!(take(&mut tracker, "at a", "l2", 20), [changed]);
        assert_eq!(take(&mut tracker, "at b", "l2", 30), [HeartbeatEvent::Moved { message: "at b".into() }]);
        assert_eq!(
            tracker.on_failed(&refused(500)),
            AfterFailure::Retry(Some(HeartbeatEvent::Unreachable { message: "m".into() }))
        );
        assert_eq!(tracker.on_failed(&refused(429)), AfterFailure::Retry(None));
        assert_eq!(take(&mut tracker, "at b", "l2", 4030), [HeartbeatEvent::Recovered { after_ms: 4000 }]);
    }

    #[test]
    fn a_refusal_ends_it_and_so_does_silence_at_the_start() {
        assert_eq!(HeartbeatTracker::default().on_failed(&refused(500)), AfterFailure::Stop);
        let mut tracker = HeartbeatTracker::default();
        take(&mut tracker, "m", "l", 0);
        for status in [400, 401, 404, 409] {
            assert_eq!(tracker.on_failed(&refused(status)), AfterFailure::Stop, "{status}");
        }
    }
}
