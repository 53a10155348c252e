//! Circuit breaker: while a store is down, calls fail at once instead of waiting for their
//! deadlines in a queue. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// Number of calls that must fail one after another to open the breaker. More than one, so that no
/// single slow call opens it. A call fails only after its whole deadline, so an outage shorter than
/// a deadline never opens it.
const FAILURES_TO_OPEN: u32 = 3;

/// Time between the calls that an open breaker admits. Each of them probes the store, and the first
/// that is answered closes the breaker.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// State of a store, as its latest calls showed it.
#[derive(Debug)]
pub(super) enum CircuitBreaker {
    /// All calls are admitted. `failures` calls have failed since the last answer.
    Closed { failures: u32 },
    /// The next call is admitted at `next_probe`. `cause` is the error of the latest failed call.
    Open { next_probe: Instant, cause: String },
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl CircuitBreaker {
    /// Whether a call may go to the store at `now`. If not, returns the cause of the outage.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), &str> {
        match self {
            Self::Closed { .. } => Ok(()),
            Self::Open { next_probe, .. } if *next_probe <= now => {
                // The probe is not remembered, because its caller may drop it at any time.
                *next_probe = now + PROBE_INTERVAL;
                Ok(())
            }
            Self::Open { cause, .. } => Err(cause),
        }
    }

    /// The store answered a call.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A call ended at `now` without an answer of the store.
    pub(super) fn failed(&mut self, why: &str, now: Instant) {
        match self {
            Self::Closed { failures } if *failures + 1 < FAILURES_TO_OPEN => *failures += 1,
            // The next call may probe at once: it is the first after several concurrent calls.
            Self::Closed { .. } => *self = Self::Open { next_probe: now, cause: why.to_owned() },
            Self::Open { cause, .. } => why.clone_into(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn only_several_failures_in_a_row_open_the_breaker() {
        let (mut breaker, now) = (CircuitBreaker::default(), start());
        for _ in 0..10 {
            for _ in 1..FAILURES_TO_OPEN {
                breaker.failed("down", now);
                assert!(breaker.admit(now).is_ok());
            }
            breaker.answered();
        }
        (0..FAILURES_TO_OPEN).for_each(|_| breaker.failed("down", now));
        assert!(breaker.admit(now).is_ok(), "the first probe");
        assert_eq!(breaker.admit(now), Err("down"));
    }

    #[test]
    fn an_open_breaker_admits_one_call_per_interval_until_one_is_answered() {
        let (mut breaker, now) = (CircuitBreaker::default(), start());
        (0..FAILURES_TO_OPEN).for_each(|_| breaker.failed("down", now));
        for round in 0..3 {
            let now = now + PROBE_INTERVAL * round;
            assert!(breaker.admit(now).is_ok());
            assert!(breaker.admit(now + PROBE_INTERVAL.mul_f64(0.99)).is_err());
            breaker.failed("still down", now);
        }
        assert_eq!(breaker.admit(now + PROBE_INTERVAL * 2), Err("still down"));
        breaker.answered();
        assert!((0..5).all(|_| breaker.admit(now).is_ok()));
    }
}
