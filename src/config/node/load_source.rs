//! Load source in a node's configuration.

use std::path::PathBuf;

use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{Layers, with_default};

const EXPECTED_LOAD_SOURCE: &str = "\"cpu\" or \"file:PATH\"";

/// Source of a node's load, by which the election chooses a leader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadSourceConfig {
    /// CPU load of this machine, or of the share of it that this process may use.
    Cpu,
    /// A file that contains the load, for tests and for hosts that measure the load in another way.
    File(PathBuf),
}

/// Reads the load source.
pub(super) fn read_load_source(layers: &Layers) -> Result<LoadSourceConfig, ConfigError> {
    let given = with_default(layers.text(&settings::LOAD_SOURCE, EXPECTED_LOAD_SOURCE)?);
    match given.value.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(LoadSourceConfig::File(PathBuf::from(path))),
        None if given.value == "cpu" => Ok(LoadSourceConfig::Cpu),
        _ => Err(given.invalid(&settings::LOAD_SOURCE, EXPECTED_LOAD_SOURCE)),
    }
}
