//! What goes over an election link, as bytes: frames of JSON behind a length of four bytes, big endian. Pure.
//!
//! Cargo is the one frame that is no JSON: a zero byte, which begins no JSON text, and then bytes that mean nothing here.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::hello::Hello;
use super::key_proof::KeyProof;
use super::message::Message;
use super::refusal::RefusalKind;
use crate::process::{BootId, NodeId};
use rollcall_core::{Load, MemberRole, NodeAddr, Term};

/// The version of everything in this folder. Nodes of different versions refuse each other.
pub const PROTOCOL: u32 = 4;

/// The longest frame once both sides know each other.
pub(crate) const MAX_FRAME_BYTES: usize = 1 << 20;

/// The longest frame before that, when anything may be at the other end.
pub(crate) const MAX_HELLO_BYTES: usize = 16 << 10;

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// The first frame in both directions.
    Hello(Box<Hello>),
    /// With a cluster key, the second frame in both directions; the last that a link's acceptor ever sends.
    Proof(KeyProof),
    /// Instead of any of these.
    Refused {
        /// Why, for the log.
        reason: String,
        /// Why, for the one who is refused.
        #[serde(default)]
        kind: RefusalKind,
        /// With a cluster key, once the one who is refused has proved that it holds it: that the refusal is real.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<KeyProof>,
    },
    /// From then on, from the one who dialled.
    Message(Box<Envelope>),
    /// The last frame of a process that ends this link in order.
    Bye,
    /// What another part of the program says to itself on the other node. It has an encoding of its own.
    #[serde(skip)]
    Payload(Bytes),
}

/// The first byte of a frame with cargo.
const PAYLOAD_TAG: u8 = 0;

/// A message and what every frame tells of its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) cluster: Uuid,
    pub(crate) from: NodeAddr,
    pub(crate) boot: BootId,
    pub(crate) term: Term,
    pub(crate) load: Load,
    pub(crate) role: MemberRole,
    pub(crate) message: Message,
    /// With a leader hint: where that leader's API is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leader_url: Option<String>,
    /// With a heartbeat: the leader's number for its followers, opaque here.
    #[serde(rename = "note", default, skip_serializing_if = "is_zero")]
    pub(crate) tag: u64,
    /// With a heartbeat: what the leader knows of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<MemberReport>,
}

/// What a leader tells of another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    pub(crate) node: NodeId,
    pub(crate) role: MemberRole,
    pub(crate) load: Load,
    pub(crate) term: Term,
    pub(crate) heard_ms_ago: u64,
}

/// Why bytes are no frame.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
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
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Payload(payload) => [&[PAYLOAD_TAG], &payload[..]].concat().into(),
            frame => serde_json::to_vec(frame).expect("frames are plain data with string keys").into(),
        }
    }

    /// Reads a frame's bytes, without the length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes {
            [PAYLOAD_TAG, payload @ ..] => Ok(Self::Payload(Bytes::copy_from_slice(payload))),
            json => serde_json::from_slice(json).map_err(FrameError::Malformed),
        }
    }
}

/// The first bytes of a request of somebody who takes the election port for the API.
pub(crate) fn looks_like_http(first: [u8; 4]) -> bool {
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"].iter().any(|word| **word == first)
}

#[cfg(test)]
mod tests;
