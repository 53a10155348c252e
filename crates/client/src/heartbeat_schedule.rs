//! Heartbeat interval, and a tracker that turns heartbeat results into events. Pure: time is an
//! argument.

use std::time::Duration;

use serde::Serialize;

use super::ClientError;
use rollcall_core::api::Accepted;

/// Shortest suggested delay that a client follows. With a shorter one, it would send heartbeats
/// without a pause.
const MIN_SUGGESTED: Duration = Duration::from_millis(100);
/// Longest suggested delay that a client follows. A longer one is an error of the server.
const MAX_SUGGESTED: Duration = Duration::from_hours(1);

/// Time between two heartbeats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeartbeatInterval {
    /// The delay that the server suggests in each response.
    Suggested,
    /// Always this delay.
    Fixed(Duration),
}

impl HeartbeatInterval {
    /// Delay from the sending of this heartbeat to the sending of the next one.
    #[must_use]
    pub fn delay(self, accepted: &Accepted) -> Duration {
        match self {
            Self::Suggested => Duration::from_millis(accepted.next_heartbeat_ms).clamp(MIN_SUGGESTED, MAX_SUGGESTED),
            Self::Fixed(interval) => interval,
        }
    }

    /// Whether a client with this interval goes offline before its next heartbeat.
    #[must_use]
    pub fn exceeds_ttl(self, accepted: &Accepted) -> bool {
        self.delay(accepted) >= Duration::from_millis(accepted.ttl_ms)
    }
}

/// Change in the results of a user's heartbeats.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HeartbeatEvent {
    /// The first heartbeat was accepted.
    Online {
        /// Message of the leader.
        message: String,
        /// Base URL of the leader.
        leader: Option<String>,
        /// Milliseconds after the last heartbeat until the user goes offline.
        ttl_ms: u64,
    },
    /// The registry now lists the user at another address.
    Moved {
        /// Message of the leader.
        message: String,
    },
    /// Another node accepts the heartbeats.
    LeaderChanged {
        /// Base URL of the leader before.
        from: Option<String>,
        /// Base URL of the leader now.
        to: Option<String>,
    },
    /// No node accepts the heartbeats.
    Unreachable {
        /// Reason.
        message: String,
    },
    /// Heartbeats are accepted again.
    #[serde(rename = "back")]
    Recovered {
        /// Milliseconds since the last accepted heartbeat.
        after_ms: u64,
    },
}

/// Decision after a heartbeat that was not accepted.
#[derive(Debug, PartialEq)]
pub enum AfterFailure {
    /// Retry. Contains an event if this is the first failure in a row.
    Retry(Option<HeartbeatEvent>),
    /// Stop, because a retry cannot succeed.
    Stop,
}

/// Turns the results of heartbeats into events, one for each change.
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
    /// Records that `leader` accepted a heartbeat at `now_ms`; returns the changes.
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

    /// Records that a heartbeat was not accepted in spite of all retries of the client.
    pub fn on_failed(&mut self, error: &ClientError) -> AfterFailure {
        let is_temporary = match error {
            // Too many login attempts, or an internal error of the server. Both are temporary.
            ClientError::Rejected { status, .. } => *status == 429 || *status >= 500,
            ClientError::NoServers | ClientError::Setup(_) => false,
            // The operator may replace a certificate.
            ClientError::Unreachable { .. }
            | ClientError::Tls { .. }
            | ClientError::NotLeader { .. }
            | ClientError::NoLeader { .. }
            | ClientError::UnknownLeader { .. }
            | ClientError::NoneReachable { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::Unavailable { .. }
            | ClientError::RateLimited { .. }
            | ClientError::InvalidResponse { .. }
            | ClientError::DeadlineExceeded { .. } => true,
        };
        // If no heartbeat was ever accepted, the URL of the server may be wrong.
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

    fn rejected(status: u16) -> ClientError {
        ClientError::Rejected { status, code: String::new(), message: "m".into() }
    }

    #[test]
    fn the_delay_is_the_suggested_one_unless_a_fixed_interval_is_given() {
        let accepted = accepted("m");
        assert_eq!(HeartbeatInterval::Suggested.delay(&accepted), Duration::from_secs(10));
        assert_eq!(HeartbeatInterval::Fixed(Duration::from_secs(5)).delay(&accepted), Duration::from_secs(5));
        assert!(!HeartbeatInterval::Fixed(Duration::from_secs(29)).exceeds_ttl(&accepted));
        assert!(HeartbeatInterval::Fixed(Duration::from_secs(30)).exceeds_ttl(&accepted));
        let too_short = Accepted { next_heartbeat_ms: 0, ..accepted };
        assert_eq!(HeartbeatInterval::Suggested.delay(&too_short), MIN_SUGGESTED);
    }

    #[test]
    fn only_a_change_produces_an_event() {
        let mut tracker = HeartbeatTracker::default();
        let online = HeartbeatEvent::Online { message: "at a".into(), leader: Some("l1".into()), ttl_ms: 30_000 };
        assert_eq!(take(&mut tracker, "at a", "l1", 0), [online]);
        assert_eq!(take(&mut tracker, "at a", "l1", 10), []);
        let changed = HeartbeatEvent::LeaderChanged { from: Some("l1".into()), to: Some("l2".into()) };
        assert_eq!(take(&mut tracker, "at a", "l2", 20), [changed]);
        assert_eq!(take(&mut tracker, "at b", "l2", 30), [HeartbeatEvent::Moved { message: "at b".into() }]);
        assert_eq!(
            tracker.on_failed(&rejected(500)),
            AfterFailure::Retry(Some(HeartbeatEvent::Unreachable { message: "m".into() }))
        );
        assert_eq!(tracker.on_failed(&rejected(429)), AfterFailure::Retry(None));
        assert_eq!(take(&mut tracker, "at b", "l2", 4030), [HeartbeatEvent::Recovered { after_ms: 4000 }]);
    }

    #[test]
    fn a_rejection_stops_the_heartbeats_and_so_does_a_failure_of_the_first_one() {
        assert_eq!(HeartbeatTracker::default().on_failed(&rejected(500)), AfterFailure::Stop);
        let mut tracker = HeartbeatTracker::default();
        take(&mut tracker, "m", "l", 0);
        for status in [400, 401, 404, 409] {
            assert_eq!(tracker.on_failed(&rejected(status)), AfterFailure::Stop, "{status}");
        }
    }
}
