//! Classification of responses: success, not the leader, unavailable, rejected. Pure.

use std::time::Duration;

use reqwest::StatusCode;

use super::ClientError;
use rollcall_core::api::ErrorBody;

/// Wait before the next attempt if a node that limits a rate does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Result of a request, from its response.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum ResponseKind {
    /// The request succeeded.
    Success,
    /// Another node is the leader.
    NotLeader { leader_url: Option<String>, message: String },
    /// The node cannot serve the request now.
    Unavailable { message: String },
    /// This address sends too many requests of a kind. The next one is accepted after this time.
    RateLimited { retry_after: Duration, message: String },
    /// The node rejected the request.
    Rejected { status: u16, code: String, message: String },
}

/// Classifies a response by its status and the error code in its body. `retry_after` is the time of
/// its header `Retry-After`.
pub(super) fn classify(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> ResponseKind {
    // Not modified: the caller has the content already.
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return ResponseKind::Success;
    }
    // The body may have another form if a proxy responds instead of the node.
    let (message, code, leader_url) = match serde_json::from_slice(body) {
        Ok(ErrorBody { message, code, leader_url, .. }) => (message, code.into_owned(), leader_url),
        Err(_) => (format!("status {status}"), String::new(), None),
    };
    match status {
        StatusCode::FORBIDDEN if code == "not_leader" => ResponseKind::NotLeader { leader_url, message },
        StatusCode::TOO_MANY_REQUESTS if code == "rate_limited" => {
            ResponseKind::RateLimited { retry_after: retry_after.unwrap_or(DEFAULT_WAIT), message }
        }
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => ResponseKind::Unavailable { message },
        _ => ResponseKind::Rejected { status: status.as_u16(), code, message },
    }
}

impl ResponseKind {
    /// Converts the result into an error of the node at `base`.
    pub(super) fn into_error(self, base: &str) -> ClientError {
        let base = base.to_owned();
        match self {
            Self::Success => ClientError::InvalidResponse { base, what: "an unexpected success".to_owned() },
            Self::NotLeader { leader_url, message } => ClientError::NotLeader { base, leader_url, message },
            Self::Unavailable { message } => ClientError::Unavailable { base, message },
            Self::RateLimited { retry_after, message } => ClientError::RateLimited { retry_after, message },
            Self::Rejected { status, code, message } => ClientError::Rejected { status, code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_403_with_the_code_not_leader_means_that_another_node_leads() {
        let follower = br#"{"success":false,"message":"m","code":"not_leader","leader_url":"http://127.0.0.1:3001"}"#;
        assert_eq!(
            classify(StatusCode::FORBIDDEN, None, follower),
            ResponseKind::NotLeader { leader_url: Some("http://127.0.0.1:3001".into()), message: "m".into() }
        );
        assert_eq!(
            classify(StatusCode::FORBIDDEN, None, b"<html>"),
            ResponseKind::Rejected { status: 403, code: String::new(), message: "status 403 Forbidden".into() }
        );
    }

    #[test]
    fn a_503_is_temporary_and_a_rejection_is_final() {
        let classify = |status, body: &[u8]| classify(status, None, body);
        assert!(matches!(classify(StatusCode::SERVICE_UNAVAILABLE, b""), ResponseKind::Unavailable { .. }));
        assert!(matches!(classify(StatusCode::CONFLICT, b""), ResponseKind::Rejected { status: 409, .. }));
        // A retry does not help a client that tried too many passwords.
        assert!(matches!(classify(StatusCode::TOO_MANY_REQUESTS, b""), ResponseKind::Rejected { status: 429, .. }));
        assert!(matches!(classify(StatusCode::INTERNAL_SERVER_ERROR, b""), ResponseKind::Rejected { .. }));
        assert_eq!(classify(StatusCode::CREATED, b"anything"), ResponseKind::Success);
    }

    #[test]
    fn a_limit_of_a_rate_says_when_to_try_again() {
        let body = br#"{"success":false,"message":"m","code":"rate_limited"}"#;
        for (header, expected) in [(Some(7), 7), (None, 1)] {
            let kind = classify(StatusCode::TOO_MANY_REQUESTS, header.map(Duration::from_secs), body);
            let retry_after = Duration::from_secs(expected);
            assert_eq!(kind, ResponseKind::RateLimited { retry_after, message: "m".into() });
        }
    }
}
