//! Slot table of a folder, as it grows: the blocks that this process has read, and the search for
//! the next one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use super::super::BackendError;
use super::block_search::{BlockSearch, BlockStep};
use super::client::DriveClient;
use super::slot_table::{SlotBlock, SlotTable};

/// Slot table that several calls share, and that grows while they use it.
pub(super) struct GrowingTable {
    table: Mutex<SlotTable>,
    /// Search for the block after the newest one.
    next_block: tokio::sync::Mutex<BlockSearch>,
    settle_time: Duration,
    /// The folder, for errors.
    place: String,
}

impl GrowingTable {
    /// The table with this first block. Without one, no key has a slot.
    pub(super) fn new(first: Option<SlotBlock>, settle_time: Duration, place: String) -> Self {
        let table = first.map_or_else(SlotTable::default, SlotTable::new);
        let next_block = BlockSearch::new(table.next_block(), settle_time).into();
        Self { table: table.into(), next_block, settle_time, place }
    }

    /// The blocks that were read so far.
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the block with this number if there is one. Returns whether the table has it now:
    /// another call may have appended it since the caller looked.
    pub(super) async fn load_block(&self, client: &DriveClient, number: usize) -> Result<bool, BackendError> {
        let mut search = self.next_block.lock().await;
        if self.lock().next_block() > number {
            return Ok(true);
        }
        self.find_block(client, &mut search, false).await
    }

    /// Like [`Self::load_block`], and writes the block if there is none. A later call appends it.
    pub(super) async fn make_block(&self, client: &DriveClient, number: usize) -> Result<bool, BackendError> {
        let mut search = self.next_block.lock().await;
        if self.lock().next_block() > number {
            return Ok(true);
        }
        self.find_block(client, &mut search, true).await
    }

    /// Makes the next block when the newest is half full. A failure is no failure of the caller.
    pub(super) async fn make_block_in_time(&self, client: &DriveClient) {
        if !self.lock().needs_block() {
            return;
        }
        let Ok(mut search) = self.next_block.try_lock() else { return };
        if search.remaining().is_none()
            && let Err(error) = self.find_block(client, &mut search, true).await
        {
            warn!(%error, "the slot table has no new block yet");
        }
    }

    /// Looks for the next block, and appends it if nodes have agreed on one. Writes one if there is
    /// none and `make` is set. Returns whether a block was appended.
    async fn find_block(
        &self,
        client: &DriveClient,
        search: &mut BlockSearch,
        make: bool,
    ) -> Result<bool, BackendError> {
        let (number, table) = {
            let table = self.lock();
            (table.next_block(), table.id())
        };
        if search.number() != number {
            *search = BlockSearch::new(number, self.settle_time);
        }
        match search.look(client).await? {
            BlockStep::Found(block) if block.content.table != table => Err(self.another_table()),
            BlockStep::Found(block) => {
                self.lock().append(block.content);
                Ok(true)
            }
            BlockStep::Missing if make => {
                search.write(client, table).await?;
                Ok(false)
            }
            BlockStep::Missing | BlockStep::Undecided(_) => Ok(false),
        }
    }

    /// The error for an object or a block that belongs to another table.
    pub(super) fn another_table(&self) -> BackendError {
        BackendError::Permanent(format!(
            "{} has files of another slot table; use a folder that no other cluster has used, or restore the blocks \
             .rollcall-slots-*.json of this one",
            self.place
        ))
    }
}
