//! Frames of an election link: a big-endian length of four bytes, then JSON. Pure.
//!
//! Only a payload frame contains no JSON. It contains a zero byte, which never begins a JSON text,
//! and then opaque bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::hello::Hello;
use super::key_proof::{Challenge, KeyProof};
use super::message::Message;
use super::refusal::RefusalKind;
use crate::process::{BootId, NodeId};
use rollcall_core::{Load, MemberRole, NodeAddr, Term};

/// Version of the protocol between nodes. Nodes of different versions refuse each other.
pub const PROTOCOL: u32 = 6;

/// Largest frame after the handshake, in bytes: 16 times the largest payload.
pub(crate) const MAX_FRAME_BYTES: usize = 1 << 20;

/// Largest frame during the handshake, in bytes. It is small, because the other end may be any
/// program.
pub(crate) const MAX_HELLO_BYTES: usize = 16 << 10;

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// With a cluster key: first frame in both directions.
    Challenge(Challenge),
    /// With a cluster key: second frame in both directions.
    Proof(KeyProof),
    /// Introduction of the sender, in both directions. It is the last frame that the acceptor sends
    /// to an admitted node.
    Hello(Box<Hello>),
    /// Answer of the acceptor in place of another frame.
    Refused {
        /// Reason, for the log.
        reason: String,
        /// Kind of the refusal, for the program.
        #[serde(default)]
        kind: RefusalKind,
        /// Proof that the refusal is authentic. Present with a cluster key, once the dialler has
        /// proved that it has the key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<KeyProof>,
    },
    /// Message of the election, from the dialler only.
    Message(Box<Envelope>),
    /// Last frame of a living process that ends the link on purpose.
    Bye,
    /// Message of another subsystem, in an encoding of its own.
    #[serde(skip)]
    Payload(Bytes),
}

/// First byte of a payload frame.
const PAYLOAD_TAG: u8 = 0;

/// A message, with the state of its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// Id of the bucket.
    pub(crate) cluster: Uuid,
    /// Name of the sender.
    pub(crate) from: NodeAddr,
    /// Process of the sender.
    pub(crate) boot: BootId,
    /// Term of the sender.
    pub(crate) term: Term,
    /// Load of the sender.
    pub(crate) load: Load,
    /// Role of the sender.
    pub(crate) role: MemberRole,
    /// The message.
    pub(crate) message: Message,
    /// In a [`Message::PreVoteResp`] that names a leader: the API URL of that leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leader_url: Option<String>,
    /// In a heartbeat: opaque number from the leader for its followers.
    #[serde(rename = "note", default, skip_serializing_if = "is_zero")]
    pub(crate) tag: u64,
    /// In a heartbeat: the leader's reports about the other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<MemberReport>,
}

/// A leader's report about another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    /// The reported node.
    pub(crate) node: NodeId,
    /// Its role.
    pub(crate) role: MemberRole,
    /// Its load.
    pub(crate) load: Load,
    /// Its term.
    pub(crate) term: Term,
    /// Age of this information, in milliseconds.
    pub(crate) heard_ms_ago: u64,
}

/// Reason why bytes are not a frame.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// The bytes are not the JSON text of a frame.
    #[error("not a frame of protocol {PROTOCOL}: {0}")]
    Malformed(serde_json::Error),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Frame {
    /// Encodes the frame, without the length.
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Payload(payload) => [&[PAYLOAD_TAG], &payload[..]].concat().into(),
            frame => serde_json::to_vec(frame).expect("frames are plain data with string keys").into(),
        }
    }

    /// Decodes a frame, without the length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes {
            [PAYLOAD_TAG, payload @ ..] => Ok(Self::Payload(Bytes::copy_from_slice(payload))),
            json => serde_json::from_slice(json).map_err(FrameError::Malformed),
        }
    }
}

/// Whether this is the first byte of a TLS handshake. A frame of the handshake never begins with
/// it, because its length is below [`MAX_HELLO_BYTES`].
pub(crate) fn looks_like_tls(first: [u8; 4]) -> bool {
    first[0] == 0x16
}

/// Whether these are the first bytes of an HTTP request, sent to the election port by mistake.
pub(crate) fn looks_like_http(first: [u8; 4]) -> bool {
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"].iter().any(|word| **word == first)
}

#[cfg(test)]
mod tests;
