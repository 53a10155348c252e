//! What an answer means. Pure.

use reqwest::StatusCode;

use super::ClientError;
use rollcall_core::api::ErrorBody;

/// What an answer means for the request.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It was done; the body says what.
    Done,
    /// Another node leads.
    Elsewhere { leader_url: Option<String>, message: String },
    /// Nobody could do it at this moment.
    Later { message: String },
    /// It will not be done.
    Refused { status: u16, code: String, message: String },
}

pub(super) fn judge(status: StatusCode, body: &[u8]) -> Verdict {
    // What the client has already is as good as an answer.
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Verdict::Done;
    }
    // Something between the client and the node may answer in words of its own.
    let (message, code, leader_url) = match serde_json::from_slice(body) {
        Ok(ErrorBody { message, code, leader_url, .. }) => (message, code.into_owned(), leader_url),
        Err(_) => (format!("status {status}"), String::new(), None),
    };
    match status {
        StatusCode::FORBIDDEN if code == "not_leader" => Verdict::Elsewhere { leader_url, message },
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Later { message },
        _ => Verdict::Refused { status: status.as_u16(), code, message },
    }
}

impl Verdict {
    /// The error that the verdict is for whoever asked `base`.
    pub(super) fn into_error(self, base: &str) -> ClientError {
        let base = base.to_owned();
        match self {
            Self::Done => ClientError::Unexpected { base, what: "an answer that is no error".to_owned() },
            Self::Elsewhere { leader_url, message } => ClientError::NotLeader { base, leader_url, message },
            Self::Later { message } => ClientError::Unavailable { base, message },
            Self::Refused { status, code, message } => ClientError::Refused { status, code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_follower_s_403_sends_the_client_elsewhere() {
        let follower = br#"{"success":false,"message":"m","code":"not_leader","leader_url":"http://127.0.0.1:3001"}"#;
        assert_eq!(
            judge(StatusCode::FORBIDDEN, follower),
            Verdict::Elsewhere { leader_url: Some("http://127.0.0.1:3001".into()), message: "m".into() }
        );
        assert_eq!(
            judge(StatusCode::FORBIDDEN, b"<html>"),
            Verdict::Refused { status: 403, code: String::new(), message: "status 403 Forbidden".into() }
        );
    }

    #[test]
    fn an_election_is_waited_for_and_a_refusal_is_not() {
        assert!(matches!(judge(StatusCode::SERVICE_UNAVAILABLE, b""), Verdict::Later { .. }));
        assert!(matches!(judge(StatusCode::CONFLICT, b""), Verdict::Refused { status: 409, .. }));
        // Whoever guessed too often is not helped by guessing on.
        assert!(matches!(judge(StatusCode::TOO_MANY_REQUESTS, b""), Verdict::Refused { status: 429, .. }));
        assert!(matches!(judge(StatusCode::INTERNAL_SERVER_ERROR, b""), Verdict::Refused { .. }));
        assert_eq!(judge(StatusCode::CREATED, b"anything"), Verdict::Done);
    }
}
