//! Slots of keys, and what is remembered of them.

use super::super::drive_file;
use super::*;

const TABLE: Uuid = Uuid::from_u128(7);

fn block(number: usize) -> SlotBlock {
    let ids = (0..BLOCK_SLOTS).map(|index| format!("id-{number}-{index}")).collect();
    SlotBlock::new(TABLE, number, ids).unwrap()
}

/// The file of an object.
fn file(path: &str) -> DriveFile {
    serde_json::from_value(drive_file::object("id", path, "text/plain", "folder", TABLE)).unwrap()
}

/// The slot in which the object of `path` would be created. Remembers it there.
fn place(table: &mut SlotTable, path: &str) -> Option<Slot> {
    match table.candidate(&KeyDigest::of(path)) {
        Candidate::Unknown(slot, _) => {
            table.note(slot, &file(path));
            Some(slot)
        }
        Candidate::Found(slot, ..) => Some(slot),
        Candidate::NoSlot => None,
    }
}

/// Another order of the slots would give a key a second object.
#[test]
fn the_slots_of_a_key_have_their_golden_order() {
    let mut table = SlotTable::new(block(1));
    table.append(block(2));
    let key = KeyDigest::of("users/alice/profile.json");
    assert_eq!(key.hex(), "c0aa9fd4ec5a2f48def84e6d876d1991f8e21c609f83b74096c5f23db7c2e336");
    let slots: Vec<_> = table.probes(&key).map(|slot| (slot.block, slot.index)).collect();
    let golden = [
        (0, 95),
        (0, 380),
        (0, 578),
        (0, 938),
        (0, 688),
        (0, 909),
        (0, 870),
        (0, 979),
        (1, 3),
        (1, 106),
        (1, 660),
        (1, 354),
        (1, 351),
        (1, 188),
        (1, 712),
        (1, 453),
    ];
    assert_eq!(slots, golden);
}

#[test]
fn a_block_has_its_golden_bytes_and_refuses_others() {
    assert_eq!(BLOCK_VERSION, 1, "another version has other golden bytes");
    let json = serde_json::to_string(&block(3)).unwrap();
    let start = r#"{"version":1,"table":"00000000-0000-0000-0000-000000000007","block":3,"ids":["id-3-0","id-3-1","#;
    assert!(json.starts_with(start), "{}", &json[..120]);
    assert_eq!(SlotBlock::parse(3, json.as_bytes()).unwrap(), block(3));
    for (number, text, reason) in [
        (2, json.clone(), "block 3"),
        (3, json.replace("\"version\":1", "\"version\":2"), "version is 2"),
        (3, json.replace("id-3-1\"", "id-3-0\""), "different ids"),
        (3, json.replace("\"id-3-0\",", ""), "different ids"),
        (3, json.replace("id-3-0\"", "\""), "different ids"),
        (3, json[..json.len() - 1].to_owned(), "EOF"),
    ] {
        let error = SlotBlock::parse(number, text.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(SlotBlock::new(TABLE, 1, vec!["id".to_owned()]), None);
}

#[test]
fn a_key_keeps_its_slot_when_others_come_and_when_a_block_is_appended() {
    let mut table = SlotTable::new(block(1));
    let paths: Vec<String> = (0..1900).map(|n| format!("users/user{n}/profile.json")).collect();
    let mut places = Vec::new();
    for path in &paths {
        if table.needs_block() {
            table.append(block(table.next_block()));
        }
        places.push(place(&mut table, path).expect("a block is at most half full when the next one comes"));
    }
    assert!(table.next_block() >= 4, "{} blocks", table.next_block() - 1);
    for (path, slot) in paths.iter().zip(&places) {
        assert_eq!(place(&mut table, path).as_ref(), Some(slot), "{path}");
    }
    let mut slots = places.clone();
    slots.sort_unstable_by_key(|slot| (slot.block, slot.index));
    slots.dedup();
    assert_eq!(slots.len(), paths.len(), "two keys share a slot");
}

#[test]
fn a_block_is_needed_exactly_from_its_half_on() {
    let mut table = SlotTable::new(block(1));
    let ids: Vec<String> = (0..BLOCK_SLOTS).map(|index| format!("id-1-{index}")).collect();
    for (count, id) in ids.iter().take(BLOCK_SLOTS / 2).enumerate() {
        assert!(!table.needs_block(), "after {count}");
        let slot = table.slot(id).unwrap();
        table.note(slot, &file("x"));
        table.note(slot, &file("x"));
    }
    assert!(table.needs_block());
    table.append(block(2));
    assert!(!table.needs_block());
}

#[test]
fn a_full_table_has_no_slot_for_a_new_key() {
    let mut table = SlotTable::new(block(1));
    for index in 0..BLOCK_SLOTS {
        let slot = table.slot(&format!("id-1-{index}")).unwrap();
        table.note(slot, &file("another"));
    }
    let key = KeyDigest::of("new");
    assert_eq!(table.candidate(&key), Candidate::NoSlot);
    table.append(block(2));
    assert!(matches!(table.candidate(&key), Candidate::Unknown(Slot { block: 1, .. }, _)));
}

#[test]
fn a_block_of_another_table_or_of_another_place_is_not_appended() {
    let mut table = SlotTable::new(block(1));
    table.append(block(1));
    table.append(block(3));
    let mut foreign = block(2);
    foreign.table = Uuid::from_u128(8);
    table.append(foreign);
    assert_eq!(table.next_block(), 2);
}

/// Otherwise the name of a user whose file was renamed could be registered again.
#[test]
fn a_file_keeps_its_key_when_it_is_renamed_and_a_foreign_file_takes_its_slot() {
    let mut table = SlotTable::new(block(1));
    let path = "users/alice/profile.json";
    let key = KeyDigest::of(path);
    let Candidate::Unknown(slot, id) = table.candidate(&key) else { panic!("an empty table") };
    let mut renamed = file(path);
    assert_eq!(renamed.path(), Some(path));
    renamed.name = "profile (1).json".to_owned();
    assert_eq!((renamed.key(), renamed.path()), (Some(key), None));
    table.note(slot, &renamed);
    assert_eq!(table.candidate(&key), Candidate::Found(slot, id.clone(), None));
    table.note(slot, &DriveFile::default());
    assert!(matches!(table.candidate(&key), Candidate::Unknown(_, other) if other != id));
}
