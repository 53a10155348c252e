//! Flags of a node. Their values are validated together with those of the file and the environment.

use std::path::PathBuf;

use clap::Args;

use super::settings;
use crate::config::origin::Origin;
use crate::config::setting::Setting;

/// Configuration file that is read if the flags name none.
pub(in crate::config) const DEFAULT_FILE: &str = "config.toml";

/// The flags of a node. A setting whose flag is not given comes from the environment, or else from
/// the file.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file [default: config.toml in the working directory, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// This node's election address, which is also its name; one of the peers
    #[arg(long, value_name = "IP:PORT")]
    pub this_node: Option<String>,

    /// The election addresses of all nodes, this one included, separated by commas
    #[arg(long, value_name = "IP:PORT,…")]
    pub peers: Option<String>,

    /// The port of the HTTP API [default: 3000]
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<String>,

    /// The address on which the HTTP API listens [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub api_bind: Option<String>,

    /// The URL of this node's HTTP API for clients [default: the host of this node with the API
    /// port]
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,

    /// The directory for the state of this machine's nodes and for the local bucket [default: data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

impl Flags {
    /// The given flags: key of the setting, value and origin.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, String, Origin)> {
        let values: [(&Setting, &Option<String>); 6] = [
            (&settings::THIS_NODE, &self.this_node),
            (&settings::PEERS, &self.peers),
            (&settings::API_PORT, &self.api_port),
            (&settings::API_BIND, &self.api_bind),
            (&settings::API_URL, &self.api_url),
            (&settings::DATA_DIR, &self.data_dir),
        ];
        values.into_iter().filter_map(|(setting, text)| Some((setting.key, text.clone()?, Origin::Flag(setting.flag?))))
    }
}
