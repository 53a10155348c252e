//! Layered configuration: defaults < file < environment < flags, for a node and for a chat peer.
//!
//! One loader serves both: `layers` finds a setting's value and its origin, `keys` has its names, and a reader for
//! each format makes a layer of a file. Every error says where the value stands (file and line, variable or flag), what
//! it is, and what is right. Nothing here knows what a setting is good for beyond the rules that keep it from doing harm.

pub mod chat;

mod error;
mod keys;
mod layers;
mod node;
mod origin;
mod toml_file;
mod yaml_file;

pub use error::ConfigError;
pub use node::{Api, Config, Cors, DEFAULT_CREDENTIALS, Flags, LoadSource, Passwords, Presence, Storage, variables};
pub use origin::Origin;
