//! Binary format of a snapshot: a header, rows in chunks, and a checksum over all of it. Pure.
//!
//! ```text
//! "ROLLCALL SNAPSHOT 3\n"  16 bytes: the bucket's id  8 bytes: Unix milliseconds
//! then for each chunk:     4 bytes: length            that many bytes: rows, in postcard
//! at the end:              4 bytes: zero              32 bytes: SHA-256 of everything before
//! ```
//! Numbers are little endian.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::registry::{Rows, decode_rows_of_version_1};
use rollcall_core::WallMs;

/// Version of the format, in the first line of the file. A node ignores a snapshot of an unknown
/// version.
const VERSION: u32 = 3;

/// The version before. It has rows of version 1 and is still read.
const VERSION_WITH_ROWS_1: u32 = 2;

const _: () = assert!(VERSION == 3 && Rows::VERSION == 2, "a change of the rows needs another version of the snapshot");

const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 32;

/// The first line of the file: the format's name and version.
fn first_line(version: u32) -> Vec<u8> {
    format!("ROLLCALL SNAPSHOT {version}\n").into_bytes()
}

/// The content of a snapshot.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    /// The time at which it was created.
    pub(super) created_at: WallMs,
    pub(super) rows: Vec<Rows>,
}

/// Encodes a snapshot in chunks.
pub(super) struct SnapshotEncoder {
    checksum: Sha256,
}

impl SnapshotEncoder {
    /// Starts a snapshot, and returns its header.
    pub(super) fn start(bucket: Uuid, created_at: WallMs) -> (Self, Vec<u8>) {
        let mut this = Self { checksum: Sha256::new() };
        let created_at = created_at.unix_ms().to_le_bytes();
        let head = this.hash([&first_line(VERSION), &bucket.as_bytes()[..], &created_at].concat());
        (this, head)
    }

    /// The next chunk.
    pub(super) fn encode_rows(&mut self, rows: &Rows) -> Vec<u8> {
        let rows = postcard::to_stdvec(rows).expect("plain data of known length");
        let length = u32::try_from(rows.len()).expect("a chunk has few rows");
        self.hash([&length.to_le_bytes()[..], &rows].concat())
    }

    /// The end of the snapshot.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let zero = self.hash(0_u32.to_le_bytes().to_vec());
        [&zero[..], &self.checksum.finalize()[..]].concat()
    }

    /// Adds bytes to the checksum, and returns them.
    fn hash(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.checksum.update(&bytes);
        bytes
    }
}

/// Decodes a snapshot of the bucket with this id.
///
/// # Errors
/// The reason why the bytes are not a valid snapshot of this bucket, as the end of a sentence.
pub(super) fn decode(bytes: &[u8], bucket: Uuid) -> Result<Snapshot, String> {
    let (content, checksum) =
        bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM_BYTES)).ok_or("it is too short")?;
    let (version, mut rest) = [VERSION, VERSION_WITH_ROWS_1]
        .into_iter()
        .find_map(|version| Some((version, content.strip_prefix(&first_line(version)[..])?)))
        .ok_or("it is no snapshot of a known version")?;
    if Sha256::digest(content)[..] != *checksum {
        return Err("its checksum is wrong".to_owned());
    }
    if take_bytes(&mut rest, ID_BYTES)? != bucket.as_bytes() {
        return Err("it belongs to another bucket".to_owned());
    }
    let created_at = take_bytes(&mut rest, TIME_BYTES)?.try_into().expect("take_bytes returns this many bytes");
    let created_at = WallMs::new(i64::from_le_bytes(created_at));
    if !created_at.is_displayable() {
        return Err(format!("its creation time of {} ms is impossible", created_at.unix_ms()));
    }
    let mut rows = Vec::new();
    loop {
        let length = u32::from_le_bytes(
            take_bytes(&mut rest, LENGTH_BYTES)?.try_into().expect("take_bytes returns this many bytes"),
        );
        if length == 0 {
            return Ok(Snapshot { created_at, rows });
        }
        let chunk = take_bytes(&mut rest, usize::try_from(length).unwrap_or(usize::MAX))?;
        let decoded = match version {
            VERSION_WITH_ROWS_1 => decode_rows_of_version_1(chunk),
            _ => postcard::from_bytes(chunk),
        };
        rows.push(decoded.map_err(|error| format!("a row cannot be read: {error}"))?);
    }
}

fn take_bytes<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or("it ends early")?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::presence::SeenAt;
    use crate::registry::testing::{hex, unhex};
    use rollcall_core::Username;

    /// A snapshot of version 3 that holds [`Rows::samples`].
    const GOLDEN: &str = "\
        524f4c4c43414c4c20534e415053484f5420330a\
        00112233445566778899aabbccddeeff63c5102ba2010000\
        52010000\
        0305616c69636501000a000001a84603c801dc0bf0a204018efe85b1c568\
        03626f62010120010db8000000000000000000000003aa46ffffffffffffffffff0100ffffffffffffffffff\
        010002ffffffffffffffffff01\
        056361726f6c000001000100\
        0305616c6963651000112233445566778899aabbccddeeff01000a000001a84614323032362d31312d333054\
        30363a30373a32395a011e323032352d31322d30365431383a32303a32352e3132333435363738395a137b22\
        646576696365223a226c6170746f70227d00\
        03626f621000112233445566778899aabbccddeeff0014323032362d31312d33305430363a30373a32395a00\
        000103\
        056361726f6c1000112233445566778899aabbccddeeff010120010db8000000000000000000000003aa4614\
        323032362d31312d33305430363a30373a32395a00000203ac02a00102030405060708090a0b0c0d0e0f\
        00000000\
        b656019f73dc3b16dfa097309e73583bc25f02e23e2cf5500d1aaec7f0d2595e";

    /// A snapshot of version 2 that holds [`Rows::samples`] in version 1.
    const GOLDEN_2: &str = "\
        524f4c4c43414c4c20534e415053484f5420320a\
        00112233445566778899aabbccddeeff63c5102ba2010000\
        1d010000\
        0305616c69636501000a000001a84603c801dc0bf0a204\
        03626f62010120010db8000000000000000000000003aa46ffffffffffffffffff0100ffffffffffffffffff\
        0100\
        056361726f6c0000010001\
        0305616c6963651000112233445566778899aabbccddeeff01000a000001a84614323032362d31312d333054\
        30363a30373a32395a137b22646576696365223a226c6170746f70227d00\
        03626f621000112233445566778899aabbccddeeff0014323032362d31312d33305430363a30373a32395a00\
        0103\
        056361726f6c1000112233445566778899aabbccddeeff010120010db8000000000000000000000003aa4614\
        323032362d31312d33305430363a30373a32395a000203ac02a00102030405060708090a0b0c0d0e0f\
        00000000\
        151ef8c29c1e8e2a50bc7de559ad92be7f7a2b2cb4b1a9d2abf5f3062fd39e60";

    fn encode(names: &[&str]) -> Vec<u8> {
        let (mut encoder, mut bytes) = SnapshotEncoder::start(Uuid::from_u128(7), WallMs::new(99));
        for name in names {
            bytes.extend(encoder.encode_rows(&Rows::of_user(Username::parse(name).unwrap())));
        }
        bytes.extend(encoder.finish());
        bytes
    }

    #[test]
    fn a_snapshot_with_an_impossible_creation_time_is_no_snapshot() {
        for (unix_ms, is_valid) in
            [(0, true), (253_402_300_799_999, true), (253_402_300_800_000, false), (i64::MIN, false)]
        {
            let (encoder, head) = SnapshotEncoder::start(Uuid::from_u128(7), WallMs::new(unix_ms));
            let decoded = decode(&[head, encoder.finish()].concat(), Uuid::from_u128(7));
            assert_eq!(decoded.is_ok(), is_valid, "{unix_ms}: {decoded:?}");
        }
    }

    #[test]
    fn a_snapshot_is_decoded_as_it_was_encoded() {
        let snapshot = decode(&encode(&["alice", "bob"]), Uuid::from_u128(7)).unwrap();
        assert_eq!(snapshot.created_at, WallMs::new(99));
        let names: Vec<&str> =
            snapshot.rows.iter().flat_map(|rows| &rows.users).map(|row| row.username.as_str()).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(decode(&encode(&[]), Uuid::from_u128(7)).unwrap().rows, []);
    }

    #[test]
    fn a_snapshot_has_its_golden_bytes_and_those_of_version_2_are_read() {
        let bucket = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let created_at = WallMs::new(1_796_018_849_123);
        let (mut encoder, mut bytes) = SnapshotEncoder::start(bucket, created_at);
        bytes.extend(encoder.encode_rows(&Rows::samples()));
        bytes.extend(encoder.finish());
        assert_eq!(hex(&bytes), GOLDEN);
        let rows = vec![Rows::samples()];
        assert_eq!(decode(&unhex(GOLDEN), bucket), Ok(Snapshot { created_at, rows: rows.clone() }));
        let rows_1: Vec<Rows> = rows.into_iter().map(Rows::reduced_to_version_1).collect();
        assert_eq!(decode(&unhex(GOLDEN_2), bucket), Ok(Snapshot { created_at, rows: rows_1 }));
    }

    #[test]
    fn a_snapshot_of_the_first_version_is_read() {
        let bucket = Uuid::from_u128(0x9069_a20a_a002_49b5_847b_79b7_867d_ed09);
        let bytes = include_bytes!("../../tests/fixtures/first-version/node-0/snapshot");
        let snapshot = decode(bytes, bucket).unwrap();
        assert_eq!(snapshot.created_at, WallMs::new(1_796_018_853_598));
        let names = |rows: &Rows| {
            let beats = rows.clients.iter().map(|row| format!("beat of {}", row.username));
            beats.chain(rows.users.iter().map(|row| format!("user {}", row.username))).collect::<Vec<_>>()
        };
        let names: Vec<String> = snapshot.rows.iter().flat_map(names).collect();
        let beats = ["alice", "bob", "carol", "erin"].map(|name| format!("beat of {name}"));
        let users = ["alice", "bob", "carol", "dave", "erin"].map(|name| format!("user {name}"));
        assert_eq!(names, [&beats[..], &users[..]].concat());
    }

    #[test]
    fn snapshots_of_the_first_version_agree_on_the_times_of_the_last_heartbeats() {
        let bucket = Uuid::from_u128(0x9069_a20a_a002_49b5_847b_79b7_867d_ed09);
        let snapshots = [
            &include_bytes!("../../tests/fixtures/first-version/node-0/snapshot")[..],
            &include_bytes!("../../tests/fixtures/first-version/node-1/snapshot")[..],
            &include_bytes!("../../tests/fixtures/first-version/node-2/snapshot")[..],
        ];
        for bytes in snapshots {
            let Snapshot { created_at, rows } = decode(bytes, bucket).unwrap();
            let client = rows[0].clients[0].clone().restored_after(60_000, created_at);
            assert_eq!(client.seen_at, SeenAt::Restored(WallMs::new(1_796_018_851_766)), "{created_at:?}");
        }
    }

    #[test]
    fn a_snapshot_of_another_bucket_is_rejected() {
        assert!(decode(&encode(&["alice"]), Uuid::from_u128(8)).unwrap_err().contains("another bucket"));
    }

    proptest! {
        #[test]
        fn a_truncated_or_changed_snapshot_is_rejected(index in any::<prop::sample::Index>(), flip in 1_u8..) {
            let bytes = encode(&["alice", "bob"]);
            let index = index.index(bytes.len());
            prop_assert!(decode(&bytes[..index], Uuid::from_u128(7)).is_err());
            let mut changed = bytes;
            changed[index] ^= flip;
            prop_assert!(decode(&changed, Uuid::from_u128(7)).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, Uuid::nil());
            let _ = decode(&[first_line(VERSION), bytes].concat(), Uuid::nil());
        }
    }
}
