//! Upload budget: the bytes of images that one client address may store.
//!
//! The quotas of a user do not bound what one client stores, because it may register many users. An
//! upload counts from its start. One that stored nothing is taken back. One whose end is unknown
//! counts: otherwise a client could close its connection before each answer, and store without a
//! limit.

use std::net::IpAddr;
use std::sync::Mutex;

use crate::registry::address_buckets::AddressBuckets;
use crate::registry::lock::lock;
use crate::registry::quotas::{RateLimited, UploadRate};
use rollcall_core::BootMs;

/// Bytes of images by client address.
pub(super) struct UploadBudget {
    limit: Option<(UploadRate, Mutex<AddressBuckets>)>,
}

impl UploadBudget {
    /// The whole budget for each address; without a rate, no limit.
    pub(super) fn new(rate: Option<UploadRate>) -> Self {
        Self { limit: rate.map(|rate| (rate, Mutex::new(AddressBuckets::new(rate.bucket())))) }
    }

    /// Takes the bytes of an image from the budget of this address.
    pub(super) fn take(&self, from: IpAddr, bytes: u64, now: BootMs) -> Result<(), RateLimited> {
        let Some((rate, addresses)) = &self.limit else { return Ok(()) };
        let taken = lock(addresses).take_many(from, rate.cost(bytes), now);
        taken.map_err(|wait_ms| RateLimited::Uploads { rate: *rate, wait_ms })
    }

    /// Puts back the bytes of an image that was not stored.
    pub(super) fn give_back(&self, from: IpAddr, bytes: u64) {
        if let Some((rate, addresses)) = &self.limit {
            lock(addresses).give_back(from, rate.cost(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn budget(burst_bytes: u64, bytes_per_second: u64) -> UploadBudget {
        UploadBudget::new(Some(UploadRate { burst_bytes, bytes_per_second }))
    }

    /// The wait of an upload; 0 if it was accepted.
    fn wait_ms(budget: &UploadBudget, from: IpAddr, bytes: u64, now: u64) -> u64 {
        budget.take(from, bytes, BootMs(now)).err().map_or(0, RateLimited::wait_ms)
    }

    #[test]
    fn an_address_stores_a_burst_of_bytes_and_then_bytes_at_the_rate() {
        let budget = budget(1_000_000, 10_000);
        assert_eq!((wait_ms(&budget, HERE, 900_000, 5000), wait_ms(&budget, HERE, 100_000, 5000)), (0, 0));
        assert_eq!((wait_ms(&budget, HERE, 1, 5000), wait_ms(&budget, HERE, 500_000, 5000)), (1, 50_000));
        assert_eq!(wait_ms(&budget, THERE, 1_000_000, 5000), 0, "each address has a budget of its own");
        assert_eq!([54_999, 55_000, 55_000].map(|now| wait_ms(&budget, HERE, 500_000, now)), [1, 0, 50_000]);
        budget.give_back(HERE, 500_000);
        assert_eq!(wait_ms(&budget, HERE, 500_000, 55_000), 0);
    }

    #[test]
    fn a_script_stores_a_large_image_for_each_of_500_users_at_once() {
        // The defaults of the settings, and the largest image.
        let (budget, image) = (budget(256 * 1024 * 1024, 256 * 1024), 512 * 1024);
        assert!((0..512).all(|_| wait_ms(&budget, HERE, image, 0) == 0));
        assert_eq!(wait_ms(&budget, HERE, image, 0), 2000);
    }

    #[test]
    fn an_image_that_is_larger_than_the_burst_takes_all_of_it() {
        let budget = budget(1000, 100);
        assert_eq!((wait_ms(&budget, HERE, 5000, 0), wait_ms(&budget, HERE, 1, 0)), (0, 10));
        assert_eq!((wait_ms(&budget, HERE, 5000, 9999), wait_ms(&budget, HERE, 5000, 10_000)), (1, 0));
    }

    #[test]
    fn extreme_rates_are_limits_too() {
        let slow = budget(u64::MAX, 1);
        assert_eq!(wait_ms(&slow, HERE, 500_000, 0), 0);
        let fast = budget(1, u64::MAX);
        assert_eq!((wait_ms(&fast, HERE, u64::MAX, 0), wait_ms(&fast, HERE, 1, 0)), (0, 1));
        assert_eq!(wait_ms(&UploadBudget::new(None), HERE, u64::MAX, 0), 0);
    }
}
