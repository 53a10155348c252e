//! Probe of a live drive: finds out what Google's documents leave open. A check of the storage runs
//! it.
//!
//! Nodes depend on three things: unused reserved ids stay valid, they are create-only on shared
//! drives, and version 2 of the API may honour `If-Match`. Without the first two a drive must not
//! be used. The third is better than reading back. The probe marks the first block of the slot
//! table with the result, and nodes read the mark at their start.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use tokio::time::sleep;

use super::super::attempts::attempts;
use super::super::{BackendError, Key, RetryPolicy};
use super::block_search::BlockSearch;
use super::client::DriveClient;
use super::drive_failure::DriveFailure;
use super::drive_file::{self, DriveFile, TaggedFile};
use super::folder_objects::{FolderObjects, Located, md5_hex};
use super::key_digest::KeyDigest;
use super::slot_table::SlotTable;

/// Deadline of each question. An attempt may take a quarter, and has up to 24 requests.
const DEADLINE: Duration = Duration::from_mins(4);

/// Tries with a current etag, and the wait between them.
const TRIES: usize = 3;
const TRY_WAIT: Duration = Duration::from_secs(2);

/// Length of the date at the beginning of a time.
const DATE_LEN: usize = "2026-01-01".len();

/// Probe with one object.
pub(super) struct LiveProbe<'d> {
    files: &'d FolderObjects,
    key: &'d Key,
}

/// Treatment of `If-Match` by version 2 of the API.
enum IfMatch {
    Honoured,
    /// A current etag is refused, or there is none.
    Refused,
    /// With the reason.
    NotHonoured(String),
}

impl<'d> LiveProbe<'d> {
    /// The probe with an object that was just created with a reserved id.
    pub(super) fn new(files: &'d FolderObjects, key: &'d Key) -> Self {
        Self { files, key }
    }

    /// One line for each fact.
    pub(super) async fn find_facts(&self) -> Result<Vec<String>, BackendError> {
        let client = &self.files.client;
        let policy = RetryPolicy::with_deadline(DEADLINE);
        let missing = || BackendError::transient(format!("{} is gone", self.key));
        let located = attempts(policy, || self.files.locate(self.key)).await?.ok_or_else(missing)?;
        let age = attempts(policy, || self.age_of_id(&located)).await?;
        attempts(policy, || self.second_create(&located.id)).await?;
        let honoured = attempts(policy, || self.if_match(&located.id)).await?;
        attempts(policy, || mark(client, matches!(honoured, IfMatch::Honoured))).await?;
        Ok(vec![
            age,
            "reserved ids work on this shared drive, each once: a second create answers 409".to_owned(),
            match honoured {
                IfMatch::Honoured => {
                    "version 2 of the API honours If-Match: nodes that start from now on replace profiles \
                                      with it, which is safe among all processes"
                        .to_owned()
                }
                IfMatch::Refused => read_back("a current etag is refused, or a file has none"),
                IfMatch::NotHonoured(reason) => read_back(&reason),
            },
        ])
    }

    /// Dates of the reservation and of the use of an id.
    async fn age_of_id(&self, located: &Located) -> Result<String, BackendError> {
        let client = &self.files.client;
        let number = located.slot.map_or(1, SlotTable::block_number);
        // The ids were reserved just before their block was written.
        let block = BlockSearch::new(number, Duration::ZERO).file(client).await?;
        let file = self.file(&located.id).await?;
        let date = |file: &DriveFile| file.created_time.get(..DATE_LEN).unwrap_or_default().to_owned();
        let (reserved, used) = (date(&block), date(&file));
        Ok(if reserved == used {
            format!(
                "the reserved ids are from today, {reserved}, and work; check again in some days, and before you trust users \
                 to this drive: Google does not say how long unused ids stay valid"
            )
        } else {
            format!("an id that was reserved on {reserved} was used on {used} and works: unused ids stay valid so long")
        })
    }

    /// All registrations depend on it: only one create with an id succeeds.
    async fn second_create(&self, id: &str) -> Result<(), BackendError> {
        let files = self.files;
        let (path, table) = (self.key.path(), files.table.lock().id());
        let metadata = drive_file::object(id, &path, self.key.media_type(), files.client.folder(), table);
        match files.client.create(&metadata, self.key.media_type(), &Bytes::from_static(b"second\n")).await {
            Err(failure) if failure.is_id_taken() => Ok(()),
            Err(failure) => Err(failure.into()),
            Ok(_) => Err(BackendError::Permanent(
                "do not use this drive: two creates with one reserved id succeeded, so two users could get one name"
                    .to_owned(),
            )),
        }
    }

    /// Asks again if a current etag was refused: a drive may change the etag of a file some time
    /// after a write.
    async fn if_match(&self, id: &str) -> Result<IfMatch, BackendError> {
        for _ in 1..TRIES {
            match self.if_match_once(id).await? {
                IfMatch::Refused => sleep(TRY_WAIT).await,
                result => return Ok(result),
            }
        }
        self.if_match_once(id).await
    }

    /// Whether a write with a current etag succeeds, of two at once one, and none with an old one.
    async fn if_match_once(&self, id: &str) -> Result<IfMatch, BackendError> {
        let (old, current) = match self.write_current(id).await {
            Ok(Some(etags)) => etags,
            Ok(None) => return Ok(IfMatch::Refused),
            // A refusal for good means that version 2 cannot be used. Other failures say nothing.
            Err(failure) => {
                return match BackendError::from(failure) {
                    BackendError::Permanent(reason) => Ok(IfMatch::NotHonoured(reason)),
                    error => Err(error),
                };
            }
        };
        let not_honoured = |reason: &str| Ok(IfMatch::NotHonoured(reason.to_owned()));
        let (left, right) = join(self.write(id, &current, "left"), self.write(id, &current, "right")).await;
        let winner = match (left?, right?) {
            (Some(winner), None) | (None, Some(winner)) => winner,
            (None, None) => return Ok(IfMatch::Refused),
            (Some(_), Some(_)) => return not_honoured("both of two writes with one etag succeed"),
        };
        if self.write(id, &old, "old").await?.is_some() {
            return not_honoured("an old etag is accepted");
        }
        let file = self.file(id).await?;
        if file.key() != Some(KeyDigest::of(&self.key.path())) || file.content() != winner.content() {
            return not_honoured("a write changes more than the content");
        }
        Ok(IfMatch::Honoured)
    }

    /// Writes with the current etag. Returns that etag, which is old then, and the next one. `None`
    /// if the drive refuses it, or tells none.
    async fn write_current(&self, id: &str) -> Result<Option<(String, String)>, DriveFailure> {
        let old = self.files.client.tag(id).await?.etag;
        if old.is_empty() || self.write(id, &old, "first").await?.is_none() {
            return Ok(None);
        }
        let current = self.files.client.tag(id).await?.etag;
        Ok((!current.is_empty()).then_some((old, current)))
    }

    /// Writes with an etag. `None` if it is refused as an old one.
    async fn write(&self, id: &str, etag: &str, text: &'static str) -> Result<Option<TaggedFile>, DriveFailure> {
        let bytes = Bytes::from_static(text.as_bytes());
        match self.files.client.replace_tagged(id, etag, self.key.media_type(), &bytes).await {
            Ok(file) if file.content().is_some_and(|content| content.md5 == md5_hex(&bytes)) => Ok(Some(file)),
            Ok(_) => Err(DriveFailure::Unproven("the drive has other bytes than were written".to_owned())),
            Err(failure) if failure.is_precondition_failed() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn file(&self, id: &str) -> Result<DriveFile, BackendError> {
        let missing = || BackendError::transient(format!("{} is gone", self.key));
        self.files.client.get(id).await?.ok_or_else(missing)
    }
}

/// The fact about a drive that does not honour `If-Match`.
fn read_back(reason: &str) -> String {
    format!(
        "version 2 of the API does not honour If-Match ({reason}): nodes replace profiles by reading back, which is safe \
         under the lease of the leader only"
    )
}

/// Leaves the result at the first block, where nodes find it at their start.
async fn mark(client: &DriveClient, is_honoured: bool) -> Result<(), BackendError> {
    let block = BlockSearch::new(1, Duration::ZERO).file(client).await?;
    if block.honours_if_match() != is_honoured {
        client.change(&block.id, &drive_file::if_match(is_honoured)).await?;
    }
    Ok(())
}
