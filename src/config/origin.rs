//! Place in which a value was given, as errors name it.

use std::fmt;

/// The place in which a value was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file, as the user named it.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable of a node.
    EnvVar(&'static str),
    /// The environment of a chat peer. The error names the setting; its variable is `P2P_` and the
    /// key in capitals.
    Environment,
    /// A flag of a node.
    Flag(&'static str),
    /// The command line of a chat peer. The error names the key of the setting, not the flag.
    CommandLine,
    /// The default of the setting with this key.
    Default(&'static str),
}

impl Origin {
    /// This place, or `other` if this is a default: an error should name a value that the user
    /// gave.
    pub(super) fn or(&self, other: &Self) -> Self {
        if matches!(self, Self::Default(_)) { other.clone() } else { self.clone() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::EnvVar(variable) => write!(f, "environment variable {variable}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag(flag) => f.write_str(flag),
            Self::CommandLine => f.write_str("command line"),
            Self::Default(key) => write!(f, "default of {key}"),
        }
    }
}
