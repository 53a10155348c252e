//! What this node says of itself at the start of every link, and whom it lets in.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use super::identities::Identities;
use super::log_throttle::LogThrottle;
use crate::process::{BootId, NodeId, Peers};
use crate::wire::frame::PROTOCOL;
use crate::wire::hello::{Hello, Purpose};
use crate::wire::key_proof::Nonce;
use rollcall_core::{ClusterKey, NodeAddr, Timings};

/// The facts about this node that never change while it runs, and what it remembers of those who greeted.
#[derive(Debug)]
pub(crate) struct HelloPolicy {
    pub(crate) peers: Peers,
    pub(crate) boot: BootId,
    pub(crate) cluster: Uuid,
    pub(crate) api_url: String,
    pub(crate) timings: Timings,
    pub(crate) key: Option<ClusterKey>,
    pub(crate) identities: Mutex<Identities>,
    pub(crate) log_throttle: Mutex<LogThrottle>,
}

impl HelloPolicy {
    /// This node's address, which is its name.
    pub(crate) fn me(&self) -> NodeAddr {
        self.peers.addr(self.peers.me())
    }

    /// The bound on every connect, answer and write.
    pub(crate) fn net_timeout(&self) -> Duration {
        Duration::from_millis(self.timings.net_timeout_ms)
    }

    /// Which process each name stands for; not to be held for longer than a look.
    pub(crate) fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identities.lock().expect("never held across a panic")
    }

    /// What was complained of; not to be held for longer than a look.
    pub(crate) fn log_throttle(&self) -> MutexGuard<'_, LogThrottle> {
        self.log_throttle.lock().expect("never held across a panic")
    }

    /// This node's Hello to `to` on a connection with these ends (local, remote).
    pub(crate) fn hello(&self, to: NodeAddr, addrs: (SocketAddr, SocketAddr), purpose: Purpose, nonce: Nonce) -> Hello {
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
            keyed: self.key.is_some(),
            nonce,
        }
    }

    /// Who greets, or why it is refused; `mine` is the answer it would get.
    pub(crate) fn admit(&self, theirs: &Hello, mine: &Hello) -> Result<NodeId, String> {
        if let Some(difference) = theirs.difference_from(mine) {
            return Err(difference);
        }
        match self.peers.id(theirs.node) {
            None => Err(format!("{} is not in `peers`", theirs.node)),
            Some(node) if node == self.peers.me() => {
                Err(format!("{} is this node's own address: give every node its own --this-node", theirs.node))
            }
            Some(node) => Ok(node),
        }
    }
}
