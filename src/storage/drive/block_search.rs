//! Search for a block of the slot table, and its creation. Nodes that start at the same moment
//! agree on one block.
//!
//! A drive has no create-only for names. So each node that finds no block writes one, waits until
//! all blocks written at the same time are listed, and then all nodes choose the same one: the
//! oldest. A mark on it spares later nodes the wait. Blocks that were not chosen stay unused.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::BackendError;
use super::client::{DriveClient, FolderAccess};
use super::drive_file::{self, DriveFile};
use super::slot_table::SlotBlock;

/// Media type of blocks. Lists by type show a file at once.
const BLOCK_TYPE: &str = "application/vnd.rollcall.slots+json";

/// Most pages of the list of blocks, so that a broken server cannot make it endless.
const MAX_PAGES: usize = 1000;

/// Outcome of a step of the search.
#[derive(Debug)]
pub(super) enum BlockStep {
    /// The block that all nodes use.
    Found(Box<FoundBlock>),
    /// There is none yet.
    Missing,
    /// A block exists, and this node cannot decide before this time has passed.
    Undecided(Duration),
}

/// A block that nodes have agreed on, and its file.
#[derive(Debug)]
pub(super) struct FoundBlock {
    pub(super) content: SlotBlock,
    pub(super) file: DriveFile,
}

/// Search for the block with one number.
#[derive(Debug)]
pub(super) struct BlockSearch {
    number: usize,
    settle_time: Duration,
    /// When this node first saw or wrote a block with the number.
    seen_at: OnceLock<Instant>,
}

impl BlockSearch {
    pub(super) fn new(number: usize, settle_time: Duration) -> Self {
        Self { number, settle_time, seen_at: OnceLock::new() }
    }

    /// The number of the block.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Time until this node can decide. `None` if it can, or has seen no block yet.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let remaining = self.settle_time.saturating_sub(self.seen_at.get()?.elapsed());
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Whether a file is a block of any number.
    pub(super) fn is_block(file: &DriveFile) -> bool {
        file.name.starts_with(".rollcall-slots-")
    }

    /// Looks for the block, and chooses one if the time has come.
    pub(super) async fn look(&self, client: &DriveClient) -> Result<BlockStep, BackendError> {
        let blocks = self.files(client).await?;
        let Some(block) = choose(&blocks) else { return Ok(BlockStep::Missing) };
        self.seen_at.get_or_init(Instant::now);
        if !block.is_chosen()
            && let Some(remaining) = self.remaining()
        {
            return Ok(BlockStep::Undecided(remaining));
        }
        let name = &block.name;
        if block.trashed {
            return Err(BackendError::Permanent(format!(
                "{name} is in the trash of the drive, and without it no object is found; restore it"
            )));
        }
        let bytes = client.media(&block.id).await?.ok_or_else(|| BackendError::transient(format!("{name} is gone")))?;
        let content = SlotBlock::parse(self.number, &bytes).map_err(|reason| {
            BackendError::Permanent(format!("{name} is damaged ({reason}); restore an earlier version of that file"))
        })?;
        if !block.is_chosen() && client.access() == FolderAccess::ReadWrite {
            client.update(&block.id, &drive_file::choice(), BLOCK_TYPE, &bytes).await?;
        }
        Ok(BlockStep::Found(Box::new(FoundBlock { content, file: block.clone() })))
    }

    /// The file of the block that nodes have agreed on.
    pub(super) async fn file(&self, client: &DriveClient) -> Result<DriveFile, BackendError> {
        let blocks = self.files(client).await?;
        choose(&blocks).cloned().ok_or_else(|| BackendError::transient(format!("there is no {}", self.name())))
    }

    /// Writes a block for the table.
    pub(super) async fn write(&self, client: &DriveClient, table: Uuid) -> Result<(), BackendError> {
        let ids = client.generate_ids().await?;
        let block = SlotBlock::new(table, self.number, ids)
            .ok_or_else(|| BackendError::transient("the drive gave one id twice"))?;
        let bytes = Bytes::from(serde_json::to_vec(&block).expect("a block can be encoded"));
        let metadata = drive_file::block(&self.name(), BLOCK_TYPE, client.folder(), table);
        client.create(&metadata, BLOCK_TYPE, &bytes).await?;
        // The wait begins with the write, so that a block written just before it is listed.
        self.seen_at.get_or_init(Instant::now);
        Ok(())
    }

    /// The files of the block, unused ones included.
    async fn files(&self, client: &DriveClient) -> Result<Vec<DriveFile>, BackendError> {
        let (condition, name) = (format!("mimeType = '{BLOCK_TYPE}'"), self.name());
        let (mut found, mut page) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let list = client.list(&condition, page.as_deref()).await?;
            found.extend(list.files.into_iter().filter(|file| file.name == name));
            page = list.next_page_token;
            if page.is_none() {
                return Ok(found);
            }
        }
        Err(BackendError::Permanent(format!("the list of blocks has more than {MAX_PAGES} pages")))
    }

    fn name(&self) -> String {
        format!(".rollcall-slots-{}.json", self.number)
    }
}

/// The block that all nodes choose of these: the oldest that is marked, or else the oldest.
fn choose(blocks: &[DriveFile]) -> Option<&DriveFile> {
    blocks.iter().min_by_key(|file| (!file.is_chosen(), &file.created_time, &file.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: &str, created: &str, is_chosen: bool) -> DriveFile {
        let properties = if is_chosen { drive_file::choice()["appProperties"].clone() } else { serde_json::json!({}) };
        serde_json::from_value(serde_json::json!({ "id": id, "createdTime": created, "appProperties": properties }))
            .unwrap()
    }

    #[test]
    fn the_oldest_block_is_chosen_and_a_marked_one_before_it() {
        assert_eq!(choose(&[]), None);
        let mut blocks = vec![
            block("c", "2026-01-01T00:00:00.001Z", false),
            block("b", "2026-01-01T00:00:00.001Z", false),
            block("a", "2026-01-01T00:00:00.002Z", false),
        ];
        assert_eq!(choose(&blocks).unwrap().id, "b");
        blocks.push(block("d", "2026-01-01T00:00:00.003Z", true));
        assert_eq!(choose(&blocks).unwrap().id, "d");
    }
}
