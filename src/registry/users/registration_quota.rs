//! Admission of new users: a rate per client address, and a total.
//!
//! The quota protects what a registration leaves behind for good: an object in the bucket, and a
//! row on every node. A repetition of a registration and a refusal of a taken name leave nothing,
//! so they do not count: clients repeat their registration at each start.
//!
//! A registration counts from its start, so that concurrent ones cannot exceed the quota. One that
//! stored nothing is taken back. One whose end is unknown counts: otherwise a client could close
//! its connection before each answer, and register without a limit.

use std::net::IpAddr;
use std::sync::Mutex;

use crate::registry::address_buckets::AddressBuckets;
use crate::registry::error::RegisterError;
use crate::registry::lock::lock;
use crate::registry::quotas::{QuotaExceeded, Quotas, RateLimited, RegistrationRate};
use rollcall_core::BootMs;

/// Rate and total of new users.
pub(super) struct RegistrationQuota {
    rate: Option<RegistrationRate>,
    max_users: Option<u64>,
    counts: Mutex<Counts>,
}

struct Counts {
    /// Registrations by client address. Not used without a rate.
    addresses: AddressBuckets,
    /// Registrations that have started, and are not in the index yet.
    in_progress: u64,
}

/// A registration in progress. It counts for the rate, and until it is dropped as one more user.
pub(super) struct Admission<'q> {
    quota: &'q RegistrationQuota,
    from: IpAddr,
}

impl RegistrationQuota {
    pub(super) fn new(quotas: Quotas) -> Self {
        let unused = RegistrationRate { burst: 1, per_second: 1 };
        let addresses = AddressBuckets::new(quotas.registrations.unwrap_or(unused).bucket());
        let counts = Mutex::new(Counts { addresses, in_progress: 0 });
        Self { rate: quotas.registrations, max_users: quotas.users, counts }
    }

    /// Admits a registration of a new name at `now`, while there are `users` users.
    pub(super) fn admit(&self, from: IpAddr, users: usize, now: BootMs) -> Result<Admission<'_>, RegisterError> {
        let mut counts = lock(&self.counts);
        let users = u64::try_from(users).unwrap_or(u64::MAX).saturating_add(counts.in_progress);
        if let Some(max) = self.max_users.filter(|max| users >= *max) {
            return Err(QuotaExceeded::Users { users, max }.into());
        }
        if let Some(rate) = self.rate {
            counts.addresses.take(from, now).map_err(|wait_ms| RateLimited::Registrations { rate, wait_ms })?;
        }
        counts.in_progress += 1;
        Ok(Admission { quota: self, from })
    }
}

impl Admission<'_> {
    /// Ends a registration that stored nothing. It does not count for the rate.
    pub(super) fn stored_nothing(self) {
        lock(&self.quota.counts).addresses.give_back(self.from, 1);
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        lock(&self.quota.counts).in_progress -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn quota(registrations: Option<(u64, u64)>, users: Option<u64>) -> RegistrationQuota {
        let registrations = registrations.map(|(burst, per_second)| RegistrationRate { burst, per_second });
        RegistrationQuota::new(Quotas { registrations, users, ..Quotas::default() })
    }

    /// The wait of the next registration from [`HERE`]; 0 if it was admitted.
    fn wait_ms(quota: &RegistrationQuota, now: u64) -> u64 {
        match quota.admit(HERE, 0, BootMs(now)) {
            Ok(_) => 0,
            Err(RegisterError::RateLimited(limited)) => limited.wait_ms(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate() {
        let quota = quota(Some((200, 2)), None);
        assert!((0..200).all(|_| wait_ms(&quota, 5000) == 0));
        assert_eq!([5000, 5499, 5500, 5500].map(|now| wait_ms(&quota, now)), [500, 1, 0, 500]);
        assert_eq!(wait_ms(&quota, 1_000_000), 0);
    }

    #[test]
    fn a_registration_that_stored_nothing_does_not_count() {
        let quota = quota(Some((1, 1)), None);
        (0..10).for_each(|_| quota.admit(HERE, 0, BootMs(0)).ok().unwrap().stored_nothing());
        drop(quota.admit(HERE, 0, BootMs(0)).ok().unwrap());
        assert_eq!(wait_ms(&quota, 0), 1000, "an abandoned registration counts");
    }

    #[test]
    fn users_in_all_are_limited_and_those_in_progress_count() {
        let quota = quota(None, Some(3));
        let first = quota.admit(HERE, 1, BootMs(0)).ok().unwrap();
        let second = quota.admit(HERE, 1, BootMs(0)).ok().unwrap();
        let refused = quota.admit(HERE, 1, BootMs(0)).err().unwrap();
        assert!(matches!(&refused, RegisterError::Quota(QuotaExceeded::Users { users: 3, max: 3 })), "{refused}");
        drop((first, second));
        assert!(quota.admit(HERE, 2, BootMs(0)).is_ok() && quota.admit(HERE, 3, BootMs(0)).is_err());
    }

    #[test]
    fn without_quotas_everything_is_admitted() {
        let quota = quota(None, None);
        assert!((0..10_000).all(|_| quota.admit(HERE, usize::MAX, BootMs(0)).is_ok()));
    }
}
