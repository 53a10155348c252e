//! A token bucket per client address, in a table of bounded size. Pure; time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;

use rollcall_core::{AddressBlock, BootMs, Rate, TokenBucket};

/// Maximum number of buckets. A bucket takes about 100 bytes.
pub(super) const MAX_ADDRESSES: usize = 8192;

/// Token buckets of the same rate.
///
/// Invariant: at most [`MAX_ADDRESSES`] buckets. A full bucket equals a missing one.
#[derive(Debug)]
pub(super) struct AddressBuckets {
    rate: Rate,
    buckets: HashMap<AddressBlock, TokenBucket>,
}

impl AddressBuckets {
    /// A full bucket for each address.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Milliseconds from `now` until this address has a token; 0 if it has one.
    pub(super) fn wait_ms(&self, from: IpAddr, now: BootMs) -> u64 {
        let bucket = self.buckets.get(&AddressBlock::of(from)).copied().unwrap_or_default();
        bucket.wait_ms(self.rate, 1, now)
    }

    /// Takes a token of this address at `now`.
    ///
    /// # Errors
    /// The wait in milliseconds, if there is no token.
    pub(super) fn take(&mut self, from: IpAddr, now: BootMs) -> Result<(), u64> {
        self.take_many(from, 1, now)
    }

    /// Takes `tokens` tokens of this address at `now`.
    ///
    /// # Errors
    /// The wait in milliseconds, if there are fewer tokens. Then none is taken.
    pub(super) fn take_many(&mut self, from: IpAddr, tokens: u64, now: BootMs) -> Result<(), u64> {
        let from = AddressBlock::of(from);
        if self.buckets.len() >= MAX_ADDRESSES && !self.buckets.contains_key(&from) {
            self.evict(now);
        }
        let bucket = self.buckets.entry(from).or_default();
        if bucket.take_many(self.rate, tokens, now) { Ok(()) } else { Err(bucket.wait_ms(self.rate, tokens, now)) }
    }

    /// Puts tokens back that this address took before.
    pub(super) fn give_back(&mut self, from: IpAddr, tokens: u64) {
        if let Some(bucket) = self.buckets.get_mut(&AddressBlock::of(from)) {
            bucket.give_back(self.rate, tokens);
        }
    }

    /// Drops the full buckets. If there are none, drops the one that is full first: its address
    /// gains the fewest tokens by that.
    fn evict(&mut self, now: BootMs) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() >= MAX_ADDRESSES
            && let Some(first) = self.buckets.iter().min_by_key(|(_, bucket)| bucket.full_at()).map(|(from, _)| *from)
        {
            self.buckets.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::new(3, 1000);

    fn ip(n: usize) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()))
    }

    #[test]
    fn each_address_has_a_bucket_of_its_own() {
        let mut buckets = AddressBuckets::new(RATE);
        for from in [ip(1), ip(2)] {
            (0..3).for_each(|_| buckets.take(from, BootMs(0)).unwrap());
            assert_eq!((buckets.take(from, BootMs(0)), buckets.wait_ms(from, BootMs(1))), (Err(1000), 999));
        }
        buckets.give_back(ip(1), 1);
        assert_eq!((buckets.wait_ms(ip(1), BootMs(0)), buckets.wait_ms(ip(2), BootMs(0))), (0, 1000));
        assert_eq!(buckets.take(ip(2), BootMs(1000)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_drops_the_bucket_that_is_full_first() {
        let mut buckets = AddressBuckets::new(RATE);
        for n in 0..MAX_ADDRESSES {
            buckets.take(ip(n), BootMs(1)).unwrap();
        }
        (0..2).for_each(|_| buckets.take(ip(0), BootMs(1)).unwrap());
        for n in 0..100 {
            buckets.take(ip(MAX_ADDRESSES + n), BootMs(2)).unwrap();
        }
        assert_eq!(buckets.buckets.len(), MAX_ADDRESSES);
        assert!(buckets.take(ip(0), BootMs(2)).is_err(), "an address without tokens is not forgotten");
        buckets.take(ip(2 * MAX_ADDRESSES), BootMs(10_000)).unwrap();
        assert_eq!(buckets.buckets.len(), 1, "full buckets are dropped");
    }
}
