//! The greeting at the start of every link, from both ends. Holds no policy of the election.
//!
//! Without a cluster key: Hello, and Hello or Refused back. With one: Hello, Hello, the proof of the one who dialled, and
//! the proof of the one who accepted (or a refusal that it proves to be its own). The one who dialled proves first, so
//! that nobody who merely reaches the port gets something to try keys on. Until its proof is verified, nothing is read of
//! a stranger but one Hello and one proof.

use std::io;

use rand::RngExt;
use tokio::time::timeout;

use super::greeter::Greeter;
use super::identities::Meeting;
use super::link::Link;
use crate::process::{NodeId, Process};
use crate::wire::frame::{Frame, PROTOCOL};
use crate::wire::hello::{Hello, KEY_DIFFERS, Purpose};
use crate::wire::proof::{Claim, Nonce, Transcript};
use crate::wire::refusal::RefusalKind;
use rollcall_core::NodeAddr;

/// Why there is no link.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody is there, or nobody that speaks as a node does; nothing to complain of.
    Absent(String),
    /// One of the two refuses the other.
    Refused(RefusalKind, String),
}

/// Somebody who dialled and greeted.
pub(crate) struct Guest {
    pub(crate) theirs: Hello,
    mine: Hello,
    /// With a key: what the final proof is about, once the guest has proved that it holds the key.
    transcript: Option<Transcript>,
    /// Which member it is, or why it is refused.
    pub(crate) verdict: Result<NodeId, String>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Absent(error.to_string())
    }
}

impl Failure {
    fn different(reason: impl Into<String>) -> Self {
        Self::Refused(RefusalKind::Different, reason.into())
    }
}

/// Dials a node and greets it; the link and the other's Hello.
pub(crate) async fn dial(greeter: &Greeter, to: NodeAddr, purpose: Purpose) -> Result<(Link, Hello), Failure> {
    let mut link = Link::dial(to.socket_addr(), greeter.net_timeout()).await?;
    let mine = greeter.hello(to, link.ends()?, purpose, draw_nonce());
    let said = Frame::Hello(Box::new(mine.clone())).encode();
    link.write(said.clone()).await?;
    let (theirs, heard) = match link.read_greeting().await? {
        (Frame::Hello(theirs), heard) => (*theirs, heard),
        (Frame::Refused { reason, kind, .. }, _) => {
            return Err(refused(kind, reason, greeter.key.is_none()));
        }
        _ => return Err(Failure::different("it does not greet")),
    };
    if theirs.keyed != mine.keyed || theirs.protocol != mine.protocol {
        return Err(Failure::different(theirs.differs_from(&mine).unwrap_or_default()));
    }
    if let Some(key) = &greeter.key {
        let transcript = Transcript { dialler: said, acceptor: heard };
        link.write(Frame::Proof(transcript.prove(Claim::Dialler, key)).encode()).await?;
        match link.read_greeting().await?.0 {
            Frame::Proof(proof) if transcript.holds(Claim::Acceptor, &proof, key) => {}
            Frame::Proof(_) => return Err(Failure::different(KEY_DIFFERS)),
            Frame::Refused { reason, kind, proof } => {
                let vouched = proof.is_some_and(|proof| transcript.holds(Claim::Refusal(kind, &reason), &proof, key));
                return Err(refused(kind, reason, vouched));
            }
            _ => return Err(Failure::different("it does not greet")),
        }
    }
    if theirs.node != to {
        return Err(Failure::different(format!("{} answers there", theirs.node)));
    }
    if let Some(difference) = theirs.differs_from(&mine) {
        return Err(Failure::different(difference));
    }
    link.trust();
    Ok((link, theirs))
}

/// A refusal by the other. Only a real one may end this process: not what anybody might have written who can answer at
/// that address.
fn refused(kind: RefusalKind, reason: String, is_vouched: bool) -> Failure {
    let kind = if kind == RefusalKind::Doubled && !is_vouched { RefusalKind::Different } else { kind };
    Failure::Refused(kind, reason)
}

/// Learns who has dialled. An error means that it is no node.
pub(crate) async fn receive(greeter: &Greeter, link: &mut Link) -> io::Result<Guest> {
    let (theirs, heard) = match link.read_greeting().await? {
        (Frame::Hello(theirs), heard) => (*theirs, heard),
        _ => return Err(io::Error::other("it does not greet")),
    };
    let mine = greeter.hello(theirs.node, link.ends()?, Purpose::Link, draw_nonce());
    let Some(key) = greeter.key.as_ref().filter(|_| theirs.keyed && theirs.protocol == PROTOCOL) else {
        let verdict = greeter.admit(&theirs, &mine);
        return Ok(Guest { theirs, mine, transcript: None, verdict });
    };
    let said = Frame::Hello(Box::new(mine.clone())).encode();
    link.write(said.clone()).await?;
    let (Frame::Proof(proof), _) = link.read_greeting().await? else {
        return Err(io::Error::other("it does not prove that it holds the key"));
    };
    let transcript = Transcript { dialler: heard, acceptor: said };
    if !transcript.holds(Claim::Dialler, &proof, key) {
        return Ok(Guest { theirs, mine, transcript: None, verdict: Err(KEY_DIFFERS.to_owned()) });
    }
    let verdict = greeter.admit(&theirs, &mine);
    Ok(Guest { theirs, mine, transcript: Some(transcript), verdict })
}

impl Guest {
    /// Lets it in.
    pub(crate) async fn welcome(&self, greeter: &Greeter, link: &mut Link) -> io::Result<()> {
        let answer = match (&self.transcript, &greeter.key) {
            (Some(transcript), Some(key)) => Frame::Proof(transcript.prove(Claim::Acceptor, key)),
            _ => Frame::Hello(Box::new(self.mine.clone())),
        };
        link.write(answer.encode()).await?;
        link.trust();
        Ok(())
    }

    /// Says why it is refused, from its point of view, and ends the link.
    pub(crate) async fn refuse(&self, greeter: &Greeter, mut link: Link, kind: RefusalKind, reason: &str) {
        let reason = format!("{} refuses this node: {reason}", greeter.me());
        let vouch = self.transcript.as_ref().zip(greeter.key.as_ref());
        let proof = vouch.map(|(transcript, key)| transcript.prove(Claim::Refusal(kind, &reason), key));
        if link.write(Frame::Refused { reason, kind, proof }.encode()).await.is_ok() {
            // Ended in order, so that the reason arrives; nothing was ever promised on this link.
            link.end_in_order().await;
        }
    }
}

/// Looks whether a process that greets has its name for itself: if another process had it, the configured address is
/// dialled, and who answers there has the name. The answer is remembered, because the newcomer may not wait that long.
pub(crate) async fn check_identity(greeter: &Greeter, newcomer: Process) -> Result<(), (RefusalKind, String)> {
    let addr = greeter.peers.addr(newcomer.node);
    let meeting = greeter.identities().meet(newcomer);
    match meeting {
        Meeting::Welcome => return Ok(()),
        Meeting::BeingChecked => {
            let reason = format!("another process was {addr} before, and is being looked for; try again");
            return Err((RefusalKind::NotYet, reason));
        }
        Meeting::Check => {}
    }
    let answered = match timeout(greeter.net_timeout(), dial(greeter, addr, Purpose::Check)).await {
        Ok(Ok((link, theirs))) => {
            link.end_in_order().await;
            Some(theirs.boot)
        }
        Ok(Err(_)) | Err(_) => None,
    };
    if greeter.identities().checked(newcomer, answered) {
        return Ok(());
    }
    let reason = format!(
        "another living process is {addr}: it answers at that address; stop one of the two, or give this one another \
         --this-node"
    );
    Err((RefusalKind::Doubled, reason))
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: the proofs get their randomness from here")]
fn draw_nonce() -> Nonce {
    Nonce(rand::rng().random())
}
