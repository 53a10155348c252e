//! `rollcall storage`: commands that work on the storage of a node, without a node.

mod check;
mod copy;
mod stores;
mod test_firebase;

use clap::Subcommand;

use super::exit::CommandError;
use check::CheckArgs;
use copy::CopyArgs;
pub(super) use stores::{env_var, open_existing};
pub use test_firebase::TestFirebase;

/// Commands about the storage.
#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Check the storage step by step, and list profiles that cannot be read
    ///
    /// Uses the storage of the configuration: the bucket of `FIREBASE_BUCKET` (Firebase Storage) or
    /// `S3_BUCKET` (S3), the container of `AZURE_CONTAINER` (Azure Blob Storage), the folder of
    /// `REGISTERED_USERS_FOLDER_ID` (Google Drive), or else the directory `bucket` in the data
    /// directory. Creates, replaces, lists, reads and deletes small
    /// objects below checks/, also several at the same time. Reads all profiles of users. Deletes
    /// its objects at the end, after a failed step and after Ctrl-C too.
    ///
    /// On Google Drive it also finds out what Google's documents leave open, and which way nodes
    /// will use. Nodes read this at their next start.
    Check(CheckArgs),

    /// Copy all users and images to another store
    ///
    /// Copies what is missing or older in the target, and never overwrites anything else. So an
    /// interrupted copy continues where it was. Each written object is read back and compared by
    /// its SHA-256. Does not copy what belongs to a cluster or a node: cluster.json, nodes/ and
    /// secrets/. So tokens of the old cluster are not valid on the new one.
    ///
    /// Nodes may run during the copy. But the last pass needs stopped nodes: otherwise the target
    /// lacks what they write meanwhile.
    Copy(CopyArgs),
}

pub(super) async fn run(command: StorageCommand) -> Result<(), CommandError> {
    match command {
        StorageCommand::Check(args) => check::run(args).await,
        StorageCommand::Copy(args) => copy::run(args).await,
    }
}

/// Runs the program `test_firebase`.
pub(super) async fn test_firebase(args: TestFirebase) -> Result<(), CommandError> {
    let config = test_firebase::storage(&env_var)?;
    check::check(&config, args.options).await
}
