//! The greeting at the start of every link, from both ends. Holds no policy of the election.
//!
//! Without a cluster key: Hello, and Hello or Refused back. With one: Hello, Hello, the proof of the one who dialled, and
//! the proof of the one who accepted (or a refusal that it proves to be its own). The one who dialled proves first, so
//! that nobody who merely reaches the port gets something to try keys on. Until its proof is verified, nothing is read of
//! a stranger but one Hello and one proof.

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

/// Why there is no link.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody is there, or nobody that speaks as a node does; nothing to complain of.
    Unreachable(String),
    /// One of the two refuses the other.
    Refused(RefusalKind, String),
}

/// Somebody who dialled and greeted.
pub(crate) struct IncomingHandshake {
    pub(crate) theirs: Hello,
    mine: Hello,
    /// With a key: what the final proof is about, once the guest has proved that it holds the key.
    transcript: Option<Transcript>,
    /// Which member it is, or why it is refused.
    pub(crate) admission: Result<NodeId, String>,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl DialError {
    fn different(reason: impl Into<String>) -> Self {
        Self::Refused(RefusalKind::ConfigMismatch, reason.into())
    }
}

/// Dials a node and greets it; the link and the other's Hello.
pub(crate) async fn dial(policy: &HelloPolicy, to: NodeAddr, purpose: Purpose) -> Result<(Link, Hello), DialError> {
    let mut link = Link::dial(to.socket_addr(), policy.net_timeout()).await?;
    let mine = policy.hello(to, link.addrs()?, purpose, random_nonce());
    let sent = Frame::Hello(Box::new(mine.clone())).encode();
    link.write(sent.clone()).await?;
    let (theirs, received) = match link.read_handshake().await? {
        (Frame::Hello(theirs), received) => (*theirs, received),
        (Frame::Refused { reason, kind, .. }, _) => {
            return Err(refused(kind, reason, policy.key.is_none()));
        }
        _ => return Err(DialError::different("it does not greet")),
    };
    if theirs.keyed != mine.keyed || theirs.protocol != mine.protocol {
        return Err(DialError::different(theirs.difference_from(&mine).unwrap_or_default()));
    }
    if let Some(key) = &policy.key {
        let transcript = Transcript { dialler: sent, acceptor: received };
        link.write(Frame::Proof(transcript.prove(KeyClaim::Dialler, key)).encode()).await?;
        match link.read_handshake().await?.0 {
            Frame::Proof(proof) if transcript.verifies(KeyClaim::Acceptor, &proof, key) => {}
            Frame::Proof(_) => return Err(DialError::different(KEY_DIFFERS)),
            Frame::Refused { reason, kind, proof } => {
                let is_authentic =
                    proof.is_some_and(|proof| transcript.verifies(KeyClaim::Refusal(kind, &reason), &proof, key));
                return Err(refused(kind, reason, is_authentic));
            }
            _ => return Err(DialError::different("it does not greet")),
        }
    }
    if theirs.node != to {
        return Err(DialError::different(format!("{} answers there", theirs.node)));
    }
    if let Some(difference) = theirs.difference_from(&mine) {
        return Err(DialError::different(difference));
    }
    link.allow_large_frames();
    Ok((link, theirs))
}

/// A refusal by the other. Only a real one may end this process: not what anybody might have written who can answer at
/// that address.
fn refused(kind: RefusalKind, reason: String, is_authentic: bool) -> DialError {
    let kind = if kind == RefusalKind::AddressConflict && !is_authentic { RefusalKind::ConfigMismatch } else { kind };
    DialError::Refused(kind, reason)
}

/// Learns who has dialled. An error means that it is no node.
pub(crate) async fn accept_hello(policy: &HelloPolicy, link: &mut Link) -> io::Result<IncomingHandshake> {
    let (theirs, received) = match link.read_handshake().await? {
        (Frame::Hello(theirs), received) => (*theirs, received),
        _ => return Err(io::Error::other("it does not greet")),
    };
    let mine = policy.hello(theirs.node, link.addrs()?, Purpose::Link, random_nonce());
    let Some(key) = policy.key.as_ref().filter(|_| theirs.keyed && theirs.protocol == PROTOCOL) else {
        let admission = policy.admit(&theirs, &mine);
        return Ok(IncomingHandshake { theirs, mine, transcript: None, admission });
    };
    let sent = Frame::Hello(Box::new(mine.clone())).encode();
    link.write(sent.clone()).await?;
    let (Frame::Proof(proof), _) = link.read_handshake().await? else {
        return Err(io::Error::other("it does not prove that it holds the key"));
    };
    let transcript = Transcript { dialler: received, acceptor: sent };
    if !transcript.verifies(KeyClaim::Dialler, &proof, key) {
        return Ok(IncomingHandshake { theirs, mine, transcript: None, admission: Err(KEY_DIFFERS.to_owned()) });
    }
    let admission = policy.admit(&theirs, &mine);
    Ok(IncomingHandshake { theirs, mine, transcript: Some(transcript), admission })
}

impl IncomingHandshake {
    /// Lets it in.
    pub(crate) async fn accept(&self, policy: &HelloPolicy, link: &mut Link) -> io::Result<()> {
        let answer = match (&self.transcript, &policy.key) {
            (Some(transcript), Some(key)) => Frame::Proof(transcript.prove(KeyClaim::Acceptor, key)),
            _ => Frame::Hello(Box::new(self.mine.clone())),
        };
        link.write(answer.encode()).await?;
        link.allow_large_frames();
        Ok(())
    }

    /// Says why it is refused, from its point of view, and ends the link.
    pub(crate) async fn refuse(&self, policy: &HelloPolicy, mut link: Link, kind: RefusalKind, reason: &str) {
        let reason = format!("{} refuses this node: {reason}", policy.me());
        let vouch = self.transcript.as_ref().zip(policy.key.as_ref());
        let proof = vouch.map(|(transcript, key)| transcript.prove(KeyClaim::Refusal(kind, &reason), key));
        if link.write(Frame::Refused { reason, kind, proof }.encode()).await.is_ok() {
            // Ended in order, so that the reason arrives; nothing was ever promised on this link.
            link.close_with_bye().await;
        }
    }
}

/// Looks whether a process that greets has its name for itself: if another process had it, the configured address is
/// dialled, and who answers there has the name. The answer is remembered, because the newcomer may not wait that long.
pub(crate) async fn check_identity(policy: &HelloPolicy, newcomer: Process) -> Result<(), (RefusalKind, String)> {
    let addr = policy.peers.addr(newcomer.node);
    let meeting = policy.identities().claim(newcomer);
    match meeting {
        IdentityCheck::Accepted => return Ok(()),
        IdentityCheck::InProgress => {
            let reason = format!("another process was {addr} before, and is being looked for; try again");
            return Err((RefusalKind::TryAgain, reason));
        }
        IdentityCheck::DialFirst => {}
    }
    let answered = match timeout(policy.net_timeout(), dial(policy, addr, Purpose::Check)).await {
        Ok(Ok((link, theirs))) => {
            link.close_with_bye().await;
            Some(theirs.boot)
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

#[expect(clippy::disallowed_methods, reason = "this is a driver: the proofs get their randomness from here")]
fn random_nonce() -> Nonce {
    Nonce(rand::rng().random())
}
