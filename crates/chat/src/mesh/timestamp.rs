//! Timestamp of a message, in each form that a known program writes.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Timestamp field of a message.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Timestamp {
    /// Unix time in an unknown unit.
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
    /// Encodes Unix seconds as a number, or as RFC 3339 text for peers that use text.
    pub(super) fn encode(seconds: i64, is_text: bool) -> Self {
        if !is_text {
            return Self::Number(seconds);
        }
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        moment.format(&Rfc3339).map_or(Self::Number(seconds), Self::Text)
    }

    /// Decodes to Unix seconds. The unit of a number is inferred from its size: for present times,
    /// the ranges of seconds, milliseconds, microseconds and nanoseconds do not overlap. An
    /// unreadable timestamp is 0.
    pub(super) fn unix_seconds(&self) -> i64 {
        match self {
            Self::Number(number) => match number.unsigned_abs() {
                0..100_000_000_000 => *number,
                100_000_000_000..100_000_000_000_000 => number / 1000,
                100_000_000_000_000..100_000_000_000_000_000 => number / 1_000_000,
                _ => number / 1_000_000_000,
            },
            Self::Text(text) => OffsetDateTime::parse(text, &Rfc3339).map_or(0, OffsetDateTime::unix_timestamp),
            Self::Other(_) => 0,
        }
    }
}
