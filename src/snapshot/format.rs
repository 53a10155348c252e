//! The bytes of a snapshot: a head, rows in chunks, and a checksum over all of it. Pure.
//!
//! ```text
//! "ROLLCALL SNAPSHOT 2\n"  16 bytes: the bucket's id  8 bytes: Unix milliseconds
//! then, again and again:   4 bytes: length            that many bytes: rows, in postcard
//! at last:                 4 bytes: zero              32 bytes: SHA-256 of everything before
//! ```
//! Numbers are little endian.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::registry::Rows;

/// Version of the snapshot, which its first line tells. A node leaves a snapshot of another version aside.
const VERSION: u32 = 2;

const _: () = assert!(VERSION == 2 && Rows::VERSION == 1, "other rows are another version of the snapshot");

const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
const SUM_BYTES: usize = 32;

/// The first line.
fn magic() -> Vec<u8> {
    format!("ROLLCALL SNAPSHOT {VERSION}\n").into_bytes()
}

/// What a snapshot holds.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot {
    /// When it was made, in Unix milliseconds.
    pub(super) made_at_ms: i64,
    pub(super) rows: Vec<Rows>,
}

/// Writes a snapshot piece by piece.
pub(super) struct Encoder {
    sum: Sha256,
}

impl Encoder {
    /// Begins; the first piece.
    pub(super) fn start(bucket: Uuid, made_at_ms: i64) -> (Self, Vec<u8>) {
        let mut this = Self { sum: Sha256::new() };
        let head = this.count([&magic(), &bucket.as_bytes()[..], &made_at_ms.to_le_bytes()].concat());
        (this, head)
    }

    /// The next piece.
    pub(super) fn rows(&mut self, rows: &Rows) -> Vec<u8> {
        let rows = postcard::to_stdvec(rows).expect("plain data of known length");
        let length = u32::try_from(rows.len()).expect("rows are given in small numbers");
        self.count([&length.to_le_bytes()[..], &rows].concat())
    }

    /// The last piece.
    pub(super) fn end(mut self) -> Vec<u8> {
        let zero = self.count(0_u32.to_le_bytes().to_vec());
        [&zero[..], &self.sum.finalize()[..]].concat()
    }

    fn count(&mut self, piece: Vec<u8>) -> Vec<u8> {
        self.sum.update(&piece);
        piece
    }
}

/// Reads a snapshot of `bucket`.
///
/// # Errors
/// Why it is none.
pub(super) fn decode(bytes: &[u8], bucket: Uuid) -> Result<Snapshot, String> {
    let (content, sum) = bytes.split_at_checked(bytes.len().saturating_sub(SUM_BYTES)).ok_or("it is too short")?;
    let mut rest = content.strip_prefix(&magic()[..]).ok_or("it is no snapshot of this version")?;
    if Sha256::digest(content)[..] != *sum {
        return Err("its checksum is wrong".to_owned());
    }
    if take(&mut rest, ID_BYTES)? != bucket.as_bytes() {
        return Err("it belongs to another bucket".to_owned());
    }
    let made_at_ms = i64::from_le_bytes(take(&mut rest, TIME_BYTES)?.try_into().expect("as long as it was asked for"));
    let mut rows = Vec::new();
    loop {
        let length =
            u32::from_le_bytes(take(&mut rest, LENGTH_BYTES)?.try_into().expect("as long as it was asked for"));
        if length == 0 {
            return Ok(Snapshot { made_at_ms, rows });
        }
        let chunk = take(&mut rest, usize::try_from(length).unwrap_or(usize::MAX))?;
        rows.push(postcard::from_bytes(chunk).map_err(|error| format!("a row cannot be read: {error}"))?);
    }
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or("it ends early")?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::testing::{hex, unhex};
    use rollcall_core::Username;

    /// A snapshot of version 2 that holds [`Rows::samples`].
    const GOLDEN: &str = "\
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
        let (mut encoder, mut bytes) = Encoder::start(Uuid::from_u128(7), 99);
        for name in names {
            bytes.extend(encoder.rows(&Rows::of_user(Username::parse(name).unwrap())));
        }
        bytes.extend(encoder.end());
        bytes
    }

    #[test]
    fn a_snapshot_reads_back_as_it_was_written() {
        let snapshot = decode(&encode(&["alice", "bob"]), Uuid::from_u128(7)).unwrap();
        assert_eq!(snapshot.made_at_ms, 99);
        let names: Vec<&str> =
            snapshot.rows.iter().flat_map(|rows| &rows.users).map(|row| row.username.as_str()).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(decode(&encode(&[]), Uuid::from_u128(7)).unwrap().rows, []);
    }

    #[test]
    fn a_snapshot_has_its_golden_bytes() {
        let bucket = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let (mut encoder, mut bytes) = Encoder::start(bucket, 1_796_018_849_123);
        bytes.extend(encoder.rows(&Rows::samples()));
        bytes.extend(encoder.end());
        assert_eq!(hex(&bytes), GOLDEN);
        let rows = vec![Rows::samples()];
        assert_eq!(decode(&unhex(GOLDEN), bucket), Ok(Snapshot { made_at_ms: 1_796_018_849_123, rows }));
    }

    #[test]
    fn a_snapshot_of_the_first_version_is_read() {
        let bucket = Uuid::from_u128(0x9069_a20a_a002_49b5_847b_79b7_867d_ed09);
        let bytes = include_bytes!("../../tests/fixtures/first-version/node-0/snapshot");
        let snapshot = decode(bytes, bucket).unwrap();
        assert_eq!(snapshot.made_at_ms, 1_796_018_853_598);
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
    fn a_snapshot_of_another_bucket_is_none() {
        assert!(decode(&encode(&["alice"]), Uuid::from_u128(8)).unwrap_err().contains("another bucket"));
    }

    proptest! {
        #[test]
        fn what_was_cut_or_changed_is_no_snapshot(place in any::<prop::sample::Index>(), flip in 1_u8..) {
            let bytes = encode(&["alice", "bob"]);
            let place = place.index(bytes.len());
            prop_assert!(decode(&bytes[..place], Uuid::from_u128(7)).is_err());
            let mut changed = bytes;
            changed[place] ^= flip;
            prop_assert!(decode(&changed, Uuid::from_u128(7)).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, Uuid::nil());
            let _ = decode(&[magic(), bytes].concat(), Uuid::nil());
        }
    }
}
