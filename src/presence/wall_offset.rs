//! Wall time of the node: the boot clock plus an offset.
//!
//! The offset changes only when the machine's clock is set. So a time on the boot clock is always
//! displayed as the same second, and it is corrected once a clock that was wrong is set.

use rollcall_core::{BootMs, WallMs};

/// Wall times before this one are those of a clock that is not set: 2025-01-01, which is earlier
/// than the first release.
const EARLIEST: WallMs = WallMs::new(1_735_689_600_000);

/// Smallest difference that counts as a change of the machine's clock, in milliseconds. The two
/// clocks are read one after the other, so a busy machine shows smaller differences.
const MIN_STEP_MS: u64 = 1000;

/// Offset of the wall clock to the boot clock.
#[derive(Debug)]
pub(super) struct WallOffset {
    offset_ms: i64,
    /// Smallest offset while the machine's clock is not set.
    min_ms: i64,
    is_set: bool,
}

impl WallOffset {
    /// The offset of a machine whose clocks show these times.
    pub(super) fn new(now: BootMs, wall: WallMs) -> Self {
        Self { offset_ms: difference(now, wall), min_ms: i64::MIN, is_set: wall >= EARLIEST }
    }

    /// The wall time at `now`.
    pub(super) fn at(&self, now: BootMs) -> WallMs {
        WallMs::new(signed(now).saturating_add(self.offset_ms))
    }

    /// Whether the machine's clock is set.
    pub(super) fn is_set(&self) -> bool {
        self.is_set
    }

    /// Compares the offset with the machine's clocks. Returns whether it changed.
    pub(super) fn update(&mut self, now: BootMs, wall: WallMs) -> bool {
        self.is_set = wall >= EARLIEST;
        let measured = difference(now, wall);
        let offset_ms = if self.is_set { measured } else { measured.max(self.min_ms) };
        let is_changed = offset_ms.abs_diff(self.offset_ms) >= MIN_STEP_MS;
        if is_changed {
            self.offset_ms = offset_ms;
        }
        is_changed
    }

    /// Records that `now` is not earlier than `wall`, a time read from a file. It counts while the
    /// machine's clock is not set: a set clock may be right although the file has a later time.
    pub(super) fn note_earlier_time(&mut self, now: BootMs, wall: WallMs) {
        self.min_ms = self.min_ms.max(difference(now, wall));
        if !self.is_set {
            self.offset_ms = self.offset_ms.max(self.min_ms);
        }
    }
}

/// The time as a signed number of milliseconds.
pub(super) fn signed(now: BootMs) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

/// Milliseconds by which the wall clock is ahead of the boot clock.
pub(super) fn difference(now: BootMs, wall: WallMs) -> i64 {
    wall.unix_ms().saturating_sub(signed(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: i64 = 1_796_000_000_000;

    /// Wall times that the machine's clock shows at boot times, and the displayed wall times.
    fn displayed(offset: &mut WallOffset, readings: &[(u64, i64)]) -> Vec<i64> {
        let read = |&(boot, wall): &(u64, i64)| {
            offset.update(BootMs(boot), WallMs::new(wall));
            offset.at(BootMs(boot)).unix_ms()
        };
        readings.iter().map(read).collect()
    }

    #[test]
    fn only_a_difference_of_a_second_changes_the_offset() {
        let mut offset = WallOffset::new(BootMs(100), WallMs::new(SET));
        let readings = [(200, SET + 1099), (300, SET - 799), (400, SET + 1300), (500, SET + 401)];
        assert_eq!(displayed(&mut offset, &readings), [SET + 100, SET + 200, SET + 1300, SET + 1400]);
        assert_eq!(displayed(&mut offset, &[(600, SET - 3_600_000)]), [SET - 3_600_000], "set back by an hour");
    }

    #[test]
    fn a_clock_that_is_not_set_continues_from_an_earlier_time_until_it_is_set() {
        let mut offset = WallOffset::new(BootMs(5000), WallMs::new(5000));
        assert_eq!(displayed(&mut offset, &[(6000, 6000)]), [6000]);
        offset.note_earlier_time(BootMs(6000), WallMs::new(SET));
        assert_eq!(offset.at(BootMs(6000)).unix_ms(), SET);
        let readings = [(7000, 7000), (8000, EARLIEST.unix_ms() - 1), (9000, EARLIEST.unix_ms()), (9500, SET + 99_000)];
        assert_eq!(displayed(&mut offset, &readings), [SET + 1000, SET + 2000, EARLIEST.unix_ms(), SET + 99_000]);
    }

    #[test]
    fn a_set_clock_is_right_although_a_file_has_a_later_time() {
        let mut offset = WallOffset::new(BootMs(0), WallMs::new(SET));
        offset.note_earlier_time(BootMs(0), WallMs::new(2 * SET));
        assert_eq!(displayed(&mut offset, &[(10, SET + 10)]), [SET + 10]);
    }
}
