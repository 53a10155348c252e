//! What the program says and returns when it cannot go on. The exit codes are those of sysexits(3).

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::node::NodeError;

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

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One line, whatever a cause deep below had to say.
        f.write_str(&self.message.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(CONFIGURATION, error.to_string())
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
    }

    #[test]
    fn a_wrong_configuration_exits_with_78() {
        assert_eq!(Failure::from(ConfigError::Nothing).code, 78);
        assert_eq!(Failure::from(NodeError::Storage("away".into())).code, 69);
        assert_eq!(Failure::from(NodeError::Bind("taken".into())).code, 71);
    }
}
