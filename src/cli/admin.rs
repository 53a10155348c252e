//! `rollcall admin`: commands for the operator of a cluster.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{self, CONFIGURATION, CommandError, STORAGE};
use super::output::{CommandOutput, OutputArgs};
use super::storage::{env_var, open_existing};
use crate::config::{Config, Flags};
use crate::node::rotate_node_key;
use crate::storage::bucket_check::OpenError;
use crate::storage::{Bucket, Key, RetryPolicy};

/// Deadline of each request to the storage.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Commands for the operator of a cluster.
#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Make a new key pair for TLS between the nodes
    ///
    /// Needs only the storage of the configuration, and its `cluster_key` if there is one. Nodes
    /// accept the new pair within a minute, and present it five minutes after that. Delete the file
    /// of the old pair from the storage ten minutes after the command and after the last start of a
    /// node: that ends the links that still use it.
    RotateNodeKey(RotateNodeKeyArgs),
}

/// Arguments of `admin rotate-node-key`.
#[derive(Args, Debug)]
#[command(after_long_help = after_help())]
pub(super) struct RotateNodeKeyArgs {
    #[command(flatten)]
    flags: Flags,

    #[command(flatten)]
    output: OutputArgs,
}

fn after_help() -> String {
    let codes = exit::help_lines(exit::STORAGE_CODES);
    format!(
        "\
Examples:
  rollcall admin rotate-node-key
  rollcall admin rotate-node-key --config config.toml
  FIREBASE_BUCKET=your-project.firebasestorage.app rollcall admin rotate-node-key

Exit codes:{codes}"
    )
}

pub(super) async fn run(command: AdminCommand) -> Result<(), CommandError> {
    match command {
        AdminCommand::RotateNodeKey(args) => rotate(args).await,
    }
}

async fn rotate(args: RotateNodeKeyArgs) -> Result<(), CommandError> {
    let (storage, key) = Config::read_secrets(&env_var, &args.flags)?;
    let backend = open_existing(&storage, None, "name the data directory of the nodes with --data-dir");
    let backend = backend.await.map_err(|error| match error {
        OpenError::Misconfigured(cause) => CommandError::new(CONFIGURATION, cause),
        OpenError::Unreachable(cause) => CommandError::new(STORAGE, cause),
    })?;
    let bucket = Bucket::new(backend, RetryPolicy::with_deadline(TIMEOUT));
    let number = rotate_node_key(&bucket, key).await?;
    let path = Key::NodeKey(number).path();
    let output = CommandOutput::new(args.output);
    if output.is_json {
        return output.json(&json!({ "created": path, "storage": bucket.describe() }));
    }
    output.text(&format!(
        "Made {path} in the {}.\nAll nodes present it within seven minutes. Delete the older secrets/node-key-*.json \
         ten minutes after this command and after the last start of a node.\n",
        bucket.describe()
    ))
}
