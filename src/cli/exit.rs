//! Exit codes and the error type of all commands.
//!
//! The failures of a node have codes of sysexits(3). The client commands use small numbers, one for
//! each case to which a script can react. [`CODES`] is the one list of codes and their meanings:
//! `--help` prints it, and a test compares the documentation with it.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::node::NodeError;
use rollcall_client::{ClientError, InvalidAuthorities, SettingsError};
use rollcall_core::escape::escape_controls;

/// The command succeeded.
pub const SUCCESS: u8 = 0;
/// The registry rejected the request, or a file on this machine cannot be read or written.
pub const REJECTED: u8 = 1;
/// The command line is wrong. clap exits with this code by itself.
pub const USAGE: u8 = 2;
/// The user or the image does not exist.
pub const NOT_FOUND: u8 = 3;
/// No server can be reached, or no node leads.
pub const UNREACHABLE: u8 = 4;
/// One part of the work succeeded and another failed, or the outcome is unknown.
pub const PARTIAL: u8 = 5;
/// The storage cannot be reached. `EX_UNAVAILABLE` of sysexits(3).
pub const STORAGE: u8 = 69;
/// An internal error, or the node stopped by itself. `EX_SOFTWARE` of sysexits(3).
pub const SOFTWARE: u8 = 70;
/// An address cannot be bound, or the system denies another resource. `EX_OSERR` of sysexits(3).
pub const SYSTEM: u8 = 71;
/// The configuration is wrong. `EX_CONFIG` of sysexits(3).
pub const CONFIGURATION: u8 = 78;
/// A second SIGHUP stopped the process: 128 plus the signal's number, as a shell reports it.
pub const HUNG_UP: u8 = 128 + 1;
/// A second SIGINT stopped the process: 128 plus the signal's number.
pub const INTERRUPTED: u8 = 128 + 2;
/// A second SIGTERM stopped the process: 128 plus the signal's number.
pub const TERMINATED: u8 = 128 + 15;

/// Every exit code of the program, in ascending order, with its meaning.
pub const CODES: &[(u8, &str)] = &[
    (SUCCESS, "done, or stopped on request"),
    (REJECTED, "rejected by the registry, or a file cannot be read or written"),
    (USAGE, "wrong command line"),
    (NOT_FOUND, "no such user or image"),
    (UNREACHABLE, "no server can be reached, or no node leads"),
    (PARTIAL, "partly done, or it is not known whether it was done"),
    (STORAGE, "the storage cannot be reached, or fails a check"),
    (SOFTWARE, "internal error"),
    (SYSTEM, "an address cannot be bound, or the system denies another resource"),
    (CONFIGURATION, "wrong configuration"),
    (HUNG_UP, "stopped at once by a second SIGHUP"),
    (INTERRUPTED, "stopped at once by a second Ctrl-C"),
    (TERMINATED, "stopped at once by a second SIGTERM"),
];

/// The codes with which a node can exit.
pub const NODE_CODES: &[u8] =
    &[SUCCESS, USAGE, STORAGE, SOFTWARE, SYSTEM, CONFIGURATION, HUNG_UP, INTERRUPTED, TERMINATED];
/// The codes with which a client command can exit.
pub const CLIENT_CODES: &[u8] = &[SUCCESS, REJECTED, USAGE, NOT_FOUND, UNREACHABLE, PARTIAL, SOFTWARE, SYSTEM];
/// The codes with which the demo can exit.
pub const DEMO_CODES: &[u8] = &[SUCCESS, USAGE, SOFTWARE, SYSTEM, HUNG_UP, INTERRUPTED, TERMINATED];
/// The codes of the commands that work on a storage.
pub const STORAGE_CODES: &[u8] =
    &[SUCCESS, USAGE, PARTIAL, STORAGE, SOFTWARE, SYSTEM, CONFIGURATION, HUNG_UP, INTERRUPTED, TERMINATED];
/// The codes of a command that contacts no server.
pub const LOCAL_CODES: &[u8] = &[SUCCESS, REJECTED, USAGE, SOFTWARE, SYSTEM];

/// The lines of a help page that list `codes`, each with its meaning from [`CODES`].
pub(super) fn help_lines(codes: &[u8]) -> String {
    let width = codes.iter().map(|code| code.to_string().len()).max().unwrap_or(0);
    let mut lines = String::new();
    for (code, meaning) in CODES.iter().filter(|(code, _)| codes.contains(code)) {
        // Writing to a string does not fail.
        let _ = write!(lines, "\n  {code:<width$}  {meaning}");
    }
    lines
}

/// Error of a command: a message of one line for the user, and an exit code for scripts.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    code: u8,
}

impl CommandError {
    /// An error with one of this module's codes.
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl CommandError {
    /// The same exit code with another message.
    pub(super) fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// Standard output was closed by its reader, as `| head` does. The command ends without a
    /// message and with success.
    pub(super) fn stdout_closed() -> Self {
        Self { message: String::new(), code: SUCCESS }
    }

    /// Whether the command ended only because standard output was closed.
    pub(super) fn is_stdout_closed(&self) -> bool {
        self.code == SUCCESS
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The message of an inner error may contain line breaks and control characters.
        let lines = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        f.write_str(&escape_controls(&lines.collect::<Vec<_>>().join(" ")))
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Rejected { status: 404, .. } => NOT_FOUND,
            ClientError::Rejected { .. } | ClientError::RateLimited { .. } => REJECTED,
            ClientError::OutcomeUnknown { .. } => PARTIAL,
            ClientError::NoServers => USAGE,
            ClientError::Setup(_) => SOFTWARE,
            ClientError::Unreachable { .. }
            | ClientError::Tls { .. }
            | ClientError::NotLeader { .. }
            | ClientError::NoLeader { .. }
            | ClientError::UnknownLeader { .. }
            | ClientError::NoneReachable { .. }
            | ClientError::Unavailable { .. }
            | ClientError::InvalidResponse { .. }
            | ClientError::DeadlineExceeded { .. } => UNREACHABLE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<InvalidAuthorities> for CommandError {
    fn from(error: InvalidAuthorities) -> Self {
        Self::new(REJECTED, error.to_string())
    }
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        Self::new(REJECTED, error.to_string())
    }
}

impl From<NodeError> for CommandError {
    fn from(error: NodeError) -> Self {
        let code = match &error {
            NodeError::Configuration(_) => CONFIGURATION,
            NodeError::Storage(_) => STORAGE,
            NodeError::Bind(_) => SYSTEM,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_meaning_and_the_list_is_in_order() {
        assert!(CODES.is_sorted_by(|(one, _), (next, _)| one < next));
        for code in [NODE_CODES, CLIENT_CODES, DEMO_CODES, STORAGE_CODES, LOCAL_CODES].concat() {
            assert!(CODES.iter().any(|(listed, _)| *listed == code), "{code}");
        }
    }

    #[test]
    fn an_error_is_printed_as_one_line_without_control_characters() {
        assert_eq!(CommandError::new(SYSTEM, "one\n  two").to_string(), "one two");
        assert_eq!(CommandError::new(SYSTEM, "\u{1b}[31mred").to_string(), "\\u{1b}[31mred");
    }

    #[test]
    fn the_status_of_the_response_decides_the_exit_code() {
        let code_of = |status| {
            let error = ClientError::Rejected { status, code: String::new(), message: "m".into() };
            CommandError::from(error).code
        };
        assert_eq!([404, 409, 401, 400, 429, 500].map(code_of), [3, 1, 1, 1, 1, 1]);
        let last = Box::new(ClientError::NoLeader { servers: vec!["http://a".into()] });
        assert_eq!(CommandError::from(ClientError::DeadlineExceeded { retry_timeout_ms: 1, last }).code, 4);
    }

    #[test]
    fn errors_of_a_node_have_the_codes_of_sysexits() {
        assert_eq!(CommandError::from(ConfigError::NoConfiguration).code, 78);
        assert_eq!(CommandError::from(NodeError::Storage("away".into())).code, 69);
        assert_eq!(CommandError::from(NodeError::Bind("taken".into())).code, 71);
    }
}
