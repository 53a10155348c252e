//! Greeting at the start of every link, for both ends. It contains no rules of the election.
//!
//! The proofs come first: TLS with a known certificate at both ends, then the cluster key. Without
//! them the other end learns neither the bucket's id nor the process. With a key, both send a
//! challenge, then the dialler sends its proof, and the acceptor answers with its own proof or with
//! a refusal. The dialler proves first, so that a program without the key gets no proof that it
//! could use to guess the key. At last the dialler sends Hello, and the acceptor answers with Hello
//! or with a refusal.

use std::io;

use bytes::Bytes;
use rand::RngExt;
use tokio::time::timeout;

use super::hello::HelloPolicy;
use super::identities::IdentityCheck;
use super::link::{self, Link, timed_out};
use super::link_stream::LinkStream;
use super::tls_handshakes::tls_failure;
use crate::process::{NodeId, Process};
use crate::wire::frame::{Frame, PROTOCOL};
use crate::wire::hello::{Hello, Purpose, protocol_difference};
use crate::wire::key_proof::{Challenge, KEY_DIFFERS, KeyClaim, Nonce, Transcript, one_sided_key};
use crate::wire::refusal::RefusalKind;
use rollcall_core::{ClusterKey, NodeAddr};

/// Text for a program without proof that has another bucket's id. It does not tell this node's id.
const BUCKET_DIFFERS: &str = "its bucket is not that of this node; the log of this node has both ids";

/// Reason why a dialled connection did not become a link.
#[derive(Debug)]
pub(crate) enum DialError {
    /// The connection failed or timed out. A stopped node is normal, so this needs no warning.
    Unreachable(String),
    /// One of the two nodes refuses the other.
    Refused(RefusalKind, String),
}

/// A greeting that another process started.
pub(crate) struct IncomingHandshake {
    /// Name that the dialler claims.
    pub(crate) claimed: NodeAddr,
    /// With a key: the transcript for proofs, once the dialler has proved that it has the key.
    transcript: Option<Transcript>,
    /// Whether the dialler may learn this node's bucket.
    is_proved: bool,
    /// The dialler, or the reason why it is refused.
    pub(crate) admission: Result<Box<AdmittedNode>, String>,
}

/// A member that dialled.
#[derive(Clone)]
pub(crate) struct AdmittedNode {
    pub(crate) node: NodeId,
    /// Hello of the dialler.
    pub(crate) peer_hello: Hello,
    /// Hello of this node to the dialler.
    own_hello: Hello,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match tls_failure(&error) {
            Some(reason) => Self::config_mismatch(reason),
            None => Self::Unreachable(error.to_string()),
        }
    }
}

impl DialError {
    fn config_mismatch(reason: impl Into<String>) -> Self {
        Self::Refused(RefusalKind::ConfigMismatch, reason.into())
    }
}

/// Dials a node and performs the greeting. Returns the link and the other node's Hello.
pub(crate) async fn dial(policy: &HelloPolicy, to: NodeAddr, purpose: Purpose) -> Result<(Link, Hello), DialError> {
    let mut link = connect(policy, to).await?;
    let transcript = match &policy.proofs.key {
        Some(key) => Some((exchange_proofs(policy, &mut link, to, key).await?, key)),
        None => None,
    };
    let own_hello = policy.hello(to, link.addrs()?, purpose);
    link.write(Frame::Hello(Box::new(own_hello.clone())).encode()).await?;
    let peer_hello = match link.read_handshake().await?.0 {
        Frame::Hello(peer_hello) => *peer_hello,
        Frame::Refused { reason, kind, proof } => {
            let is_authentic = transcript.is_none_or(|(transcript, key)| {
                proof.is_some_and(|proof| transcript.verifies(KeyClaim::Refusal(kind, &reason), &proof, key))
            });
            return Err(refused(kind, reason, is_authentic));
        }
        _ => return Err(DialError::config_mismatch("it sent no Hello")),
    };
    if peer_hello.protocol == own_hello.protocol && peer_hello.node != to {
        return Err(DialError::config_mismatch(format!("node {} answers at that address", peer_hello.node)));
    }
    if let Some(difference) = peer_hello.difference_from(&own_hello) {
        return Err(DialError::config_mismatch(difference));
    }
    check_certificate(policy, &link, to).map_err(DialError::config_mismatch)?;
    link.allow_large_frames();
    Ok((link, peer_hello))
}

/// Dials a node, and performs the TLS handshake.
async fn connect(policy: &HelloPolicy, to: NodeAddr) -> io::Result<Link> {
    let net_timeout = policy.net_timeout();
    let tcp = link::connect(to.socket_addr(), net_timeout).await?;
    let stream = match &policy.proofs.tls {
        None => LinkStream::Plain(tcp),
        Some(tls) => timeout(net_timeout, tls.connect(tcp, to.socket_addr().ip()))
            .await
            .map_err(|_| timed_out("the TLS handshake"))??,
    };
    Ok(Link::new(stream, net_timeout))
}

/// Proves to the acceptor that this node has the key, and verifies the proof of the acceptor.
async fn exchange_proofs(
    policy: &HelloPolicy,
    link: &mut Link,
    to: NodeAddr,
    key: &ClusterKey,
) -> Result<Transcript, DialError> {
    let sent = challenge(policy, to);
    link.write(sent.clone()).await?;
    let (peer_challenge, received) = match link.read_handshake().await? {
        (Frame::Challenge(peer_challenge), received) => (peer_challenge, received),
        (Frame::Refused { reason, kind, .. }, _) => return Err(refused(kind, reason, false)),
        _ => return Err(DialError::config_mismatch("it sent no challenge")),
    };
    if peer_challenge.protocol != PROTOCOL {
        return Err(DialError::config_mismatch(protocol_difference(peer_challenge.protocol, PROTOCOL)));
    }
    let transcript = Transcript { dialler: sent, acceptor: received, channel: link.channel_binding()? };
    link.write(Frame::Proof(transcript.prove(KeyClaim::Dialler, key)).encode()).await?;
    match link.read_handshake().await?.0 {
        Frame::Proof(proof) if transcript.verifies(KeyClaim::Acceptor, &proof, key) => Ok(transcript),
        Frame::Proof(_) => Err(DialError::config_mismatch(KEY_DIFFERS)),
        Frame::Refused { reason, kind, .. } => Err(refused(kind, reason, false)),
        _ => Err(DialError::config_mismatch("it sent no proof of the cluster key")),
    }
}

/// The error for a refusal by the other node. Only an authentic address conflict may end this
/// process, because any program could answer at that address. Without a cluster key every refusal
/// counts as authentic.
fn refused(kind: RefusalKind, reason: String, is_authentic: bool) -> DialError {
    let kind = if kind == RefusalKind::AddressConflict && !is_authentic { RefusalKind::ConfigMismatch } else { kind };
    DialError::Refused(kind, reason)
}

/// Performs the greeting up to the admission decision. An error means that the connection failed or
/// that the dialler is not a node.
pub(crate) async fn accept(policy: &HelloPolicy, link: &mut Link) -> io::Result<IncomingHandshake> {
    let (first, received) = link.read_handshake().await?;
    let (peer_hello, transcript) = match (first, &policy.proofs.key) {
        (Frame::Hello(peer_hello), None) => (*peer_hello, None),
        (Frame::Challenge(peer_challenge), Some(key)) if peer_challenge.protocol == PROTOCOL => {
            let transcript = answer_challenge(policy, link, (&peer_challenge, received), key).await?;
            let Some(transcript) = transcript else {
                return Ok(IncomingHandshake::refused(peer_challenge.node, KEY_DIFFERS.to_owned()));
            };
            match link.read_handshake().await?.0 {
                Frame::Hello(peer_hello) if peer_hello.node == peer_challenge.node => (*peer_hello, Some(transcript)),
                _ => return Err(io::Error::other("it sent no Hello after its proof")),
            }
        }
        (Frame::Challenge(Challenge { node, protocol, .. }), key) => {
            return Ok(IncomingHandshake::refused_without_proof(node, protocol, key.is_some()));
        }
        (Frame::Hello(peer_hello), Some(_)) => {
            return Ok(IncomingHandshake::refused_without_proof(peer_hello.node, peer_hello.protocol, true));
        }
        _ => return Err(io::Error::other("it sent no Hello")),
    };
    let own_hello = policy.hello(peer_hello.node, link.addrs()?, Purpose::Link);
    let claimed = peer_hello.node;
    let certificate = check_certificate(policy, link, claimed);
    let is_proved = transcript.is_some() || (link.certificates().is_some() && certificate.is_ok());
    let admission = certificate
        .and_then(|()| policy.admit(&peer_hello, &own_hello))
        .map(|node| Box::new(AdmittedNode { node, peer_hello, own_hello }));
    Ok(IncomingHandshake { claimed, transcript, is_proved, admission })
}

/// Answers the challenge of a dialler, and verifies its proof. `None` if its key differs.
async fn answer_challenge(
    policy: &HelloPolicy,
    link: &mut Link,
    (peer_challenge, received): (&Challenge, Bytes),
    key: &ClusterKey,
) -> io::Result<Option<Transcript>> {
    let sent = challenge(policy, peer_challenge.node);
    link.write(sent.clone()).await?;
    let (Frame::Proof(proof), _) = link.read_handshake().await? else {
        return Err(io::Error::other("it sent no proof of the cluster key"));
    };
    let transcript = Transcript { dialler: received, acceptor: sent, channel: link.channel_binding()? };
    if peer_challenge.to != policy.me() || !transcript.verifies(KeyClaim::Dialler, &proof, key) {
        return Ok(None);
    }
    link.write(Frame::Proof(transcript.prove(KeyClaim::Acceptor, key)).encode()).await?;
    Ok(Some(transcript))
}

/// Checks that the certificate of the other end proves that it belongs to the cluster.
///
/// An authority may also sign certificates for programs that are no nodes. So its certificate must
/// name the host that the other end claims, and that must be a member. The reason for a refusal
/// tells nothing of the cluster.
fn check_certificate(policy: &HelloPolicy, link: &Link, claimed: NodeAddr) -> Result<(), String> {
    let (Some(tls), Some(certificates)) = (&policy.proofs.tls, link.certificates()) else { return Ok(()) };
    let tls = tls.current();
    tls.check_host(certificates, claimed.socket_addr().ip())?;
    if tls.has_authority() { policy.member(claimed).map(|_| ()) } else { Ok(()) }
}

impl IncomingHandshake {
    fn refused(claimed: NodeAddr, reason: String) -> Self {
        Self { claimed, transcript: None, is_proved: false, admission: Err(reason) }
    }

    /// The refusal of a node of another protocol, or of a node of which only one side has a key.
    fn refused_without_proof(claimed: NodeAddr, protocol: u32, this_node_has_key: bool) -> Self {
        let reason = if protocol == PROTOCOL {
            one_sided_key(this_node_has_key)
        } else {
            protocol_difference(protocol, PROTOCOL)
        };
        Self::refused(claimed, reason)
    }

    /// Sends a refusal, worded for the refused node, and ends the link.
    pub(crate) async fn refuse(&self, policy: &HelloPolicy, mut link: Link, kind: RefusalKind, reason: &str) {
        let reason =
            if !self.is_proved && reason.contains(&policy.cluster.to_string()) { BUCKET_DIFFERS } else { reason };
        let reason = format!("{} refuses this node: {reason}", policy.me());
        let proof_inputs = self.transcript.as_ref().zip(policy.proofs.key.as_ref());
        let proof = proof_inputs.map(|(transcript, key)| transcript.prove(KeyClaim::Refusal(kind, &reason), key));
        if link.write(Frame::Refused { reason, kind, proof }.encode()).await.is_ok() {
            // Close in order, so that the reason arrives. No promise depends on this link.
            link.close_with_bye().await;
        }
    }
}

impl AdmittedNode {
    /// Accepts the dialler as a member.
    pub(crate) async fn accept(&self, link: &mut Link) -> io::Result<()> {
        link.write(Frame::Hello(Box::new(self.own_hello.clone())).encode()).await?;
        link.allow_large_frames();
        Ok(())
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

/// The encoded challenge of this node to `to`.
#[expect(clippy::disallowed_methods, reason = "the driver is the source of randomness for the proofs")]
fn challenge(policy: &HelloPolicy, to: NodeAddr) -> Bytes {
    let nonce = Nonce(rand::rng().random());
    Frame::Challenge(Challenge { protocol: PROTOCOL, node: policy.me(), to, nonce }).encode()
}
