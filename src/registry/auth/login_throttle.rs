//! Login throttle: slows down password guessing. Pure; time is an argument.
//!
//! The first [`FREE_ATTEMPTS`] attempts of a pair of user and address need no wait. Before each
//! further attempt there is a wait, which doubles up to a minute. Attempts are counted per pair, so
//! an attacker cannot lock out the user, unless both come from one address. A second limit counts
//! all attempts from one address, for any user. An attempt counts as wrong from its start, so that
//! concurrent attempts cannot exceed the limits. A correct password clears the count of the pair
//! and is not counted for the address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::registry::address_buckets::AddressBuckets;
use rollcall_core::{AddressBlock, BootMs, Rate, Username};

/// Attempts without a wait, per pair of user and address.
const FREE_ATTEMPTS: u32 = 5;

/// Wait before the first attempt that is not free, in milliseconds.
const MIN_WAIT_MS: u64 = 1000;
/// Longest wait, in milliseconds.
const MAX_WAIT_MS: u64 = 60_000;

/// Retention of a pair after its last attempt, in milliseconds.
const RETENTION_MS: u64 = 15 * 60_000;

/// Wrong passwords per address for all users: a burst of 60, then one per 2000 ms.
const ADDRESS_RATE: Rate = Rate::new(60, 2000);

/// Maximum number of pairs. The pair idle longest is evicted. A pair takes about 100 bytes.
const MAX_PAIRS: usize = 8192;

/// Counts of wrong passwords and of attempts in progress.
#[derive(Debug)]
pub(super) struct LoginThrottle {
    pairs: HashMap<(Username, AddressBlock), UserAttempts>,
    /// Wrong passwords from one address for all users.
    addresses: AddressBuckets,
}

/// Wrong passwords for one user from one address.
#[derive(Clone, Copy, Debug)]
struct UserAttempts {
    /// Wrong passwords and attempts in progress.
    attempts: u32,
    /// When the next attempt is allowed.
    allowed_at: BootMs,
    last_attempt: BootMs,
}

impl Default for LoginThrottle {
    fn default() -> Self {
        Self { pairs: HashMap::new(), addresses: AddressBuckets::new(ADDRESS_RATE) }
    }
}

impl LoginThrottle {
    /// Starts an attempt at `now` and counts it as a wrong password.
    ///
    /// # Errors
    /// The wait in milliseconds, if the attempt is too early. Then nothing is counted.
    pub(super) fn start_attempt(&mut self, user: &Username, from: IpAddr, now: BootMs) -> Result<(), u64> {
        let wait_ms = self.addresses.wait_ms(from, now);
        if wait_ms > 0 {
            return Err(wait_ms);
        }
        let key = (user.clone(), AddressBlock::of(from));
        let pair = self.pairs.get(&key).copied().filter(|pair| now.since(pair.last_attempt) < RETENTION_MS);
        let (attempts, allowed_at) = pair.map_or((0, now), |pair| (pair.attempts, pair.allowed_at));
        if allowed_at > now {
            return Err(allowed_at.since(now));
        }
        self.addresses.take(from, now)?;
        let attempts = attempts.saturating_add(1);
        let allowed_at = now.plus(delay_ms(attempts));
        self.insert(key, UserAttempts { attempts, allowed_at, last_attempt: now }, now);
        Ok(())
    }

    /// Records that the password was correct and clears the count of the pair.
    pub(super) fn record_success(&mut self, user: &Username, from: IpAddr) {
        self.pairs.remove(&(user.clone(), AddressBlock::of(from)));
        self.addresses.give_back(from, 1);
    }

    /// Takes back an attempt whose password could not be verified.
    pub(super) fn cancel_attempt(&mut self, user: &Username, from: IpAddr) {
        if let Some(pair) = self.pairs.get_mut(&(user.clone(), AddressBlock::of(from))) {
            pair.attempts = pair.attempts.saturating_sub(1);
            pair.allowed_at = pair.last_attempt.plus(delay_ms(pair.attempts));
        }
        self.addresses.give_back(from, 1);
    }

    /// Inserts a pair. If the table is full, evicts old pairs first.
    fn insert(&mut self, key: (Username, AddressBlock), attempts: UserAttempts, now: BootMs) {
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.pairs.retain(|_, pair| now.since(pair.last_attempt) < RETENTION_MS);
            while self.pairs.len() >= MAX_PAIRS
                && let Some(oldest) =
                    self.pairs.iter().min_by_key(|(_, pair)| pair.last_attempt).map(|(key, _)| key.clone())
            {
                self.pairs.remove(&oldest);
            }
        }
        self.pairs.insert(key, attempts);
    }
}

/// The wait after this many attempts, in milliseconds.
fn delay_ms(attempts: u32) -> u64 {
    let Some(doublings) = attempts.checked_sub(FREE_ATTEMPTS) else { return 0 };
    MIN_WAIT_MS.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(MAX_WAIT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::name;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// A throttle with five attempts for `alice` from [`HERE`] at time 0.
    fn without_free_attempts() -> LoginThrottle {
        let mut throttle = LoginThrottle::default();
        (0..FREE_ATTEMPTS).for_each(|_| throttle.start_attempt(&name("alice"), HERE, BootMs(0)).unwrap());
        throttle
    }

    #[test]
    fn five_attempts_are_free_and_then_the_wait_doubles_up_to_a_minute() {
        let mut throttle = without_free_attempts();
        let mut now = BootMs(0);
        for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(throttle.start_attempt(&name("alice"), HERE, now), Err(wait_ms));
            assert_eq!(throttle.start_attempt(&name("alice"), HERE, now.plus(wait_ms - 1)), Err(1));
            now = now.plus(wait_ms);
            assert_eq!(throttle.start_attempt(&name("alice"), HERE, now), Ok(()));
        }
    }

    #[test]
    fn an_attacker_locks_out_neither_the_user_at_another_address_nor_other_users() {
        let mut throttle = without_free_attempts();
        assert_eq!(throttle.start_attempt(&name("alice"), THERE, BootMs(0)), Ok(()));
        assert_eq!(throttle.start_attempt(&name("bob"), HERE, BootMs(0)), Ok(()));
        assert!(throttle.start_attempt(&name("alice"), HERE, BootMs(0)).is_err());
    }

    #[test]
    fn a_correct_password_clears_the_count_and_a_canceled_attempt_is_taken_back() {
        let mut throttle = without_free_attempts();
        throttle.cancel_attempt(&name("alice"), HERE);
        assert_eq!(throttle.start_attempt(&name("alice"), HERE, BootMs(0)), Ok(()));
        assert!(throttle.start_attempt(&name("alice"), HERE, BootMs(0)).is_err());
        throttle.record_success(&name("alice"), HERE);
        (0..FREE_ATTEMPTS).for_each(|_| assert_eq!(throttle.start_attempt(&name("alice"), HERE, BootMs(0)), Ok(())));
    }

    #[test]
    fn a_canceled_attempt_takes_back_only_its_own_wait() {
        let mut throttle = without_free_attempts();
        // The fifth attempt is in progress when the sixth starts, after a wait of one second.
        assert_eq!(throttle.start_attempt(&name("alice"), HERE, BootMs(1000)), Ok(()));
        throttle.cancel_attempt(&name("alice"), HERE);
        assert_eq!(throttle.start_attempt(&name("alice"), HERE, BootMs(1000)), Err(1000));
        assert_eq!(throttle.start_attempt(&name("alice"), HERE, BootMs(2000)), Ok(()));
    }

    #[test]
    fn wrong_passwords_are_forgotten_exactly_after_a_quarter_of_an_hour() {
        for (at, free) in [(RETENTION_MS - 1, 1), (RETENTION_MS, FREE_ATTEMPTS)] {
            let mut throttle = without_free_attempts();
            let passed = (0..=FREE_ATTEMPTS)
                .take_while(|_| throttle.start_attempt(&name("alice"), HERE, BootMs(at)).is_ok())
                .count();
            assert_eq!(passed, free as usize, "at {at}");
        }
    }

    #[test]
    fn an_address_has_sixty_attempts_for_all_users_and_then_one_per_two_seconds() {
        let mut throttle = LoginThrottle::default();
        let user = |n: u32| name(&format!("u{n}"));
        (0..60).for_each(|n| throttle.start_attempt(&user(n), HERE, BootMs(0)).unwrap());
        assert_eq!(throttle.start_attempt(&user(99), HERE, BootMs(0)), Err(2000));
        assert_eq!(throttle.start_attempt(&user(99), HERE, BootMs(1999)), Err(1));
        assert_eq!(throttle.start_attempt(&user(99), HERE, BootMs(2000)), Ok(()));
        assert!(throttle.start_attempt(&user(98), HERE, BootMs(2000)).is_err());
        throttle.record_success(&user(99), HERE);
        assert_eq!(throttle.start_attempt(&user(98), HERE, BootMs(2000)), Ok(()));
        assert_eq!(throttle.start_attempt(&user(98), THERE, BootMs(0)), Ok(()));
    }

    #[test]
    fn an_ipv6_block_of_64_bits_is_one_address() {
        let mut throttle = LoginThrottle::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        (0..FREE_ATTEMPTS)
            .for_each(|n| throttle.start_attempt(&name("alice"), ip(&format!("2001:db8::{n}")), BootMs(0)).unwrap());
        assert!(throttle.start_attempt(&name("alice"), ip("2001:db8::ffff:1"), BootMs(0)).is_err());
        assert!(throttle.start_attempt(&name("alice"), ip("2001:db8:0:1::1"), BootMs(0)).is_ok());
        (0..FREE_ATTEMPTS).for_each(|_| throttle.start_attempt(&name("alice"), HERE, BootMs(0)).unwrap());
        assert!(throttle.start_attempt(&name("alice"), ip("::ffff:10.0.0.1"), BootMs(0)).is_err());
    }

    #[test]
    fn the_pairs_are_bounded_and_the_one_idle_for_longest_is_evicted() {
        let mut throttle = LoginThrottle::default();
        let ip = |n: usize| IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()));
        for n in 0..=MAX_PAIRS {
            throttle.start_attempt(&name("alice"), ip(n), BootMs(n as u64 / 100)).unwrap();
        }
        assert_eq!(throttle.pairs.len(), MAX_PAIRS);
        assert!(throttle.pairs.contains_key(&(name("alice"), AddressBlock::of(ip(MAX_PAIRS)))));
        throttle.start_attempt(&name("alice"), HERE, BootMs(10 * RETENTION_MS)).unwrap();
        assert_eq!(throttle.pairs.len(), 1);
    }
}
