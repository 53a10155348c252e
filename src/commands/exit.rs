//! What the program says and returns when it cannot go on. A node's exit codes are those of sysexits(3); those of the
//! client's commands are the few that a script can do something about.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::node::NodeError;
use rollcall_client::{ClientError, SettingsError};
use rollcall_core::text::plain;

/// The registry, or this machine, refuses what is asked for.
pub const REFUSED: u8 = 1;
/// There is no such user, or no such picture.
pub const NOT_FOUND: u8 = 3;
/// No server can be reached, or none leads.
pub const UNREACHABLE: u8 = 4;
/// Some of it was done, and some was not.
pub const PARTLY: u8 = 5;
/// The command line is wrong; clap exits with this code by itself.
pub const USAGE: u8 = 2;
/// The storage cannot be reached.
pub const STORAGE: u8 = 69;
/// Something inside the program broke, or the node ended by itself.
pub const SOFTWARE: u8 = 70;
/// An address cannot be bound, or the system refuses something else that is needed.
pub const SYSTEM: u8 = 71;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;

/// Why a command failed: one line for the person, one number for the script.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A failure with one of this module's codes.
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }

    /// The code to exit with.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl Failure {
    /// The same code with other words.
    pub(super) fn saying(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// Nobody reads standard output any more (`| head`): the end, and nothing to say about it.
    pub(super) fn unread() -> Self {
        Self { message: String::new(), code: 0 }
    }

    /// Whether this is no failure, but only the end.
    pub(super) fn is_unread(&self) -> bool {
        self.code == 0
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One line, whatever a cause deep below had to say, and nothing that a terminal would obey.
        f.write_str(&plain(&self.message.split_whitespace().collect::<Vec<_>>().join(" ")))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Refused { status: 404, .. } => NOT_FOUND,
            ClientError::Refused { .. } => REFUSED,
            ClientError::Unsure { .. } => PARTLY,
            ClientError::NoServers => USAGE,
            ClientError::Setup(_) => SOFTWARE,
            ClientError::Unreachable { .. }
            | ClientError::NotLeader { .. }
            | ClientError::NoLeader { .. }
            | ClientError::Nobody { .. }
            | ClientError::Unavailable { .. }
            | ClientError::Unexpected { .. }
            | ClientError::GaveUp { .. } => UNREACHABLE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(REFUSED, error.to_string())
    }
}

impl From<NodeError> for Failure {
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
    fn a_failure_is_one_line() {
        assert_eq!(Failure::new(SYSTEM, "one\n  two").to_string(), "one two");
        assert_eq!(Failure::new(SYSTEM, "\u{1b}[31mred").to_string(), "\\u{1b}[31mred");
    }

    #[test]
    fn what_the_registry_says_decides_the_code() {
        let refused = |status| {
            let error = ClientError::Refused { status, code: String::new(), message: "m".into() };
            Failure::from(error).code
        };
        assert_eq!([404, 409, 401, 400, 429, 500].map(refused), [3, 1, 1, 1, 1, 1]);
        let last = Box::new(ClientError::NoLeader { servers: vec!["http://a".into()] });
        assert_eq!(Failure::from(ClientError::GaveUp { patience_ms: 1, last }).code, 4);
    }

    #[test]
    fn a_wrong_configuration_exits_with_78() {
        assert_eq!(Failure::from(ConfigError::NoConfiguration).code, 78);
        assert_eq!(Failure::from(NodeError::Storage("away".into())).code, 69);
        assert_eq!(Failure::from(NodeError::Bind("taken".into())).code, 71);
    }
}
