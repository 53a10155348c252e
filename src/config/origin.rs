//! Place of a value, as errors name it.

use std::fmt;

/// Where a value was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// On a line of the configuration file; lines count from 1.
    File {
        /// The file, as the user named it.
        name: String,
        /// The line.
        line: usize,
    },
    /// In this environment variable.
    EnvVar(&'static str),
    /// In the environment of a chat peer; the error names the setting, which names the variable.
    Environment,
    /// With this flag.
    Flag(&'static str),
    /// On the command line of a chat peer; the error names the setting, which names the flag.
    CommandLine,
    /// Nowhere; the default of the setting of this name stands.
    Default(&'static str),
}

impl Origin {
    /// This place, unless it is a default: then the other one, since that is what the user can see.
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
            Self::Default(name) => write!(f, "default of {name}"),
        }
    }
}
