//! Who guesses passwords is slowed down. Pure: the time comes in.
//!
//! A password is tried by somebody, for somebody: [`FREE`] wrong ones cost nothing, each further one a wait that doubles up
//! to a minute. It is counted for the pair, so that whoever knows the password is not locked out by who does not, unless
//! both come from one address. An address also has a number of wrong ones for all users together. A try is counted before it
//! is known to be wrong, so that many at once do not pass together; one that was right is given back.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use rollcall_core::{BootMs, Username};

/// Wrong passwords for one user from one address that cost nothing.
const FREE: u32 = 5;

/// The wait after the first one more, and the longest.
const FIRST_WAIT_MS: u64 = 1000;
const LONGEST_WAIT_MS: u64 = 60_000;

/// For how long wrong passwords are held against a pair after the last of them.
const REMEMBER_MS: u64 = 15 * 60_000;

/// Wrong passwords from one address for all users: so many at once, and then one in so many milliseconds.
const FREE_OF_ADDRESS: u32 = 60;
const REFILL_MS: u64 = 2000;

/// The most pairs and addresses that are remembered; who was quiet for longest makes room. A table has some 100 bytes a row.
const MOST: usize = 8192;

/// Wrong passwords, and tries under way.
#[derive(Debug, Default)]
pub(super) struct LoginThrottle {
    pairs: HashMap<(Username, IpAddr), Pair>,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    tries: u32,
    free_at: BootMs,
    tried_at: BootMs,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    /// When all that were taken will have been refilled.
    full_at: BootMs,
    tried_at: BootMs,
}

/// What is to be forgotten when it is old.
trait Aged {
    fn tried_at(&self) -> BootMs;
}

impl Aged for Pair {
    fn tried_at(&self) -> BootMs {
        self.tried_at
    }
}

impl Aged for Address {
    fn tried_at(&self) -> BootMs {
        self.tried_at
    }
}

impl LoginThrottle {
    /// Counts a try at `now` as a wrong one.
    ///
    /// # Errors
    /// After how many milliseconds to try again, if it is too early. Then nothing was counted.
    pub(super) fn begin(&mut self, user: &Username, from: IpAddr, now: BootMs) -> Result<(), u64> {
        let from = network(from);
        let address = self.addresses.get(&from).copied();
        let full_at = address.map_or(now, |address| address.full_at.max(now)).plus(REFILL_MS);
        let most_ms = u64::from(FREE_OF_ADDRESS) * REFILL_MS;
        let too_early_ms = full_at.since(now).saturating_sub(most_ms);
        if too_early_ms > 0 {
            return Err(too_early_ms);
        }
        let key = (user.clone(), from);
        let pair = self.pairs.get(&key).copied().filter(|pair| now.since(pair.tried_at) < REMEMBER_MS);
        let (tries, free_at) = pair.map_or((0, now), |pair| (pair.tries, pair.free_at));
        if free_at > now {
            return Err(free_at.since(now));
        }
        let tries = tries.saturating_add(1);
        put(&mut self.pairs, key, Pair { tries, free_at: now.plus(wait_ms(tries)), tried_at: now }, now);
        put(&mut self.addresses, from, Address { full_at, tried_at: now }, now);
        Ok(())
    }

    /// Notes that the try was right: nothing is held against the pair any more.
    pub(super) fn right(&mut self, user: &Username, from: IpAddr) {
        let from = network(from);
        self.pairs.remove(&(user.clone(), from));
        self.give_back(from);
    }

    /// Notes that nobody found out whether the try was right.
    pub(super) fn undo(&mut self, user: &Username, from: IpAddr) {
        let from = network(from);
        if let Some(pair) = self.pairs.get_mut(&(user.clone(), from)) {
            pair.tries = pair.tries.saturating_sub(1);
            pair.free_at = pair.tried_at.plus(wait_ms(pair.tries));
        }
        self.give_back(from);
    }

    fn give_back(&mut self, from: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&from) {
            address.full_at = BootMs(address.full_at.0.saturating_sub(REFILL_MS));
        }
    }
}

/// The wait after so many tries.
fn wait_ms(tries: u32) -> u64 {
    let Some(doublings) = tries.checked_sub(FREE) else { return 0 };
    FIRST_WAIT_MS.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(LONGEST_WAIT_MS)
}

/// What counts as one address: who has one of version 6 has 2^64 of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Puts a row in, and makes room for it.
fn put<K: Clone + Eq + Hash, R: Aged>(rows: &mut HashMap<K, R>, key: K, row: R, now: BootMs) {
    if rows.len() >= MOST && !rows.contains_key(&key) {
        rows.retain(|_, row| now.since(row.tried_at()) < REMEMBER_MS);
        while rows.len() >= MOST
            && let Some(quietest) = rows.iter().min_by_key(|(_, row)| row.tried_at()).map(|(key, _)| key.clone())
        {
            rows.remove(&quietest);
        }
    }
    rows.insert(key, row);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::name;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// Five wrong ones at 0.
    fn used_up() -> LoginThrottle {
        let mut throttle = LoginThrottle::default();
        (0..FREE).for_each(|_| throttle.begin(&name("alice"), HERE, BootMs(0)).unwrap());
        throttle
    }

    #[test]
    fn five_are_free_and_then_each_waits_twice_as_long_up_to_a_minute() {
        let mut throttle = used_up();
        let mut now = BootMs(0);
        for wait_ms in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(throttle.begin(&name("alice"), HERE, now), Err(wait_ms));
            assert_eq!(throttle.begin(&name("alice"), HERE, now.plus(wait_ms - 1)), Err(1));
            now = now.plus(wait_ms);
            assert_eq!(throttle.begin(&name("alice"), HERE, now), Ok(()));
        }
    }

    #[test]
    fn who_guesses_locks_out_neither_the_user_elsewhere_nor_other_users() {
        let mut throttle = used_up();
        assert_eq!(throttle.begin(&name("alice"), THERE, BootMs(0)), Ok(()));
        assert_eq!(throttle.begin(&name("bob"), HERE, BootMs(0)), Ok(()));
        assert!(throttle.begin(&name("alice"), HERE, BootMs(0)).is_err());
    }

    #[test]
    fn a_right_one_clears_the_pair_and_one_without_an_outcome_is_given_back() {
        let mut throttle = used_up();
        throttle.undo(&name("alice"), HERE);
        assert_eq!(throttle.begin(&name("alice"), HERE, BootMs(0)), Ok(()));
        assert!(throttle.begin(&name("alice"), HERE, BootMs(0)).is_err());
        throttle.right(&name("alice"), HERE);
        (0..FREE).for_each(|_| assert_eq!(throttle.begin(&name("alice"), HERE, BootMs(0)), Ok(())));
    }

    #[test]
    fn one_without_an_outcome_gives_back_its_own_wait_and_no_other() {
        let mut throttle = used_up();
        // Two under way: the second began when the wait after the first was over.
        assert_eq!(throttle.begin(&name("alice"), HERE, BootMs(1000)), Ok(()));
        throttle.undo(&name("alice"), HERE);
        assert_eq!(throttle.begin(&name("alice"), HERE, BootMs(1000)), Err(1000));
        assert_eq!(throttle.begin(&name("alice"), HERE, BootMs(2000)), Ok(()));
    }

    #[test]
    fn wrong_ones_are_forgotten_exactly_after_a_quarter_of_an_hour() {
        for (at, free) in [(REMEMBER_MS - 1, 1), (REMEMBER_MS, FREE)] {
            let mut throttle = used_up();
            let passed = (0..=FREE).take_while(|_| throttle.begin(&name("alice"), HERE, BootMs(at)).is_ok()).count();
            assert_eq!(passed, free as usize, "at {at}");
        }
    }

    #[test]
    fn an_address_has_sixty_for_all_users_and_then_one_in_two_seconds() {
        let mut throttle = LoginThrottle::default();
        let user = |n: u32| name(&format!("u{n}"));
        (0..FREE_OF_ADDRESS).for_each(|n| throttle.begin(&user(n), HERE, BootMs(0)).unwrap());
        assert_eq!(throttle.begin(&user(99), HERE, BootMs(0)), Err(REFILL_MS));
        assert_eq!(throttle.begin(&user(99), HERE, BootMs(REFILL_MS - 1)), Err(1));
        assert_eq!(throttle.begin(&user(99), HERE, BootMs(REFILL_MS)), Ok(()));
        assert!(throttle.begin(&user(98), HERE, BootMs(REFILL_MS)).is_err());
        throttle.right(&user(99), HERE);
        assert_eq!(throttle.begin(&user(98), HERE, BootMs(REFILL_MS)), Ok(()));
        assert_eq!(throttle.begin(&user(98), THERE, BootMs(0)), Ok(()));
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let mut throttle = LoginThrottle::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        (0..FREE).for_each(|n| throttle.begin(&name("alice"), ip(&format!("2001:db8::{n}")), BootMs(0)).unwrap());
        assert!(throttle.begin(&name("alice"), ip("2001:db8::ffff:1"), BootMs(0)).is_err());
        assert!(throttle.begin(&name("alice"), ip("2001:db8:0:1::1"), BootMs(0)).is_ok());
        (0..FREE).for_each(|_| throttle.begin(&name("alice"), HERE, BootMs(0)).unwrap());
        assert!(throttle.begin(&name("alice"), ip("::ffff:10.0.0.1"), BootMs(0)).is_err());
    }

    #[test]
    fn its_memory_is_bounded_and_the_quietest_makes_room() {
        let mut throttle = LoginThrottle::default();
        let ip = |n: usize| IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()));
        for n in 0..=MOST {
            throttle.begin(&name("alice"), ip(n), BootMs(n as u64 / 100)).unwrap();
        }
        assert_eq!((throttle.pairs.len(), throttle.addresses.len()), (MOST, MOST));
        assert!(throttle.addresses.contains_key(&ip(MOST)));
        throttle.begin(&name("alice"), HERE, BootMs(10 * REMEMBER_MS)).unwrap();
        assert_eq!((throttle.pairs.len(), throttle.addresses.len()), (1, 1));
    }
}
