//! Handshake at the start of every link, for both ends. It contains no rules of the election.
//!
//! Without a cluster key, the dialler sends Hello, and the acceptor answers with Hello or Refused.
//! With a key, both send Hello first. Then the dialler sends its proof, and the acceptor answers
//! with its own proof or with a refusal that contains one. The dialler proves first, so that a
//! program without the key gets no proof that it could use to guess the key. Before its proof is
//! verified, this node reads only one Hello and one proof from the dialler.

use std::io;

use rand::RngExt;
use tokio::time::timeout;

use super::hello::HelloPolicy;
use super::identities::IdentityCheck;
use super::link::Link;
use crate::process::{NodeId, Process};
use crate::wire::frame::{Frame, PROTOCOL};
use crate::wire::hello::{Hello, KEY_DIFFERS, Purpose};
use crate::wire::key_proof::{KeyClaim, Nonce, Transcript};
use crate::wire::refusal::RefusalKind;
use rollcall_core::NodeAddr;

/// Reason why a dialled connection did not become a link.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The connection failed or timed out. A stopped node is normal, so this needs no warning.
    Unreachable(String),
    /// One of the two nodes refuses the other.
    Refused(RefusalKind, String),
}

/// A handshake that another process started.
pub(crate) struct IncomingHandshake {
    /// Hello of the dialler.
    pub(crate) peer_hello: Hello,
    /// Hello of this node to the dialler.
    own_hello: Hello,
    /// With a key: the transcript for the final proof, once the dialler has proved that it has the
    /// key.
    transcript: Option<Transcript>,
    /// The member that dialled, or the reason why it is refused.
    pub(crate) admission: Result<NodeId, String>,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl DialError {
    fn config_mismatch(reason: impl Into<String>) -> Self {
        Self::Refused(RefusalKind::ConfigMismatch, reason.into())
    }
}

/// Dials a node and performs the handshake. Returns the link and the other node's Hello.
pub(crate) async fn dial(policy: &HelloPolicy, to: NodeAddr, purpose: Purpose) -> Result<(Link, Hello), DialError> {
    let mut link = Link::dial(to.socket_addr(), policy.net_timeout()).await?;
    let own_hello = policy.hello(to, link.addrs()?, purpose, random_nonce());
    let sent = Frame::Hello(Box::new(own_hello.clone())).encode();
    link.write(sent.clone()).await?;
    let (peer_hello, received) = match link.read_handshake().await? {
        (Frame::Hello(peer_hello), received) => (*peer_hello, received),
        (Frame::Refused { reason, kind, .. }, _) => {
            return Err(refused(kind, reason, policy.key.is_none()));
        }
        _ => return Err(DialError::config_mismatch("it sent no Hello")),
    };
    if peer_hello.keyed != own_hello.keyed || peer_hello.protocol != own_hello.protocol {
        return Err(DialError::config_mismatch(peer_hello.difference_from(&own_hello).unwrap_or_default()));
    }
    if let Some(key) = &policy.key {
        let transcript = Transcript { dialler: sent, acceptor: received };
        link.write(Frame::Proof(transcript.prove(KeyClaim::Dialler, key)).encode()).await?;
        match link.read_handshake().await?.0 {
            Frame::Proof(proof) if transcript.verifies(KeyClaim::Acceptor, &proof, key) => {}
            Frame::Proof(_) => return Err(DialError::config_mismatch(KEY_DIFFERS)),
            Frame::Refused { reason, kind, proof } => {
                let is_authentic =
                    proof.is_some_and(|proof| transcript.verifies(KeyClaim::Refusal(kind, &reason), &proof, key));
                return Err(refused(kind, reason, is_authentic));
            }
            _ => return Err(DialError::config_mismatch("it sent no proof of the cluster key")),
        }
    }
    if peer_hello.node != to {
        return Err(DialError::config_mismatch(format!("node {} answers at that address", peer_hello.node)));
    }
    if let Some(difference) = peer_hello.difference_from(&own_hello) {
        return Err(DialError::config_mismatch(difference));
    }
    link.allow_large_frames();
    Ok((link, peer_hello))
}

/// The error for a refusal by the other node. Only an authentic address conflict may end this
/// process, because any program could answer at that address. Without a cluster key every refusal
/// counts as authentic.
fn refused(kind: RefusalKind, reason: String, is_authentic: bool) -> DialError {
    let kind = if kind == RefusalKind::AddressConflict && !is_authentic { RefusalKind::ConfigMismatch } else { kind };
    DialError::Refused(kind, reason)
}

/// Performs the handshake up to the admission decision. An error means that the connection failed
/// or that the dialler is not a node.
pub(crate) async fn accept_hello(policy: &HelloPolicy, link: &mut Link) -> io::Result<IncomingHandshake> {
    let (peer_hello, received) = match link.read_handshake().await? {
        (Frame::Hello(peer_hello), received) => (*peer_hello, received),
        _ => return Err(io::Error::other("it sent no Hello")),
    };
    let own_hello = policy.hello(peer_hello.node, link.addrs()?, Purpose::Link, random_nonce());
    let Some(key) = policy.key.as_ref().filter(|_| peer_hello.keyed && peer_hello.protocol == PROTOCOL) else {
        let admission = policy.admit(&peer_hello, &own_hello);
        return Ok(IncomingHandshake { peer_hello, own_hello, transcript: None, admission });
    };
    let sent = Frame::Hello(Box::new(own_hello.clone())).encode();
    link.write(sent.clone()).await?;
    let (Frame::Proof(proof), _) = link.read_handshake().await? else {
        return Err(io::Error::other("it sent no proof of the cluster key"));
    };
    let transcript = Transcript { dialler: received, acceptor: sent };
    if !transcript.verifies(KeyClaim::Dialler, &proof, key) {
        return Ok(IncomingHandshake {
            peer_hello,
            own_hello,
            transcript: None,
            admission: Err(KEY_DIFFERS.to_owned()),
        });
    }
    let admission = policy.admit(&peer_hello, &own_hello);
    Ok(IncomingHandshake { peer_hello, own_hello, transcript: Some(transcript), admission })
}

impl IncomingHandshake {
    /// Accepts the dialler as a member.
    pub(crate) async fn accept(&self, policy: &HelloPolicy, link: &mut Link) -> io::Result<()> {
        let answer = match (&self.transcript, &policy.key) {
            (Some(transcript), Some(key)) => Frame::Proof(transcript.prove(KeyClaim::Acceptor, key)),
            _ => Frame::Hello(Box::new(self.own_hello.clone())),
        };
        link.write(answer.encode()).await?;
        link.allow_large_frames();
        Ok(())
    }

    /// Sends a refusal, worded for the refused node, and ends the link.
    pub(crate) async fn refuse(&self, policy: &HelloPolicy, mut link: Link, kind: RefusalKind, reason: &str) {
        let reason = format!("{} refuses this node: {reason}", policy.me());
        let proof_inputs = self.transcript.as_ref().zip(policy.key.as_ref());
        let proof = proof_inputs.map(|(transcript, key)| transcript.prove(KeyClaim::Refusal(kind, &reason), key));
        if link.write(Frame::Refused { reason, kind, proof }.encode()).await.is_ok() {
            // Close in order, so that the reason arrives. No promise depends on this link.
            link.close_with_bye().await;
        }
    }
}

/// Checks whether a connecting process owns its node's address. If another process had the address
/// before, this node dials the configured address, and the process that answers owns it. The result
/// is stored, because the newcomer may give up before the check is over.
pub(crate) async fn check_identity(policy: &HelloPolicy, newcomer: Process) -> Result<(), (RefusalKind, String)> {
    let addr = policy.peers.addr(newcomer.node);
    let identity = policy.identities().claim(newcomer);
    match identity {
        IdentityCheck::Accepted => return Ok(()),
        IdentityCheck::InProgress => {
            let reason = format!(
                "another process had the address {addr} before; this node checks which process answers at that address; \
                 try again"
            );
            return Err((RefusalKind::TryAgain, reason));
        }
        IdentityCheck::DialFirst => {}
    }
    let answered = match timeout(policy.net_timeout(), dial(policy, addr, Purpose::Check)).await {
        Ok(Ok((link, peer_hello))) => {
            link.close_with_bye().await;
            Some(peer_hello.boot)
        }
        Ok(Err(_)) | Err(_) => None,
    };
    if policy.identities().resolve(newcomer, answered) {
        return Ok(());
    }
    let reason = format!(
        "another living process is {addr}: it answers at that address; stop one of the two, or give this one another \
         --this-node"
    );
    Err((RefusalKind::AddressConflict, reason))
}

#[expect(clippy::disallowed_methods, reason = "the driver is the source of randomness for the proofs")]
fn random_nonce() -> Nonce {
    Nonce(rand::rng().random())
}
