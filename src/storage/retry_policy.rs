//! Retry policy of a bucket: exponential back-off with jitter until the deadline of the call. Pure:
//! times and random numbers are arguments.

use std::time::Duration;

/// Part of the deadline that one attempt may take, so that a stalled request costs one attempt and
/// not the whole call.
const ATTEMPTS_PER_DEADLINE: u32 = 4;

/// Deadline and back-off of a call. The deadline alone bounds the number of attempts.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Longest duration of the whole call, retries included (`storage_timeout_ms`).
    pub deadline: Duration,
    /// Back-off before the second attempt. It doubles with each further attempt. Jitter shortens it
    /// by up to half.
    pub initial_backoff: Duration,
    /// Largest back-off.
    pub max_backoff: Duration,
}

impl RetryPolicy {
    /// The default policy with this deadline.
    #[must_use]
    pub fn with_deadline(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// A policy without retries. Its only attempt may take a quarter of the deadline.
    #[must_use]
    pub fn one_attempt(deadline: Duration) -> Self {
        // Jitter leaves at least half of it, and a back-off of the whole deadline ends the call.
        let backoff = deadline * 2;
        Self { deadline, initial_backoff: backoff, max_backoff: backoff }
    }

    /// Longest duration of one attempt.
    #[must_use]
    pub fn attempt_timeout(&self) -> Duration {
        self.deadline / ATTEMPTS_PER_DEADLINE
    }

    /// The wait before the next attempt, after `failed` attempts, with `remaining` time until the
    /// deadline. `None` if no attempt fits. `fraction` (0.0 to 1.0) is the jitter.
    ///
    /// `retry_after` is what the store asked for. If the deadline does not allow it, the wait is
    /// the longest that leaves time for one more attempt.
    pub(super) fn wait(
        &self,
        failed: u32,
        retry_after: Option<Duration>,
        remaining: Duration,
        fraction: f64,
    ) -> Option<Duration> {
        let doublings = failed.saturating_sub(1).min(31);
        let backoff = with_jitter(self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff), fraction);
        let longest = remaining.saturating_sub(self.attempt_timeout());
        let wait = retry_after.map_or(backoff, |asked| backoff.max(asked.min(longest)));
        (wait < remaining).then_some(wait)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
        }
    }
}

/// Half of the back-off, plus a fraction (0.0 to 1.0) of the other half. Nodes that failed together
/// then do not retry together.
fn with_jitter(backoff: Duration, fraction: f64) -> Duration {
    let half = backoff / 2;
    half + half.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn jitter_shortens_a_backoff_by_half_at_most() {
        assert_eq!(with_jitter(ms(100), 0.0), ms(50));
        assert_eq!(with_jitter(ms(100), 1.0), ms(100));
    }

    #[test]
    fn the_backoff_doubles_with_each_attempt_up_to_the_largest() {
        let policy = RetryPolicy::default();
        let waits = [1, 2, 3, 4, 5, 6, 40].map(|failed| policy.wait(failed, None, LONG, 1.0).expect("time is left"));
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000].map(ms));
    }

    #[test]
    fn a_wait_that_reaches_the_deadline_ends_the_call() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, None, ms(101), 1.0), Some(ms(100)));
        assert_eq!(policy.wait(1, None, ms(100), 1.0), None);
    }

    #[test]
    fn the_wait_that_the_store_asks_for_is_kept_within_the_deadline() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, Some(ms(2000)), ms(4900), 1.0), Some(ms(2000)));
        assert_eq!(policy.wait(3, Some(ms(10)), ms(4900), 1.0), Some(ms(400)), "never shorter than the back-off");
        assert_eq!(policy.wait(1, Some(LONG), ms(4900), 1.0), Some(ms(4900 - 1250)), "one more attempt fits");
        assert_eq!(policy.wait(1, Some(LONG), ms(50), 1.0), None);
    }

    #[test]
    fn a_policy_of_one_attempt_never_waits() {
        let policy = RetryPolicy::one_attempt(ms(500));
        assert!([None, Some(ms(1))].iter().all(|asked| policy.wait(1, *asked, ms(500), 0.0).is_none()));
    }
}
