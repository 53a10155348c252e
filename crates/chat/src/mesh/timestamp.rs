//! Times of messages, as each program writes them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// When a message was said, as it stands in the message.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Timestamp {
    Number(i64),
    Text(String),
    Other(serde_json::Value),
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Timestamp {
    /// Unix seconds as a number, or as a text for those that write theirs so.
    pub(super) fn written(seconds: i64, is_text: bool) -> Self {
        if !is_text {
            return Self::Number(seconds);
        }
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        moment.format(&Rfc3339).map_or(Self::Number(seconds), Self::Text)
    }

    /// Unix seconds, whatever unit a number was written in: the sizes of today's do not overlap.
    pub(super) fn seconds(&self) -> i64 {
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
