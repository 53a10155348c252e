//! Errors of a request to the registry.

use std::time::Duration;

use thiserror::Error;

use super::TlsFailure;

/// Error code of a node with TLS for a request by plain HTTP.
const HTTPS_REQUIRED: &str = "https_required";

/// Reason why a request did not succeed. `Display` is one line for the user.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The client was created without a server.
    #[error("no server is given; name at least one, such as http://127.0.0.1:3000")]
    NoServers,
    /// TLS could not be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(reqwest::Error),
    /// The node does not answer, or not within the timeout.
    #[error("no answer from {base}: {}", innermost(.cause))]
    Unreachable {
        /// Base URL of the node.
        base: String,
        /// Network error.
        cause: reqwest::Error,
    },
    /// No TLS connection to the node can be established, or its certificate is not trusted.
    #[error("no secure connection to {base}: {failure}")]
    Tls {
        /// Base URL of the node.
        base: String,
        /// The reason.
        failure: TlsFailure,
    },
    /// The node is not the leader.
    #[error("{base} is not the leader: {message}")]
    NotLeader {
        /// Base URL of the node.
        base: String,
        /// Base URL of the leader, if the node knows it.
        leader_url: Option<String>,
        /// Message of the node.
        message: String,
    },
    /// No node reports that it is the leader.
    #[error("no node leads at the moment; asked {}", .servers.join(", "))]
    NoLeader {
        /// Base URLs of the nodes that were asked.
        servers: Vec<String>,
    },
    /// A node names a leader that is not a known node. Nothing was sent to it.
    #[error(
        "the leader {leader} gets no requests: no given server lists it as a node with a connection as secure as its \
         own; if you trust it, give its URL, too"
    )]
    UnknownLeader {
        /// Base URL of the leader as a node named it.
        leader: String,
    },
    /// The node cannot serve the request now; a later attempt may succeed.
    #[error("{base} cannot answer now: {message}")]
    Unavailable {
        /// Base URL of the node.
        base: String,
        /// Message of the node.
        message: String,
    },
    /// The server accepts no more requests of this kind from this address for now. The client waits
    /// and tries again, unless the wait is longer than its retry timeout.
    #[error("{message}")]
    RateLimited {
        /// Time after which the next request is accepted.
        retry_after: Duration,
        /// Message of the server.
        message: String,
    },
    /// None of several servers can be reached.
    #[error("no server answers: {}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoneReachable {
        /// The error of each server.
        failures: Vec<ClientError>,
    },
    /// The response was lost. The request may have been executed, and it must not be executed
    /// twice.
    #[error("it is not known whether this was done: {cause}")]
    OutcomeUnknown {
        /// Reason why the response is missing.
        cause: Box<ClientError>,
    },
    /// The server rejected the request.
    #[error("{message}")]
    Rejected {
        /// HTTP status of the response.
        status: u16,
        /// Error code of the API, such as `user_exists`; empty if the response had none.
        code: String,
        /// Message of the server.
        message: String,
    },
    /// The response is not valid for a Rollcall node.
    #[error("{base} does not answer like a Rollcall node: {what}")]
    InvalidResponse {
        /// Base URL that was asked.
        base: String,
        /// Description of the error in the response.
        what: String,
    },
    /// A timeout for all attempts together expired before one succeeded.
    #[error("gave up after {retry_timeout_ms} ms: {last}")]
    DeadlineExceeded {
        /// The timeout that expired, in milliseconds.
        retry_timeout_ms: u128,
        /// Error of the last attempt.
        last: Box<ClientError>,
    },
}

impl ClientError {
    /// The error for a request to `base` that got no response, or only a part of it.
    pub(super) fn of_network(base: &str, cause: reqwest::Error) -> Self {
        let base = base.to_owned();
        match TlsFailure::find(&cause).filter(|_| cause.is_connect()) {
            Some(failure) => Self::Tls { base, failure },
            None => Self::Unreachable { base, cause },
        }
    }

    /// Combines the errors of all servers if none answered. Without any error it returns
    /// [`Self::NoLeader`].
    pub(super) fn none_reachable(mut failures: Vec<Self>, servers: Vec<String>) -> Self {
        match failures.len() {
            0 => Self::NoLeader { servers },
            1 => failures.remove(0),
            _ => Self::NoneReachable { failures },
        }
    }

    /// Whether the request was certainly not sent, because no connection was established.
    pub(super) fn was_not_sent(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.is_connect(),
            Self::Tls { .. } => true,
            _ => false,
        }
    }

    /// Whether the URL or the trusted authorities of the client are wrong for a node, or for all of
    /// several nodes. A retry cannot help.
    pub(super) fn is_wrong_connection(&self) -> bool {
        match self {
            Self::Tls { .. } => true,
            Self::Rejected { code, .. } => code == HTTPS_REQUIRED,
            Self::NoneReachable { failures } => failures.iter().all(Self::is_wrong_connection),
            _ => false,
        }
    }

    /// Whether the attempt timed out. The server may still execute the request.
    pub(super) fn is_timeout(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.is_timeout(),
            Self::OutcomeUnknown { cause } => cause.is_timeout(),
            _ => false,
        }
    }

    /// Whether neither a retry nor another node can help.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoServers
            | Self::Setup(_)
            | Self::Tls { .. }
            | Self::Rejected { .. }
            | Self::OutcomeUnknown { .. }
            | Self::DeadlineExceeded { .. } => true,
            // An invalid response is not final: another program may listen at one of the addresses.
            Self::Unreachable { .. }
            | Self::NotLeader { .. }
            | Self::NoLeader { .. }
            | Self::UnknownLeader { .. }
            | Self::NoneReachable { .. }
            | Self::Unavailable { .. }
            | Self::RateLimited { .. }
            | Self::InvalidResponse { .. } => false,
        }
    }
}

/// Text of the innermost cause, or that of a timeout. reqwest's own text repeats the URL and hides
/// "connection refused".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}
