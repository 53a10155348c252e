//! Content of this node's Hello, and admission of other nodes by their Hello.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use super::identities::Identities;
use super::log_throttle::LogThrottle;
use super::tls_handshakes::TlsHandshakes;
use crate::process::{BootId, NodeId, Peers};
use crate::tls::LinkCertificates;
use crate::wire::frame::PROTOCOL;
use crate::wire::hello::{Hello, Purpose};
use rollcall_core::{ClusterKey, NodeAddr, Timings};

/// Proofs that nodes give each other at the beginning of a link.
#[derive(Debug)]
pub(crate) struct LinkProofs {
    /// With TLS: that they have the private key of an accepted certificate.
    pub(crate) tls: Option<TlsHandshakes>,
    /// That they have the shared secret of the cluster, if it has one.
    pub(crate) key: Option<ClusterKey>,
}

/// This node's identity and settings, the owners of node addresses, and the log throttle of
/// refusals.
#[derive(Debug)]
pub(crate) struct HelloPolicy {
    /// The members of the cluster and this node.
    pub(crate) peers: Peers,
    /// Random number of this process start.
    pub(crate) boot: BootId,
    /// Id of the bucket.
    pub(crate) cluster: Uuid,
    /// Base URL of this node's API.
    pub(crate) api_url: String,
    /// Timings of the election.
    pub(crate) timings: Timings,
    /// Proofs that a link needs.
    pub(crate) proofs: LinkProofs,
    /// The owner process of each node's address.
    pub(crate) identities: Mutex<Identities>,
    /// Rate limit for log lines about refusals.
    pub(crate) log_throttle: Mutex<LogThrottle>,
}

impl HelloPolicy {
    /// This node's address, which is its name.
    pub(crate) fn me(&self) -> NodeAddr {
        self.peers.addr(self.peers.me())
    }

    /// Timeout for every connect, answer and write.
    pub(crate) fn net_timeout(&self) -> Duration {
        Duration::from_millis(self.timings.net_timeout_ms)
    }

    /// The owner process of each node's address. Hold the lock only for one call.
    pub(crate) fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identities.lock().expect("never held across a panic")
    }

    /// The throttle for log lines about refusals. Hold the lock only for one call.
    pub(crate) fn log_throttle(&self) -> MutexGuard<'_, LogThrottle> {
        self.log_throttle.lock().expect("never held across a panic")
    }

    /// Waits until this node does not accept the certificates of a link any more. Without TLS it
    /// waits for ever.
    pub(crate) async fn wait_until_distrusted(&self, link: Option<&LinkCertificates>) {
        match (&self.proofs.tls, link) {
            (Some(tls), Some(link)) => tls.wait_until_distrusted(link).await,
            _ => pending().await,
        }
    }

    /// This node's Hello to `to`. `addrs` are the local and the remote address of the connection.
    pub(crate) fn hello(&self, to: NodeAddr, addrs: (SocketAddr, SocketAddr), purpose: Purpose) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: self.cluster,
            node: self.me(),
            boot: self.boot,
            to,
            api_url: self.api_url.clone(),
            peers: self.peers.addrs().to_vec(),
            timings: self.timings,
            local: addrs.0,
            remote: addrs.1,
            purpose,
        }
    }

    /// Admits the sender of `peer_hello` or gives the reason for a refusal. `own_hello` is this
    /// node's Hello to it.
    pub(crate) fn admit(&self, peer_hello: &Hello, own_hello: &Hello) -> Result<NodeId, String> {
        if let Some(difference) = peer_hello.difference_from(own_hello) {
            return Err(difference);
        }
        match self.member(peer_hello.node)? {
            node if node == self.peers.me() => {
                Err(format!("{} is this node's own address: give every node its own --this-node", peer_hello.node))
            }
            node => Ok(node),
        }
    }

    /// The member with this address, or the reason for a refusal.
    pub(crate) fn member(&self, node: NodeAddr) -> Result<NodeId, String> {
        self.peers.id(node).ok_or_else(|| format!("{node} is not in `peers`"))
    }
}
