//! Boot clock of a host. It may run slightly fast or slow, and it continues while the host is
//! suspended.

use rollcall_core::BootMs;

/// Clock rate in parts per million. At this rate a clock keeps the time of the simulation.
pub(crate) const TRUE_RATE: u64 = 1_000_000;

/// Converts the simulation's microseconds to the reading of one host's clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// A moment of the simulation, in microseconds. `anchor_reading` is the reading of the clock at
    /// that moment.
    anchor: u64,
    anchor_reading: u64,
    rate: u64,
}

impl Clock {
    pub(crate) fn new(now: u64, reading: u64) -> Self {
        Self { anchor: now, anchor_reading: reading, rate: TRUE_RATE }
    }

    fn micros(&self, now: u64) -> u64 {
        self.anchor_reading + (now - self.anchor) * self.rate / TRUE_RATE
    }

    pub(crate) fn read(&self, now: u64) -> BootMs {
        BootMs(self.micros(now) / 1000)
    }

    /// The first moment, not before `now`, at which this clock reads `moment` or later.
    pub(crate) fn when(&self, moment: BootMs, now: u64) -> u64 {
        if moment == BootMs::NEVER {
            return u64::MAX;
        }
        let target = moment.0 * 1000;
        if target <= self.micros(now) {
            return now;
        }
        self.anchor + ((target - self.anchor_reading) * TRUE_RATE).div_ceil(self.rate)
    }

    pub(crate) fn set_rate(&mut self, now: u64, rate: u64) {
        *self = Self { anchor: now, anchor_reading: self.micros(now), rate };
    }

    /// The host restarts, and its boot clock with it.
    pub(crate) fn restart(&mut self, now: u64) {
        *self = Self { anchor: now, anchor_reading: 10_000_000, rate: self.rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_first_reads_a_moment_at_the_time_that_when_returns() {
        for rate in [950_000, 999_983, TRUE_RATE, 1_050_000] {
            let mut clock = Clock::new(7, 123_456);
            clock.set_rate(1000, rate);
            for ms in 200..400 {
                let at = clock.when(BootMs(ms), 1000);
                assert!(clock.read(at) >= BootMs(ms) && clock.read(at - 1) < BootMs(ms), "{rate} {ms}");
            }
        }
    }
}
