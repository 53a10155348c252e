//! The query `?since=&wait=`: the client's cursor, and the longest wait for a newer list.

use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use super::cursor::ClientCursor;
use crate::http::error::ApiError;
use crate::http::limits::MAX_LONG_POLL_WAIT;
use crate::http::params::quoted;

/// The client's cursor. `long_poll.rs` has already waited when this is extracted.
pub(in crate::http) struct SinceParam(pub(in crate::http) Option<ClientCursor>);

#[derive(Deserialize)]
struct SinceQuery {
    since: Option<String>,
    wait: Option<String>,
    limit: Option<String>,
    after: Option<String>,
    prefix: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for SinceParam {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(Query(query)) = Query::<SinceQuery>::from_request_parts(parts, state).await else {
            let expected = "?since= and wait=, each at most once";
            return Err(ApiError::InvalidField { field: "query", found: "not readable".to_owned(), expected });
        };
        let Some(since) = query.since else {
            let found = "given without since".to_owned();
            let without_since = ApiError::InvalidField { field: "wait", found, expected: "given together with since=" };
            return if query.wait.is_some() { Err(without_since) } else { Ok(Self(None)) };
        };
        if query.limit.or(query.after).or(query.prefix).is_some() {
            let found = "given together with limit=, after= or prefix=".to_owned();
            let expected = "alone or with wait=, because changes are those of the whole list";
            return Err(ApiError::InvalidField { field: "since", found, expected });
        }
        if let Some(wait) = query.wait.filter(|wait| parse_wait(wait).is_none()) {
            return Err(ApiError::InvalidField {
                field: "wait",
                found: quoted(&wait),
                expected: "whole seconds, up to 55",
            });
        }
        let expected = "a cursor of an earlier answer, or 0 for none";
        let given = ClientCursor::parse(&since).ok_or(ApiError::InvalidField {
            field: "since",
            found: quoted(&since),
            expected,
        })?;
        Ok(Self(Some(given)))
    }
}

/// Parses whole seconds, and limits them to [`MAX_LONG_POLL_WAIT`]. `None` if the text has other
/// characters than digits.
pub(in crate::http) fn parse_wait(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number that does not fit into `u64` is larger than the limit.
    is_number.then(|| text.parse().map_or(MAX_LONG_POLL_WAIT, Duration::from_secs).min(MAX_LONG_POLL_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_in_whole_seconds_and_ends_before_a_proxy_cuts_it_after_a_minute() {
        let seconds = |text| parse_wait(text).map(|wait| wait.as_secs());
        assert_eq!(["0", "7", "55", "56", "60", "99999999999999999999"].map(seconds), [0, 7, 55, 55, 55, 55].map(Some));
        assert_eq!(["", "-1", "+1", "1.5", "x"].map(seconds), [None; 5]);
    }
}
