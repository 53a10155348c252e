//! The codec, and whom a Hello lets in.

mod golden;

use proptest::prelude::*;

use super::*;
use rollcall_core::BootMs;

pub(crate) fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        cluster: Uuid::from_u128(1),
        node: "127.0.0.1:8081".parse().unwrap(),
        boot: BootId(7),
        to: "127.0.0.1:8080".parse().unwrap(),
        api_url: "http://127.0.0.1:3001".into(),
        peers: vec!["127.0.0.1:8080".parse().unwrap(), "127.0.0.1:8081".parse().unwrap()],
        timings: Timings {
            heartbeat_interval_ms: 1000,
            election_timeout_min_ms: 3000,
            election_timeout_max_ms: 5000,
            leader_term_ms: 10_000,
            net_timeout_ms: 2000,
            election_retry_ms: 100,
        },
        local: "127.0.0.1:40000".parse().unwrap(),
        remote: "127.0.0.1:8080".parse().unwrap(),
        purpose: Purpose::Link,
        keyed: true,
        nonce: Nonce([u64::MAX; 4]),
    }
}

#[test]
fn frames_read_back_as_they_were_written() {
    let envelope = Envelope {
        cluster: Uuid::from_u128(1),
        from: "127.0.0.1:8081".parse().unwrap(),
        boot: BootId(u64::MAX),
        term: Term(u64::MAX),
        load: Load::NEUTRAL,
        role: MemberRole::Leader,
        message: Message::Heartbeat { term: Term(3), sent_at: BootMs(9) },
        leader_url: None,
        note: 3,
        members: Vec::new(),
    };
    let cargo = Frame::Cargo(Bytes::from_static(b"\0{}"));
    for frame in [Frame::Hello(Box::new(hello())), Frame::Message(Box::new(envelope)), Frame::Bye, cargo] {
        assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
    }
    assert!(Frame::Hello(Box::new(hello())).encode().len() < MAX_HELLO_BYTES);
}

type Change = fn(&mut Hello, NodeAddr);

#[test]
fn every_difference_that_matters_is_named_with_both_values() {
    let mut mine = hello();
    std::mem::swap(&mut mine.node, &mut mine.to);
    assert_eq!(hello().differs_from(&mine), None);
    let other: NodeAddr = "127.0.0.1:9999".parse().unwrap();
    let cases: [(Change, &[&str]); 6] = [
        (|h, _| h.protocol = 9, &["protocol 9", "4"]),
        (|h, _| h.keyed = false, &["the cluster_key differs", "this node has one, it has none"]),
        (|h, other| h.to = other, &["127.0.0.1:9999", "127.0.0.1:8080"]),
        (|h, other| h.peers.push(other), &["127.0.0.1:9999", "`peers`"]),
        (|h, _| h.timings.election_timeout_min_ms = 1, &["election_timeout_min_ms: 1", "3000"]),
        (|h, _| h.cluster = Uuid::from_u128(2), &["000000000002", "000000000001"]),
    ];
    for (change, words) in cases {
        let mut theirs = hello();
        change(&mut theirs, other);
        let reason = theirs.differs_from(&mine).expect("refused");
        assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(&bytes);
    }
}
