//! Layered configuration of a node and of a chat peer: defaults < file < environment < flags.
//!
//! One loader serves both. `setting` holds the names and the default of a setting, `layers` finds
//! its value and where that was given, and one reader per file format makes a layer of a file.
//! Every error names the place (file and line, variable or flag), the value, and what is right. The
//! configuration knows no use of a setting, only the rules that a safe value follows.

pub mod chat;

mod error;
mod layers;
mod node;
mod origin;
mod setting;
mod toml_file;
mod yaml_file;

pub use error::ConfigError;
pub use node::{
    ApiConfig, Config, CorsConfig, DEFAULT_CREDENTIALS, Flags, LoadSourceConfig, PasswordConfig, PresenceConfig,
    SETTINGS as NODE_SETTINGS, StorageConfig, env_vars,
};
pub use origin::Origin;
pub use setting::Setting;
