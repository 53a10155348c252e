//! Source of the load in a node's configuration.

use std::path::PathBuf;

use super::keys;
use crate::config::error::ConfigError;
use crate::config::layers::Layers;

const RIGHT_LOAD_SOURCE: &str = "\"cpu\" or \"file:PATH\"";

/// Where the election reads how busy a node is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LoadSource {
    /// The processors of this machine, or of this process's share of it.
    Cpu,
    /// A file with the load, for hosts that know better and for tests.
    File(PathBuf),
}

pub(super) fn load_source(layers: &Layers) -> Result<LoadSource, ConfigError> {
    let Some(given) = layers.text(&keys::LOAD_SOURCE, RIGHT_LOAD_SOURCE)? else { return Ok(LoadSource::Cpu) };
    match given.value.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(LoadSource::File(PathBuf::from(path))),
        None if given.value == "cpu" => Ok(LoadSource::Cpu),
        _ => Err(given.invalid(&keys::LOAD_SOURCE, RIGHT_LOAD_SOURCE)),
    }
}
