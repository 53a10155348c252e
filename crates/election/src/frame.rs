//! What goes over an election link, as bytes: frames of JSON behind a length of four bytes, big endian. Pure.
//!
//! Cargo is the one frame that is no JSON: a zero byte, which begins no JSON text, and then bytes that mean nothing here.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::message::Message;
use super::process::{BootId, NodeId};
use super::proof::{Nonce, Proof};
use rollcall_core::MemberRole;
use rollcall_core::{Load, NodeAddr, Term};

/// The version of everything in this file and in `message.rs`. Nodes of different versions refuse each other.
pub const PROTOCOL: u32 = 4;

/// The longest frame once both sides know each other.
pub(super) const MAX_FRAME_BYTES: usize = 1 << 20;

/// The longest frame before that, when anything may be at the other end.
pub(super) const MAX_HELLO_BYTES: usize = 16 << 10;

/// What both sides log when one has another key than the other; nothing tells what the keys are.
pub(super) const KEY_DIFFERS: &str = "the cluster_key differs";

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// The first frame in both directions.
    Hello(Box<Hello>),
    /// With a cluster key, the second frame in both directions; the last that a link's acceptor ever sends.
    Proof(Proof),
    /// Instead of any of these.
    Refused {
        /// Why, for the log.
        reason: String,
        /// Why, for the one who is refused.
        #[serde(default)]
        kind: RefusalKind,
        /// With a cluster key, once the one who is refused has proved that it holds it: that the refusal is real.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// From then on, from the one who dialled.
    Message(Box<Envelope>),
    /// The last frame of a process that ends this link in order.
    Bye,
    /// What another part of the program says to itself on the other node. It has an encoding of its own.
    #[serde(skip)]
    Cargo(Bytes),
}

/// The first byte of a frame with cargo.
const CARGO: u8 = 0;

/// What the one who is refused can do about it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub(super) enum RefusalKind {
    /// The two are configured differently: nothing, until somebody changes that.
    #[default]
    Different,
    /// Another living process has its address: it must end.
    Doubled,
    /// It is not known yet: try again.
    NotYet,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// To send messages.
    #[default]
    Link,
    /// To learn which process answers, and no more.
    Check,
}

/// Who is at an end of a link, and whether the two belong together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// The bucket's id.
    pub(super) cluster: Uuid,
    pub(super) node: NodeAddr,
    pub(super) boot: BootId,
    /// Whom the sender takes the other for.
    pub(super) to: NodeAddr,
    /// Without a trailing slash.
    pub(super) api_url: String,
    pub(super) peers: Vec<NodeAddr>,
    pub(super) timings: Timings,
    /// The link's two ends as the sender sees them.
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    #[serde(default)]
    pub(super) purpose: Purpose,
    /// Whether the sender has a cluster key, and so will prove it and ask for a proof.
    #[serde(default)]
    pub(super) keyed: bool,
    /// Drawn for this connection.
    #[serde(default)]
    pub(super) nonce: Nonce,
}

/// The numbers that must be the same on all nodes, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Between two heartbeats of a leader.
    pub heartbeat_interval_ms: u64,
    /// The shortest silence before an election; also how long promises last.
    pub election_timeout_min_ms: u64,
    /// The longest silence before an election.
    pub election_timeout_max_ms: u64,
    /// After how long a leader looks whether another should lead.
    pub leader_term_ms: u64,
    /// The bound on every connect, answer and write.
    pub net_timeout_ms: u64,
    /// The first pause after a lost round.
    pub election_retry_ms: u64,
}

/// A message and what every frame tells of its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) cluster: Uuid,
    pub(super) from: NodeAddr,
    pub(super) boot: BootId,
    pub(super) term: Term,
    pub(super) load: Load,
    pub(super) role: MemberRole,
    pub(super) message: Message,
    /// With a leader hint: where that leader's API is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leader_url: Option<String>,
    /// With a heartbeat: the leader's number for its followers, opaque here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) note: u64,
    /// With a heartbeat: what the leader knows of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) members: Vec<MemberReport>,
}

/// What a leader tells of another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MemberReport {
    pub(super) node: NodeId,
    pub(super) role: MemberRole,
    pub(super) load: Load,
    pub(super) term: Term,
    pub(super) heard_ms_ago: u64,
}

/// Why bytes are no frame.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    /// Not the JSON of a frame.
    #[error("not a frame of protocol {PROTOCOL}: {0}")]
    Malformed(serde_json::Error),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Frame {
    /// The frame's bytes, without the length.
    pub(super) fn encode(&self) -> Bytes {
        match self {
            Self::Cargo(cargo) => [&[CARGO], &cargo[..]].concat().into(),
            frame => serde_json::to_vec(frame).expect("frames are plain data with string keys").into(),
        }
    }

    /// Reads a frame's bytes, without the length.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes {
            [CARGO, cargo @ ..] => Ok(Self::Cargo(Bytes::copy_from_slice(cargo))),
            json => serde_json::from_slice(json).map_err(FrameError::Malformed),
        }
    }
}

impl Hello {
    /// Why two nodes do not belong together, as seen by `mine`; shows both values.
    pub(super) fn differs_from(&self, mine: &Hello) -> Option<String> {
        if self.protocol != mine.protocol {
            return Some(format!(
                "it speaks protocol {}, this node {}: run the same version",
                self.protocol, mine.protocol
            ));
        }
        if self.keyed != mine.keyed {
            let (with, without) = if self.keyed { ("it", "this node") } else { ("this node", "it") };
            return Some(format!("{KEY_DIFFERS}: {with} has one, {without} has none; give all nodes the same"));
        }
        if self.to != mine.node {
            return Some(format!("it takes this node for {}, but this is {}", self.to, mine.node));
        }
        if self.peers != mine.peers {
            return Some(format!(
                "its peers are {}, here they are {}: give all nodes the same `peers`",
                list(&self.peers),
                list(&mine.peers)
            ));
        }
        if self.timings != mine.timings {
            return Some(format!(
                "its timings are {:?}, here they are {:?}: give all nodes the same numbers",
                self.timings, mine.timings
            ));
        }
        if self.cluster != mine.cluster {
            return Some(format!(
                "its bucket has the id {}, this node's has {}: let all nodes use the same bucket (FIREBASE_BUCKET, data_dir)",
                self.cluster, mine.cluster
            ));
        }
        None
    }
}

fn list(peers: &[NodeAddr]) -> String {
    let texts: Vec<String> = peers.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(", "))
}

/// The first bytes of a request of somebody who takes the election port for the API.
pub(super) fn looks_like_http(first: [u8; 4]) -> bool {
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"].iter().any(|word| **word == first)
}

#[cfg(test)]
mod tests {
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
}
