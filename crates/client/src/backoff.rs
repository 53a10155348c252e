//! Exponential backoff with jitter between two attempts of a request. Pure: the caller passes the
//! random number.

use std::time::Duration;

/// First delay, before jitter. It is short, because a new leader can be elected within
/// milliseconds.
const FIRST_DELAY: Duration = Duration::from_millis(25);
/// Longest delay, before jitter. Each delay is twice the previous one, up to this limit.
const MAX_DELAY: Duration = Duration::from_millis(400);

/// Backoff of one request.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST_DELAY }
    }

    /// The next delay: one half of the full delay, plus a random share of the other half.
    ///
    /// The random share spreads the retries of clients that lost the same leader. `random` is a
    /// number from 0 to 1.
    pub(super) fn next_delay(&mut self, random: f64) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(MAX_DELAY);
        full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_are_never_shorter_than_half() {
        let (mut short, mut long) = (Backoff::new(), Backoff::new());
        let ms = |pause: Duration| pause.as_micros() / 100;
        assert_eq!([0; 6].map(|_| ms(short.next_delay(0.0))), [125, 250, 500, 1000, 2000, 2000]);
        assert_eq!([0; 6].map(|_| ms(long.next_delay(1.0))), [250, 500, 1000, 2000, 4000, 4000]);
    }
}
