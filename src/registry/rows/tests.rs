//! Golden bytes of rows.

use std::net::SocketAddr;

use super::super::guard::Mark;
use super::super::testing::{hex, tags, unhex};
use super::*;
use crate::presence::Stamp;

/// The bytes of [`samples`] in version 1.
const GOLDEN: &str = "\
    0305616c69636501000a000001a84603c801dc0bf0a204\
    03626f62010120010db8000000000000000000000003aa46ffffffffffffffffff0100ffffffffffffffffff\
    0100\
    056361726f6c0000010001\
    0305616c6963651000112233445566778899aabbccddeeff01000a000001a84614323032362d31312d333054\
    30363a30373a32395a137b22646576696365223a226c6170746f70227d00\
    03626f621000112233445566778899aabbccddeeff0014323032362d31312d33305430363a30373a32395a00\
    0103\
    056361726f6c1000112233445566778899aabbccddeeff010120010db8000000000000000000000003aa4614\
    323032362d31312d33305430363a30373a32395a000203ac02a00102030405060708090a0b0c0d0e0f";

fn addr(text: &str) -> Option<Addr> {
    Addr::new(text.parse::<SocketAddr>().unwrap())
}

fn beat(name: &str, addr: Option<Addr>, stamp: Stamp, age_ms: u64, forgiven_ms: u64) -> Beat {
    Beat { username: Username::parse(name).unwrap(), addr, stamp, age_ms, forgiven_ms }
}

fn user(name: &str, addr: Option<Addr>, metadata: &str, guard: Guard) -> UserFacts {
    UserFacts {
        username: Username::parse(name).unwrap(),
        id: UserId::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        addr,
        registered_at: "2026-11-30T06:07:29Z".into(),
        metadata: metadata.to_owned(),
        guard,
    }
}

/// One row of every kind.
pub(super) fn samples() -> Rows {
    let mark = Mark::from_bytes([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    Rows {
        beats: vec![
            beat("alice", addr("10.0.0.1:9000"), Stamp::of(3, 200), 1500, 70_000),
            beat("bob", addr("[2001:db8::3]:9002"), Stamp::of(u64::MAX, 0), u64::MAX, 0),
            beat("carol", None, Stamp::of(0, 1), 0, 1),
        ],
        users: vec![
            user("alice", addr("10.0.0.1:9000"), r#"{"device":"laptop"}"#, Guard::Open),
            user("bob", None, "", Guard::Unread { epoch: Epoch(3) }),
            user("carol", addr("[2001:db8::3]:9002"), "", Guard::Known { epoch: Epoch(3), version: 300, mark }),
        ],
    }
}

#[test]
fn rows_have_their_golden_bytes() {
    assert_eq!(hex(&postcard::to_stdvec(&samples()).unwrap()), GOLDEN);
}

#[test]
fn golden_bytes_are_read_as_the_rows() {
    assert_eq!(postcard::from_bytes::<Rows>(&unhex(GOLDEN)).unwrap(), samples());
}

#[test]
fn every_kind_of_guard_is_among_the_golden_bytes() {
    let guards = samples().users.into_iter().map(|user| postcard::to_stdvec(&user.guard).unwrap()[0]);
    assert_eq!(guards.collect::<Vec<u8>>(), tags::<Guard>());
}
