//! What can go wrong between a client and the registry.

use thiserror::Error;

/// Why a request got no good answer. Display is one line for the person at the client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The client was made without a server.
    #[error("no server is given; name at least one, such as http://127.0.0.1:3000")]
    NoServers,
    /// TLS could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(reqwest::Error),
    /// Nobody answers there, or not in time.
    #[error("no answer from {base}: {}", innermost(.cause))]
    Unreachable {
        /// The node.
        base: String,
        /// What the network said.
        cause: reqwest::Error,
    },
    /// The node does not lead.
    #[error("{base} is not the leader: {message}")]
    NotLeader {
        /// The node.
        base: String,
        /// Where the leader is, if the node knows.
        leader_url: Option<String>,
        /// What the node said.
        message: String,
    },
    /// No node says that it leads.
    #[error("no node leads at the moment; asked {}", .servers.join(", "))]
    NoLeader {
        /// Who was asked.
        servers: Vec<String>,
    },
    /// The node cannot answer now, but may later.
    #[error("{base} cannot answer now: {message}")]
    Unavailable {
        /// The node.
        base: String,
        /// What the node said.
        message: String,
    },
    /// No server that is known answers at all.
    #[error("no server answers: {}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoneReachable {
        /// Why, for each of them.
        failures: Vec<ClientError>,
    },
    /// The request may or may not have been done, and must not be done twice.
    #[error("it is not known whether this was done: {cause}")]
    OutcomeUnknown {
        /// Why the answer is not known.
        cause: Box<ClientError>,
    },
    /// The request was understood and is not granted.
    #[error("{message}")]
    Rejected {
        /// The status of the answer.
        status: u16,
        /// The machine's word for the reason: `user_exists`; empty if the server gave none.
        code: String,
        /// The server's words.
        message: String,
    },
    /// What answers is not a node of the registry.
    #[error("{base} does not answer like a Rollcall node: {what}")]
    InvalidResponse {
        /// Who was asked.
        base: String,
        /// What is odd about the answer.
        what: String,
    },
    /// The client's patience ended.
    #[error("gave up after {retry_timeout_ms} ms: {last}")]
    DeadlineExceeded {
        /// How long it tried.
        retry_timeout_ms: u128,
        /// Why the last try failed.
        last: Box<ClientError>,
    },
}

impl ClientError {
    /// Nobody answered; these are the reasons.
    pub(super) fn none_reachable(mut failures: Vec<Self>, servers: Vec<String>) -> Self {
        match failures.len() {
            0 => Self::NoLeader { servers },
            1 => failures.remove(0),
            _ => Self::NoneReachable { failures },
        }
    }

    /// Whether the request surely never reached anybody.
    pub(super) fn was_not_sent(&self) -> bool {
        matches!(self, Self::Unreachable { cause, .. } if cause.is_connect())
    }

    /// Whether the answer took too long, so that the request may still be under way.
    pub(super) fn is_timeout(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.is_timeout(),
            Self::OutcomeUnknown { cause } => cause.is_timeout(),
            _ => false,
        }
    }

    /// Whether asking again, or another node, cannot help.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoServers
            | Self::Setup(_)
            | Self::Rejected { .. }
            | Self::OutcomeUnknown { .. }
            | Self::DeadlineExceeded { .. } => true,
            // Something else may sit on one port while the nodes answer on others.
            Self::Unreachable { .. }
            | Self::NotLeader { .. }
            | Self::NoLeader { .. }
            | Self::NoneReachable { .. }
            | Self::Unavailable { .. }
            | Self::InvalidResponse { .. } => false,
        }
    }
}

/// The last cause of an error: reqwest's own text repeats the URL and hides "connection refused".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}
