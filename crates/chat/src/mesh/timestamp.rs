//! Timestamp of a message. It is written as RFC 3339 text: some programs ignore a message with any
//! other form. It is read in each form that a known program writes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime};

/// Length of a timestamp as this program writes it, such as `2026-11-30T04:12:00Z`, in bytes.
pub(super) const RFC3339_BYTES: usize = 20;

/// The years 0 to 9999 in Unix seconds. RFC 3339 can write no other time.
const RFC3339_SECONDS: RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Timestamp field of a message.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Timestamp {
    /// Unix time in an unknown unit. Earlier versions of this program wrote seconds.
    Number(i64),
    /// Text, expected in the format of RFC 3339.
    Text(String),
    /// Any other JSON value. It is read as 0.
    Other(serde_json::Value),
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Timestamp {
    /// Encodes Unix seconds.
    pub(super) fn encode(seconds: i64) -> Self {
        Self::Text(rfc3339(seconds).map(char::from).iter().collect())
    }

    /// Decodes to Unix seconds. The unit of a number is inferred from its size: for present times,
    /// the ranges of seconds, milliseconds, microseconds and nanoseconds do not overlap. An
    /// unreadable timestamp is 0, and so is one outside [`RFC3339_SECONDS`].
    pub(super) fn unix_seconds(&self) -> i64 {
        let seconds = match self {
            Self::Number(number) => match number.unsigned_abs() {
                0..100_000_000_000 => *number,
                100_000_000_000..100_000_000_000_000 => number / 1000,
                100_000_000_000_000..100_000_000_000_000_000 => number / 1_000_000,
                _ => number / 1_000_000_000,
            },
            Self::Text(text) => OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp),
            Self::Other(_) => 0,
        };
        if RFC3339_SECONDS.contains(&seconds) { seconds } else { 0 }
    }
}

/// Unix seconds as RFC 3339 text in UTC. A time outside [`RFC3339_SECONDS`] becomes the Unix epoch.
pub(super) fn rfc3339(seconds: i64) -> [u8; RFC3339_BYTES] {
    let seconds = if RFC3339_SECONDS.contains(&seconds) { seconds } else { 0 };
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = *b"0000-00-00T00:00:00Z";
    let mut put = |end: usize, mut number: u32| {
        for digit in text[..end].iter_mut().rev().take_while(|byte| byte.is_ascii_digit()) {
            *digit = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
        }
    };
    put(4, moment.year().unsigned_abs());
    put(7, u8::from(moment.month()).into());
    put(10, moment.day().into());
    put(13, moment.hour().into());
    put(16, moment.minute().into());
    put(19, moment.second().into());
    text
}

/// Fast path: parses text as [`rfc3339`] writes it. `None` for every other text, which may still be
/// valid RFC 3339.
pub(super) fn read_rfc3339(text: &[u8; RFC3339_BYTES]) -> Option<i64> {
    let is_layout = text.iter().zip(b"dddd-dd-ddTdd:dd:ddZ").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        mark => byte == mark,
    });
    if !is_layout {
        return None;
    }
    let two = |at: usize| (text[at] - b'0') * 10 + (text[at + 1] - b'0');
    let year = i32::from(two(0)) * 100 + i32::from(two(2));
    let date = Date::from_calendar_date(year, Month::try_from(two(5)).ok()?, two(8)).ok()?;
    Some(date.with_hms(two(11), two(14), two(17)).ok()?.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_and_outside_its_years_as_the_epoch() {
        let (first, last) = (*RFC3339_SECONDS.start(), *RFC3339_SECONDS.end());
        for (seconds, text) in [
            (1_796_011_920, "2026-11-30T04:12:00Z"),
            (1_709_208_061, "2024-02-29T12:01:01Z"),
            (first, "0000-01-01T00:00:00Z"),
            (first - 1, "1970-01-01T00:00:00Z"),
            (last, "9999-12-31T23:59:59Z"),
            (last + 1, "1970-01-01T00:00:00Z"),
            (i64::MIN, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(std::str::from_utf8(&rfc3339(seconds)), Ok(text), "{seconds}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_written_again_is_read_as_zero() {
        for (timestamp, seconds) in [
            (Timestamp::Number(-62_167_219_200), -62_167_219_200),
            (Timestamp::Number(-62_167_219_201), 0),
            (Timestamp::Text("0000-01-01T00:00:00+00:01".to_owned()), 0),
        ] {
            assert_eq!(timestamp.unix_seconds(), seconds);
        }
    }

    #[test]
    fn the_fast_path_leaves_every_other_text_to_the_general_parser() {
        for (text, seconds) in [
            ("2024-10-14T20:41:40Z", Some(1_728_938_500)),
            ("2024-10-14t20:41:40Z", None),
            ("2024-02-30T20:41:40Z", None),
            ("2024-10-14T24:41:40Z", None),
            ("2016-12-31T23:59:60Z", None),
            ("2024-10-14T20:41+02Z", None),
        ] {
            assert_eq!(read_rfc3339(text.as_bytes().try_into().unwrap()), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_of_the_calendar_round_trips_on_both_paths(seconds in RFC3339_SECONDS) {
            prop_assert_eq!(read_rfc3339(&rfc3339(seconds)), Some(seconds));
            prop_assert_eq!(Timestamp::encode(seconds).unix_seconds(), seconds);
        }
    }
}
