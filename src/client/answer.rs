//! What is asked and answered, and what an answer means. Pure.

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::ClientError;
use crate::domain::{Addr, NodeAddr, Term, Username};

/// A node's answer to `GET /`. What an older or smaller server leaves out is `None`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Health {
    /// Whether the node leads and serves at this moment.
    pub is_leader: bool,
    /// How many clients are online in the cluster.
    pub online_clients_count: u64,
    /// The leader's name, if the node knows one.
    #[serde(default)]
    pub current_leader: Option<NodeAddr>,
    /// Where the leader's API is.
    #[serde(default)]
    pub leader_url: Option<String>,
    /// The node's term.
    #[serde(default)]
    pub term: Option<Term>,
    /// The node's name.
    #[serde(default)]
    pub node: Option<NodeAddr>,
}

/// The answer to a registration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Registered {
    /// The user's id.
    pub user_id: String,
    /// The server's words.
    pub message: String,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Accepted {
    /// The server's words.
    pub message: String,
    /// When the server would like to hear the next one.
    #[serde(default)]
    pub next_heartbeat_ms: Option<u64>,
}

/// The answer to an upload.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Uploaded {
    /// The name under which the picture is stored.
    pub filename: String,
}

/// The body of a registration and of a heartbeat.
#[derive(Serialize)]
pub(super) struct Presence<'a> {
    username: &'a Username,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<Addr>,
}

pub(super) fn presence(username: &Username, addr: Option<Addr>) -> Presence<'_> {
    Presence { username, addr }
}

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

/// The shape of every error.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    leader_url: Option<String>,
}

pub(super) fn judge(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_success() {
        return Verdict::Done;
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let message = if refusal.message.is_empty() { format!("status {status}") } else { refusal.message };
    match status {
        StatusCode::FORBIDDEN if refusal.code == "not_leader" => {
            Verdict::Elsewhere { leader_url: refusal.leader_url, message }
        }
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Later { message },
        _ => Verdict::Refused { status: status.as_u16(), code: refusal.code, message },
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
        assert!(matches!(judge(StatusCode::INTERNAL_SERVER_ERROR, b""), Verdict::Refused { .. }));
        assert_eq!(judge(StatusCode::CREATED, b"anything"), Verdict::Done);
    }

    #[test]
    fn the_health_of_a_smaller_server_is_understood() {
        let health: Health =
            serde_json::from_str(r#"{"status":"ok","is_leader":true,"online_clients_count":2}"#).unwrap();
        assert!(health.is_leader && health.current_leader.is_none());
    }
}
