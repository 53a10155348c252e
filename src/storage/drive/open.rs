//! Start of the store on a drive: checks of the folder, and the slot table.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::super::attempts::attempts;
use super::super::{BackendError, RetryPolicy};
use super::block_search::{BlockSearch, BlockStep, FoundBlock};
use super::client::{DriveClient, FolderAccess};
use super::config::DriveConfig;
use super::drive_failure::ACCESS_REMEDY;
use super::kept_table::KeptTable;

/// Deadline of each request at the start. No client waits for it.
const DEADLINE: Duration = Duration::from_secs(30);

/// The media type of folders.
const FOLDER_TYPE: &str = "application/vnd.google-apps.folder";

/// Finds the first block of the slot table, or makes it. `None` if there is none and the folder is
/// opened for reading only. This node must not have used another table.
pub(super) async fn open_table(
    client: &DriveClient,
    config: &DriveConfig,
    kept_table: &KeptTable,
) -> Result<Option<FoundBlock>, BackendError> {
    let kept = kept_table.read().await?;
    let first = first_block(client, config, kept.is_some()).await?;
    let table = first.as_ref().map(|first| first.content.table);
    if kept.is_some() && kept != table {
        return Err(BackendError::Permanent(format!(
            "{config} has another slot table than the one this node has used; correct REGISTERED_USERS_FOLDER_ID, or \
             delete {} if the folder was emptied on purpose",
            kept_table.path()
        )));
    }
    Ok(first)
}

/// Checks that the folder exists, that it is on the drive, and that the account may write into it,
/// unless it is opened for reading only.
pub(super) async fn check_folder(client: &DriveClient, config: &DriveConfig) -> Result<(), BackendError> {
    let refuse = |why: String| Err(BackendError::Permanent(why));
    let DriveConfig { drive, folder, .. } = config;
    let Some(info) = client.folder_info().await? else {
        return refuse(format!(
            "there is no folder {folder}, or the account may not see it; correct REGISTERED_USERS_FOLDER_ID (the last part \
             of the folder's address), or {ACCESS_REMEDY}"
        ));
    };
    if info.mime_type != FOLDER_TYPE {
        return refuse(format!(
            "{folder} is a file and no folder; set REGISTERED_USERS_FOLDER_ID to the last part of the folder's address"
        ));
    }
    if info.trashed {
        return refuse(format!("the folder {folder} is in the trash of the drive; restore it"));
    }
    match &info.drive_id {
        Some(found) if found == drive => {}
        Some(found) => {
            return refuse(format!(
                "the folder {folder} is on the shared drive {found}; set SHARED_DRIVE_ID to that, or correct \
                 REGISTERED_USERS_FOLDER_ID"
            ));
        }
        // The top of a drive has the drive's own id.
        None if folder == drive => {}
        None => {
            return refuse(format!(
                "the folder {folder} is on no shared drive, and a service account has no storage of its own; move the \
                 folder to the shared drive {drive}"
            ));
        }
    }
    if info.capabilities.can_add_children || client.access() == FolderAccess::ReadOnly {
        Ok(())
    } else {
        refuse(format!("the account may not write into the folder {folder}; {ACCESS_REMEDY}"))
    }
}

/// Finds the first block, or makes it. `had_table`: this node has used a table in this folder.
async fn first_block(
    client: &DriveClient,
    config: &DriveConfig,
    had_table: bool,
) -> Result<Option<FoundBlock>, BackendError> {
    let search = BlockSearch::new(1, config.settle_time);
    loop {
        match attempts(policy(), || search.look(client)).await? {
            BlockStep::Found(block) => return Ok(Some(*block)),
            BlockStep::Undecided(remaining) => sleep(remaining).await,
            BlockStep::Missing => {
                let has_objects = had_table || has_objects(client).await?;
                // Another node may have made the table and the first objects after the first look.
                if has_objects {
                    if let BlockStep::Missing = attempts(policy(), || search.look(client)).await? {
                        return Err(BackendError::Permanent(format!(
                            "{config} has lost its slot table: there is no .rollcall-slots-1.json, and without it a name \
                             could be registered twice; restore that file from the trash of the drive, or use an empty \
                             folder"
                        )));
                    }
                } else if client.access() == FolderAccess::ReadOnly {
                    return Ok(None);
                } else {
                    attempts(policy(), || search.write(client, random_table())).await?;
                }
            }
        }
    }
}

/// Whether the folder has objects of Rollcall.
async fn has_objects(client: &DriveClient) -> Result<bool, BackendError> {
    let mut page = None;
    loop {
        let token = page.as_deref();
        let list = attempts(policy(), || async move { Ok(client.list("", token).await?) }).await?;
        if list.files.iter().any(|file| file.is_ours() && !BlockSearch::is_block(file)) {
            return Ok(true);
        }
        page = list.next_page_token;
        if page.is_none() {
            return Ok(false);
        }
    }
}

/// Retry policy of the requests at the start.
pub(super) fn policy() -> RetryPolicy {
    RetryPolicy::with_deadline(DEADLINE)
}

#[expect(clippy::disallowed_methods, reason = "the id of a table is random")]
fn random_table() -> Uuid {
    Uuid::new_v4()
}
