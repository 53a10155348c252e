//! Slot table of a drive: gives each key of the bucket a file id. Pure.
//!
//! Names on a drive are not unique, but a reserved id is create-only: one create with it succeeds.
//! A block is a list of reserved ids, its slots. A key has eight slots in each block, and its
//! object is in the first of them that has no object of another key. This holds on every node,
//! because blocks are only appended and a slot that has an object keeps it. The read order is the
//! order of the blocks.
//!
//! The table also remembers the objects in its slots that this process has seen. What it does not
//! know costs a request, and what it remembers may be old: the caller checks it against the drive.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::drive_file::{DriveFile, FileContent};
use super::key_digest::KeyDigest;

/// Version of the format of a block.
pub(super) const BLOCK_VERSION: u32 = 1;

/// Slots of a block. One request reserves at most this many ids.
pub(super) const BLOCK_SLOTS: usize = 1000;

/// A block, as the file of the block holds it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SlotBlock {
    version: u32,
    /// Random id of the table, the same in all its blocks.
    pub(super) table: Uuid,
    /// Number of the block. The first is 1.
    pub(super) block: usize,
    ids: Vec<String>,
}

impl SlotBlock {
    /// A block with these reserved ids. `None` if there are too few or one is there twice.
    pub(super) fn new(table: Uuid, block: usize, ids: Vec<String>) -> Option<Self> {
        let block = Self { version: BLOCK_VERSION, table, block, ids };
        block.has_all_slots().then_some(block)
    }

    /// Reads the file of the block with this number. The error is the reason.
    pub(super) fn parse(number: usize, bytes: &[u8]) -> Result<Self, String> {
        let block: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match &block {
            Self { version, .. } if *version != BLOCK_VERSION => Err(format!("its version is {version}")),
            Self { block, .. } if *block != number => Err(format!("it is block {block}")),
            _ if !block.has_all_slots() => Err(format!("it has not {BLOCK_SLOTS} different ids")),
            _ => Ok(block),
        }
    }

    fn has_all_slots(&self) -> bool {
        let mut ids: Vec<&str> = self.ids.iter().map(String::as_str).filter(|id| !id.is_empty()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len() == BLOCK_SLOTS && self.ids.len() == BLOCK_SLOTS
    }
}

/// Place of an id in the table.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Slot {
    block: usize,
    index: usize,
}

/// Object in a slot, as this process has last seen it.
#[derive(Clone, Debug)]
struct Occupant {
    /// The key. `None` for a file that has no key.
    key: Option<KeyDigest>,
    /// The content, if its version and checksum are known.
    content: Option<FileContent>,
}

/// The slot at which to look for a key, or to create its object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Candidate {
    /// The slot is not known to have an object.
    Unknown(Slot, Arc<str>),
    /// The slot has the object of the key, with this content if it is known.
    Found(Slot, Arc<str>, Option<FileContent>),
    /// All slots of the key have objects of other keys.
    NoSlot,
}

/// Slot table, and the objects that are known to be in its slots. The default has no block, as a
/// folder that only programs of requirement 001 have used.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    id: Uuid,
    blocks: Vec<Vec<Arc<str>>>,
    slots: HashMap<Arc<str>, Slot>,
    occupants: HashMap<Slot, Occupant>,
    /// Slots of the newest block that are known to have objects.
    taken_in_newest: usize,
}

impl SlotTable {
    /// The table with this first block and no known objects.
    pub(super) fn new(first: SlotBlock) -> Self {
        let mut table = Self { id: first.table, ..Self::default() };
        table.append(first);
        table
    }

    /// Appends a block, if it is the next one of this table.
    pub(super) fn append(&mut self, block: SlotBlock) {
        if block.table != self.id || block.block != self.next_block() {
            return;
        }
        let ids: Vec<Arc<str>> = block.ids.into_iter().map(Arc::from).collect();
        let number = self.blocks.len();
        self.slots.extend(ids.iter().enumerate().map(|(index, id)| (id.clone(), Slot { block: number, index })));
        self.blocks.push(ids);
        self.taken_in_newest = 0;
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// Number of the block that would be appended.
    pub(super) fn next_block(&self) -> usize {
        self.blocks.len() + 1
    }

    /// Whether the newest block is half full, so that a new one should be made.
    pub(super) fn needs_block(&self) -> bool {
        self.taken_in_newest * 2 >= BLOCK_SLOTS
    }

    /// The slot with this id.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        self.slots.get(id).copied()
    }

    /// The first slot of the key that is not known to have an object of another key.
    pub(super) fn candidate(&self, key: &KeyDigest) -> Candidate {
        for slot in self.probes(key) {
            let id = self.blocks[slot.block][slot.index].clone();
            match self.occupants.get(&slot) {
                None => return Candidate::Unknown(slot, id),
                Some(occupant) if occupant.key.as_ref() == Some(key) => {
                    return Candidate::Found(slot, id, occupant.content.clone());
                }
                Some(_) => {}
            }
        }
        Candidate::NoSlot
    }

    /// Number of the block of a slot.
    pub(super) fn block_number(slot: Slot) -> usize {
        slot.block + 1
    }

    /// [`Self::candidate`] and [`Self::next_block`] at the same moment.
    pub(super) fn candidate_and_next_block(&self, key: &KeyDigest) -> (Candidate, usize) {
        (self.candidate(key), self.next_block())
    }

    /// Remembers the file in a slot.
    pub(super) fn note(&mut self, slot: Slot, file: &DriveFile) {
        let occupant = Occupant { key: file.key(), content: file.content() };
        if self.occupants.insert(slot, occupant).is_none() && Self::block_number(slot) == self.blocks.len() {
            self.taken_in_newest += 1;
        }
    }

    /// The slots of a key in the order of the search: at most eight in each block.
    fn probes(&self, key: &KeyDigest) -> impl Iterator<Item = Slot> {
        let (table, key) = (*self.id.as_bytes(), *key);
        (0..self.blocks.len()).flat_map(move |block| {
            let number = u64::try_from(block + 1).expect("few blocks").to_be_bytes();
            // A hash with the table's random id, so that nobody can choose names for one slot.
            let hash: [u8; 32] =
                Sha256::new().chain_update(table).chain_update(number).chain_update(key.bytes()).finalize().into();
            // Each four bytes are one slot.
            let words = (0..8)
                .map(move |n| u32::from_be_bytes([hash[4 * n], hash[4 * n + 1], hash[4 * n + 2], hash[4 * n + 3]]));
            words.map(move |word| Slot { block, index: word as usize % BLOCK_SLOTS })
        })
    }
}

#[cfg(test)]
mod tests;
