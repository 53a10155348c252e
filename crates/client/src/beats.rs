//! When heartbeats are sent, and what is worth saying about them. Pure; the time is an argument.

use std::time::Duration;

use serde::Serialize;

use super::ClientError;
use rollcall_core::api::Accepted;

/// A server that suggests less would have its clients do nothing else.
const SHORTEST: Duration = Duration::from_millis(100);
/// Nobody suggests more.
const LONGEST: Duration = Duration::from_hours(1);

/// When to send the next heartbeat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// When the server suggests.
    Suggested,
    /// Always after this time.
    Every(Duration),
}

impl Pace {
    /// How long after the sending of this heartbeat the next one is due.
    #[must_use]
    pub fn after(self, accepted: &Accepted) -> Duration {
        match self {
            Self::Suggested => Duration::from_millis(accepted.next_heartbeat_ms).clamp(SHORTEST, LONGEST),
            Self::Every(interval) => interval,
        }
    }

    /// Whether a client of this pace would fall offline between two heartbeats.
    #[must_use]
    pub fn is_too_slow(self, accepted: &Accepted) -> bool {
        self.after(accepted) >= Duration::from_millis(accepted.ttl_ms)
    }
}

/// Something about a user's heartbeats that changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Beat {
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
    Back {
        /// Since the last one that was accepted.
        after_ms: u64,
    },
}

/// What becomes of the heartbeats after one that was not accepted.
#[derive(Debug, PartialEq)]
pub enum Course {
    /// The next one is sent at once; the change, if this is one.
    GoOn(Option<Beat>),
    /// No further one would be accepted either.
    End,
}

/// What was said so far.
#[derive(Debug, Default)]
pub struct Beats {
    last: Option<Last>,
    is_lost: bool,
}

#[derive(Debug)]
struct Last {
    message: String,
    leader: Option<String>,
    at_ms: u64,
}

impl Beats {
    /// A heartbeat was accepted by `leader` at `now_ms`.
    pub fn accepted(&mut self, accepted: &Accepted, leader: Option<String>, now_ms: u64) -> Vec<Beat> {
        let Accepted { message, ttl_ms, .. } = accepted;
        let last = self.last.replace(Last { message: message.clone(), leader: leader.clone(), at_ms: now_ms });
        let Some(last) = last else {
            self.is_lost = false;
            return vec![Beat::Online { message: message.clone(), leader, ttl_ms: *ttl_ms }];
        };
        let mut beats = Vec::new();
        if std::mem::take(&mut self.is_lost) {
            beats.push(Beat::Back { after_ms: now_ms.saturating_sub(last.at_ms) });
        }
        if last.leader != leader {
            beats.push(Beat::LeaderChanged { from: last.leader, to: leader });
        }
        if last.message != *message {
            beats.push(Beat::Moved { message: message.clone() });
        }
        beats
    }

    /// A heartbeat was not accepted, for all that the client tried.
    pub fn failed(&mut self, error: &ClientError) -> Course {
        let is_passing = match error {
            // Too many guesses, or something broke inside the server: both pass.
            ClientError::Refused { status, .. } => *status == 429 || *status >= 500,
            ClientError::NoServers | ClientError::Setup(_) => false,
            ClientError::Unreachable { .. }
            | ClientError::NotLeader { .. }
            | ClientError::NoLeader { .. }
            | ClientError::Nobody { .. }
            | ClientError::Unsure { .. }
            | ClientError::Unavailable { .. }
            | ClientError::Unexpected { .. }
            | ClientError::GaveUp { .. } => true,
        };
        // Whoever has never been online may have mistyped the server.
        if !is_passing || self.last.is_none() {
            return Course::End;
        }
        let is_new = !std::mem::replace(&mut self.is_lost, true);
        Course::GoOn(is_new.then(|| Beat::Unreachable { message: error.to_string() }))
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

    fn take(beats: &mut Beats, message: &str, leader: &str, now_ms: u64) -> Vec<Beat> {
        beats.accepted(&accepted(message), Some(leader.to_owned()), now_ms)
    }

    fn refused(status: u16) -> ClientError {
        ClientError::Refused { status, code: String::new(), message: "m".into() }
    }

    #[test]
    fn the_pace_is_the_server_s_unless_one_is_given() {
        let accepted = accepted("m");
        assert_eq!(Pace::Suggested.after(&accepted), Duration::from_secs(10));
        assert_eq!(Pace::Every(Duration::from_secs(5)).after(&accepted), Duration::from_secs(5));
        assert!(!Pace::Every(Duration::from_secs(29)).is_too_slow(&accepted));
        assert!(Pace::Every(Duration::from_secs(30)).is_too_slow(&accepted));
        let hasty = Accepted { next_heartbeat_ms: 0, ..accepted };
        assert_eq!(Pace::Suggested.after(&hasty), SHORTEST);
    }

    #[test]
    fn only_what_changed_is_said() {
        let mut beats = Beats::default();
        let online = Beat::Online { message: "at a".into(), leader: Some("l1".into()), ttl_ms: 30_000 };
        assert_eq!(take(&mut beats, "at a", "l1", 0), [online]);
        assert_eq!(take(&mut beats, "at a", "l1", 10), []);
        let changed = Beat::LeaderChanged { from: Some("l1".into()), to: Some("l2".into()) };
        assert_eq!(take(&mut beats, "at a", "l2", 20), [changed]);
        assert_eq!(take(&mut beats, "at b", "l2", 30), [Beat::Moved { message: "at b".into() }]);
        assert_eq!(beats.failed(&refused(500)), Course::GoOn(Some(Beat::Unreachable { message: "m".into() })));
        assert_eq!(beats.failed(&refused(429)), Course::GoOn(None));
        assert_eq!(take(&mut beats, "at b", "l2", 4030), [Beat::Back { after_ms: 4000 }]);
    }

    #[test]
    fn a_refusal_ends_it_and_so_does_silence_at_the_start() {
        assert_eq!(Beats::default().failed(&refused(500)), Course::End);
        let mut beats = Beats::default();
        take(&mut beats, "m", "l", 0);
        for status in [400, 401, 404, 409] {
            assert_eq!(beats.failed(&refused(status)), Course::End, "{status}");
        }
    }
}
