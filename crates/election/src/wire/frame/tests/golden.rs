//! Golden bytes of protocol 6: one frame of each kind and each message, as text because frames are
//! JSON. A failure means that nodes of this build and of an earlier one do not understand each
//! other. In that case raise [`PROTOCOL`] and add new golden bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;

use super::super::*;
use crate::process::Process;
use crate::wire::hello::Purpose;
use crate::wire::hello::tests::hello;
use crate::wire::key_proof::{Challenge, KeyClaim, Nonce, Transcript};
use crate::wire::message::{BallotReport, PreVoteResp};
use rollcall_core::{BootMs, ClusterKey};

fn key() -> ClusterKey {
    "the key of the cluster".parse().expect("long enough")
}

/// A connection with arbitrary challenges.
fn transcript() -> Transcript {
    Transcript {
        dialler: Bytes::from_static(b"the dialler's Hello"),
        acceptor: Bytes::from_static(b"the acceptor's"),
        channel: None,
    }
}

fn proof(claim: KeyClaim<'_>) -> KeyProof {
    transcript().prove(claim, &key())
}

fn refused(kind: RefusalKind, proof: Option<KeyProof>) -> Frame {
    Frame::Refused { reason: "why".into(), kind, proof }
}

fn envelope(message: Message) -> Envelope {
    Envelope {
        cluster: Uuid::from_u128(1),
        from: "127.0.0.1:8081".parse().unwrap(),
        boot: BootId(u64::MAX),
        term: Term(6),
        load: Load::from_permille(250),
        role: MemberRole::Follower,
        message,
        leader_url: None,
        tag: 0,
        members: Vec::new(),
    }
}

fn message_frame(message: Message) -> Frame {
    Frame::Message(Box::new(envelope(message)))
}

fn dead_process() -> Process {
    Process { node: NodeId(2), boot: BootId(9) }
}

fn pre_vote_response(leader: Option<(NodeId, Term)>) -> PreVoteResp {
    PreVoteResp {
        requester: BootId(7),
        round: 3,
        granted: true,
        ready: false,
        load: Load::NEUTRAL,
        role: MemberRole::Candidate,
        ballot: BallotReport { missing_at_start: false, sound: true, term: Term(5) },
        leader,
    }
}

/// Every kind of frame, with each optional field once present and once absent.
#[rustfmt::skip]
fn frames() -> Vec<(Frame, &'static str)> {
    let check = Hello { purpose: Purpose::Check, ..hello() };
    let challenge = Challenge {
        protocol: PROTOCOL,
        node: "127.0.0.1:8081".parse().unwrap(),
        to: "127.0.0.1:8080".parse().unwrap(),
        nonce: Nonce([0, 1, 2, u64::MAX]),
    };
    let hint = Envelope {
        leader_url: Some("http://127.0.0.1:3000".into()),
        ..envelope(Message::PreVoteResp(pre_vote_response(Some((NodeId(1), Term(5))))))
    };
    let report = MemberReport {
        node: NodeId(2),
        role: MemberRole::Leader,
        load: Load::NEUTRAL,
        term: Term(5),
        heard_ms_ago: 12,
    };
    let heartbeat = Envelope {
        role: MemberRole::Leader,
        tag: 42,
        members: vec![report],
        ..envelope(Message::Heartbeat { term: Term(6), sent_at: BootMs(1000) })
    };
    let is_authentic = Some(proof(KeyClaim::Refusal(RefusalKind::AddressConflict, "why")));
    vec![
        (Frame::Challenge(challenge),
            r#"{"Challenge":{"protocol":6,"node":"127.0.0.1:8081","to":"127.0.0.1:8080","nonce":[0,1,2,18446744073709551615]}}"#),
        (Frame::Hello(Box::new(hello())),
            r#"{"Hello":{"protocol":6,"cluster":"00000000-0000-0000-0000-000000000001","node":"127.0.0.1:8081","boot":7,"to":"127.0.0.1:8080","api_url":"http://127.0.0.1:3001","peers":["127.0.0.1:8080","127.0.0.1:8081"],"timings":{"heartbeat_interval_ms":1000,"election_timeout_min_ms":3000,"election_timeout_max_ms":5000,"leader_term_ms":10000,"net_timeout_ms":2000,"election_retry_ms":100},"local":"127.0.0.1:40000","remote":"127.0.0.1:8080","purpose":"Link"}}"#),
        (Frame::Hello(Box::new(check)),
            r#"{"Hello":{"protocol":6,"cluster":"00000000-0000-0000-0000-000000000001","node":"127.0.0.1:8081","boot":7,"to":"127.0.0.1:8080","api_url":"http://127.0.0.1:3001","peers":["127.0.0.1:8080","127.0.0.1:8081"],"timings":{"heartbeat_interval_ms":1000,"election_timeout_min_ms":3000,"election_timeout_max_ms":5000,"leader_term_ms":10000,"net_timeout_ms":2000,"election_retry_ms":100},"local":"127.0.0.1:40000","remote":"127.0.0.1:8080","purpose":"Check"}}"#),
        (Frame::Proof(proof(KeyClaim::Dialler)),
            r#"{"Proof":[33,101,232,248,157,206,217,12,27,67,42,54,150,43,49,213,254,43,253,215,63,187,124,133,178,71,39,133,185,234,133,125]}"#),
        (refused(RefusalKind::ConfigMismatch, None),
            r#"{"Refused":{"reason":"why","kind":"Different"}}"#),
        (refused(RefusalKind::AddressConflict, is_authentic),
            r#"{"Refused":{"reason":"why","kind":"Doubled","proof":[238,17,183,14,44,216,149,101,47,131,228,167,133,84,252,141,95,80,200,129,255,152,111,52,5,122,139,32,244,56,105,227]}}"#),
        (refused(RefusalKind::TryAgain, None),
            r#"{"Refused":{"reason":"why","kind":"NotYet"}}"#),
        (message_frame(Message::PreVote { round: 3, term: Term(7), dead_leader: None }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"PreVote","round":3,"term":7,"dead":null}}}"#),
        (message_frame(Message::PreVote { round: 3, term: Term(7), dead_leader: Some(dead_process()) }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"PreVote","round":3,"term":7,"dead":{"node":2,"boot":9}}}}"#),
        (message_frame(Message::PreVoteResp(pre_vote_response(None))),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"PreVoteResp","asker":7,"round":3,"granted":true,"ready":false,"load":500,"role":"candidate","ballot":{"missing_at_start":false,"sound":true,"term":5},"leader":null}}}"#),
        (Frame::Message(Box::new(hint)),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"PreVoteResp","asker":7,"round":3,"granted":true,"ready":false,"load":500,"role":"candidate","ballot":{"missing_at_start":false,"sound":true,"term":5},"leader":[1,5]},"leader_url":"http://127.0.0.1:3000"}}"#),
        (message_frame(Message::Nominate { term: Term(7) }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"Nominate","term":7}}}"#),
        (message_frame(Message::Vote { term: Term(7), asked_at: BootMs(1000), released_term: None, dead_leader: None }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"Vote","term":7,"asked_at":1000,"voids":null,"dead":null}}}"#),
        (message_frame(Message::Vote { term: Term(7), asked_at: BootMs(1000), released_term: Some(Term(6)), dead_leader: Some(dead_process()) }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"Vote","term":7,"asked_at":1000,"voids":6,"dead":{"node":2,"boot":9}}}}"#),
        (message_frame(Message::VoteResp { term: Term(7), asked_at: BootMs(1000), granted: true }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"VoteResp","term":7,"asked_at":1000,"granted":true}}}"#),
        (Frame::Message(Box::new(heartbeat)),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"leader","message":{"type":"Heartbeat","term":6,"sent_at":1000},"note":42,"members":[{"node":2,"role":"leader","load":500,"term":5,"heard_ms_ago":12}]}}"#),
        (message_frame(Message::Ack { term: Term(6), sent_at: BootMs(1000), load: Load::NEUTRAL, ready: true }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"Ack","term":6,"sent_at":1000,"load":500,"ready":true}}}"#),
        (message_frame(Message::StandNow { term: Term(6) }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"StandNow","term":6}}}"#),
        (message_frame(Message::Resign { term: Term(6) }),
            r#"{"Message":{"cluster":"00000000-0000-0000-0000-000000000001","from":"127.0.0.1:8081","boot":18446744073709551615,"term":6,"load":250,"role":"follower","message":{"type":"Resign","term":6}}}"#),
        (Frame::Bye,
            r#""Bye""#),
        (Frame::Payload(Bytes::from_static(b"\x01opaque")),
            "\0\x01opaque"),
    ]
}

/// The variant names of `T` that serde knows, taken from its error about an unknown variant.
fn variants<T: DeserializeOwned + std::fmt::Debug>(unknown: &str) -> BTreeSet<String> {
    let error_text = serde_json::from_str::<T>(unknown).expect_err("no such variant").to_string();
    let (_, expected) = error_text.split_once("expected ").expect("the names are listed");
    let names: BTreeSet<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 1, "{error_text}");
    names
}

#[test]
fn every_frame_has_the_bytes_of_protocol_6() {
    assert_eq!(PROTOCOL, 6, "another protocol has other golden bytes");
    for (frame, bytes) in frames() {
        let encoded = frame.encode();
        assert_eq!(String::from_utf8_lossy(&encoded), bytes, "{frame:?}");
        assert_eq!(Frame::decode(bytes.as_bytes()).expect("a frame"), frame);
    }
}

#[test]
fn every_kind_of_frame_and_message_has_golden_bytes() {
    let text: String = frames().into_iter().map(|(_, bytes)| bytes).collect();
    for name in variants::<Frame>(r#"{"?":0}"#) {
        assert!(text.contains(&format!("{{\"{name}\":")) || text.contains(&format!("\"{name}\"")), "frame {name}");
    }
    for name in variants::<Message>(r#"{"type":"?"}"#) {
        assert!(text.contains(&format!("\"type\":\"{name}\"")), "message {name}");
    }
    for name in variants::<RefusalKind>(r#""?""#) {
        assert!(text.contains(&format!("\"kind\":\"{name}\"")), "refusal {name}");
    }
    for name in variants::<Purpose>(r#""?""#) {
        assert!(text.contains(&format!("\"purpose\":\"{name}\"")), "purpose {name}");
    }
    for name in variants::<MemberRole>(r#""?""#) {
        assert!(text.contains(&format!("\"role\":\"{name}\"")), "role {name}");
    }
    assert!(
        frames().iter().any(|(frame, _)| matches!(frame, Frame::Payload(_))),
        "serde does not list the payload frame"
    );
}

/// The codes that prove the key. They are not frames, but two builds must compute the same codes.
#[test]
fn every_claim_has_the_code_of_protocol_6() {
    let cases = [
        (KeyClaim::Dialler, "2165e8f89dced90c1b432a36962b31d5fe2bfdd73fbb7c85b2472785b9ea857d"),
        (KeyClaim::Acceptor, "3a212196d7c945147f103f31b2b4302e03aeb0a3f76bffd4406feb37851a4e4e"),
        (
            KeyClaim::Refusal(RefusalKind::ConfigMismatch, "why"),
            "b2959ac7aa5c33eca50dd2aa5d36ef17899a3e1fdeeb1f8198f4ff6150346252",
        ),
        (
            KeyClaim::Refusal(RefusalKind::AddressConflict, "why"),
            "ee11b70e2cd895652f83e4a78554fc8d5f50c881ff986f34057a8b20f43869e3",
        ),
        (
            KeyClaim::Refusal(RefusalKind::TryAgain, "why"),
            "abaad450b32c5355f0ecc5b86e3216fe94dd708fe04733b8a40b7991e7826559",
        ),
    ];
    for (claim, code) in cases {
        let bytes: [u8; 32] = serde_json::from_slice(&serde_json::to_vec(&proof(claim)).unwrap()).unwrap();
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        });
        assert_eq!(hex, code, "{claim:?}");
    }
}
