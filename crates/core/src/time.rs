//! Boot time and wall time. Two types, so that code cannot mix them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Time on the boot clock of one machine, in whole milliseconds (rounded down).
///
/// The clock never jumps, and it also runs while the machine is suspended. Times of two machines
/// cannot be compared.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BootMs(pub u64);

impl BootMs {
    /// A time that no process reaches.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if `earlier` is the later time.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Length of an RFC 3339 time with whole seconds, in bytes.
const RFC3339_LEN: usize = "2026-01-15T10:30:00Z".len();

/// Time of the wall clock, in milliseconds since 1970-01-01 UTC.
///
/// It is for display and files, never for decisions, because the wall clock can jump.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct WallMs(i64);

impl WallMs {
    /// Creates a time from Unix milliseconds.
    #[must_use]
    pub const fn new(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since the start of its second, 0 to 999.
    #[must_use]
    pub fn subsecond_ms(self) -> u16 {
        u16::try_from(self.0.rem_euclid(1000)).unwrap_or(0)
    }

    /// Whether the time has a text of four digits for the year: whether it is in the years 0 to
    /// 9999.
    #[must_use]
    pub fn is_displayable(self) -> bool {
        /// 0000-01-01T00:00:00Z, in milliseconds since 1970-01-01 UTC.
        const FIRST: i64 = -62_167_219_200_000;
        /// 9999-12-31T23:59:59.999Z.
        const LAST: i64 = 253_402_300_799_999;
        (FIRST..=LAST).contains(&self.0)
    }

    /// The time `ms` milliseconds earlier.
    #[must_use]
    pub fn minus(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// The time as RFC 3339 in UTC with whole seconds, such as `2026-01-15T10:30:00Z`. Correct for
    /// the years 0 to 9999.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.rfc3339_bytes().iter().copied().map(char::from).collect()
    }

    /// The text of [`Self::to_rfc3339`] as ASCII bytes.
    ///
    /// Each heartbeat response contains a time. So the function writes the digits directly and does
    /// not interpret a format description.
    #[must_use]
    pub fn rfc3339_bytes(self) -> [u8; RFC3339_LEN] {
        let moment = OffsetDateTime::from_unix_timestamp(self.unix_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (moment.date(), moment.time());
        let century_and_year = [date.year().div_euclid(100), date.year().rem_euclid(100)];
        let [century, year] = century_and_year.map(|part| u8::try_from(part).unwrap_or(0));
        let mut text = *b"0000-00-00T00:00:00Z";
        for (at, number) in [
            (0, century),
            (2, year),
            (5, u8::from(date.month())),
            (8, date.day()),
            (11, time.hour()),
            (14, time.minute()),
            (17, time.second()),
        ] {
            text[at] = b'0' + number / 10;
            text[at + 1] = b'0' + number % 10;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_formatted_as_rfc3339_with_whole_seconds() {
        assert_eq!(WallMs::new(1_705_314_600_999).to_rfc3339(), "2024-01-15T10:30:00Z");
        assert_eq!(WallMs::new(-1).to_rfc3339(), "1969-12-31T23:59:59Z");
        assert_eq!((WallMs::new(-1).subsecond_ms(), WallMs::new(1_705_314_600_250).subsecond_ms()), (999, 250));
    }

    #[test]
    fn the_formatted_time_equals_that_of_the_time_crate_in_every_month_and_century() {
        use time::format_description::well_known::Rfc3339;
        for seconds in (-62_000_000_000..250_000_000_000_i64).step_by(1_234_567_891) {
            let standard = OffsetDateTime::from_unix_timestamp(seconds).unwrap().format(&Rfc3339).unwrap();
            assert_eq!(WallMs::new(seconds * 1000).to_rfc3339(), standard);
        }
    }

    #[test]
    fn the_years_0_to_9999_can_be_displayed() {
        for (unix_ms, text) in
            [(-62_167_219_200_000, "0000-01-01T00:00:00Z"), (253_402_300_799_999, "9999-12-31T23:59:59Z")]
        {
            assert!(WallMs::new(unix_ms).is_displayable());
            assert_eq!(WallMs::new(unix_ms).to_rfc3339(), text);
        }
        for unix_ms in [i64::MIN, -62_167_219_200_001, 253_402_300_800_000, i64::MAX] {
            assert!(!WallMs::new(unix_ms).is_displayable());
            // No text is right, and none may panic.
            let _ = WallMs::new(unix_ms).to_rfc3339();
        }
    }

    #[test]
    fn boot_time_saturates_instead_of_wrapping() {
        assert_eq!(BootMs(5).since(BootMs(9)), 0);
        assert_eq!(BootMs::NEVER.plus(1), BootMs::NEVER);
    }
}
