//! Layered configuration of a node and of a chat peer: defaults < file < environment < flags.
//!
//! Both use the same loader. `setting` holds the names and the default of a setting, `layers` finds
//! its value and the place of the value, and one reader per file format converts a file to a layer.
//! Every error names the place (file and line, variable or flag), the value, and the valid values.
//! The configuration checks the rules for a safe value. It does not know how a setting is used.

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
    AWS_CREDENTIALS, AZURE_CREDENTIALS, ApiConfig, ApiTlsConfig, Config, CorsConfig, DEFAULT_CREDENTIALS, Flags,
    InvalidStoreLocator, LoadSourceConfig, NodeTlsConfig, NodeTlsFiles, PasswordConfig, PresenceConfig, QuotaConfig,
    SETTINGS as NODE_SETTINGS, StorageConfig, StoreLocator, env_vars,
};
pub use origin::Origin;
pub use setting::Setting;
