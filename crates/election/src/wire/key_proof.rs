//! HMAC challenge-response: proves possession of the cluster key without sending it. Pure.
//!
//! Both nodes send a challenge first. A proof is an HMAC-SHA256 over the claim and over both
//! challenges, byte for byte as they were sent. The challenges contain a fresh random number of
//! each side and both names. Therefore a proof cannot be replayed on another connection (the
//! verifier's random number differs), reflected (each side's proof has its own label), or used for
//! another node. A challenge tells nothing else: neither the process nor the bucket.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::refusal::RefusalKind;
use rollcall_core::{ClusterKey, NodeAddr};

/// Log text of both nodes when their keys differ. It reveals nothing about the keys.
pub(crate) const KEY_DIFFERS: &str = "the cluster_key differs";

/// Domain separator: no other use of the same secret gives the same MAC. Its number is constant
/// and does not follow `PROTOCOL`.
const DOMAIN: &[u8] = b"rollcall election link, protocol 2";

/// Random number that is used once. The driver generates it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Nonce(pub(crate) [u64; 4]);

/// First frame of a node with a cluster key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Challenge {
    /// Protocol version of the sender.
    pub(crate) protocol: u32,
    /// Name of the sender.
    pub(crate) node: NodeAddr,
    /// Name of the node that the sender dialled or answers.
    pub(crate) to: NodeAddr,
    /// Random number for this connection.
    pub(crate) nonce: Nonce,
}

/// HMAC that proves possession of the key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyProof([u8; 32]);

/// The two challenges of one connection, as they were sent and received.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub(crate) dialler: Bytes,
    pub(crate) acceptor: Bytes,
    /// With TLS: keying material of the connection. So a proof cannot be passed on over another
    /// TLS connection.
    pub(crate) channel: Option<[u8; 32]>,
}

/// Statement that a proof authenticates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyClaim<'a> {
    /// The dialler has the key.
    Dialler,
    /// The acceptor has the key.
    Acceptor,
    /// The acceptor has the key and refuses the dialler for this reason.
    Refusal(RefusalKind, &'a str),
}

impl Transcript {
    /// The proof of a claim about this connection.
    pub(crate) fn prove(&self, claim: KeyClaim<'_>, key: &ClusterKey) -> KeyProof {
        KeyProof(self.mac(claim, key).finalize().into_bytes().into())
    }

    /// Whether `proof` proves the claim. The comparison takes constant time.
    pub(crate) fn verifies(&self, claim: KeyClaim<'_>, proof: &KeyProof, key: &ClusterKey) -> bool {
        self.mac(claim, key).verify_slice(&proof.0).is_ok()
    }

    fn mac(&self, claim: KeyClaim<'_>, key: &ClusterKey) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal()).expect("an HMAC takes keys of any length");
        let (label, reason) = match claim {
            KeyClaim::Dialler => ("dialler".to_owned(), ""),
            KeyClaim::Acceptor => ("acceptor".to_owned(), ""),
            KeyClaim::Refusal(kind, reason) => (format!("refusal {}", kind.wire_name()), reason),
        };
        // The length stands before each part, so that no bytes can move from one part to the next.
        let parts = [DOMAIN, label.as_bytes(), reason.as_bytes(), &self.dialler, &self.acceptor];
        for part in parts.into_iter().chain(self.channel.as_ref().map(|channel| &channel[..])) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

/// Text about a node of which only one side has a key, worded for this node.
pub(crate) fn one_sided_key(this_node_has_it: bool) -> String {
    let (with, without) = if this_node_has_it { ("this node", "it") } else { ("it", "this node") };
    format!("{KEY_DIFFERS}: {with} has one, {without} has none; give all nodes the same key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> ClusterKey {
        text.parse().expect("long enough")
    }

    fn transcript(dialler: &'static str, acceptor: &'static str) -> Transcript {
        Transcript { dialler: dialler.into(), acceptor: acceptor.into(), channel: None }
    }

    #[test]
    fn a_proof_is_valid_only_for_its_claim_connection_and_key() {
        let right = key("the key of the cluster");
        let original = transcript("challenge of A, 1", "challenge of B, 2");
        let claims = [
            KeyClaim::Dialler,
            KeyClaim::Acceptor,
            KeyClaim::Refusal(RefusalKind::AddressConflict, "why"),
            KeyClaim::Refusal(RefusalKind::AddressConflict, "because"),
        ];
        for (index, claim) in claims.into_iter().enumerate() {
            let proof = original.prove(claim, &right);
            for (other_index, other) in claims.into_iter().enumerate() {
                assert_eq!(original.verifies(other, &proof, &right), index == other_index, "{claim:?} as {other:?}");
            }
            assert!(!original.verifies(claim, &proof, &key("the key of the clusteR")), "another key");
            for other_transcript in [
                transcript("challenge of A, 1", "challenge of B, 3"),
                transcript("challenge of C, 1", "challenge of B, 2"),
                transcript("challenge of B, 2", "challenge of A, 1"),
                transcript("challenge of A, 1c", "hallenge of B, 2"),
                Transcript { channel: Some([1; 32]), ..original.clone() },
            ] {
                assert!(!other_transcript.verifies(claim, &proof, &right), "{other_transcript:?}");
            }
        }
    }
}
