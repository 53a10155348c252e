//! What this node says of itself at the start of every link, and whom it lets in.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use uuid::Uuid;

use super::complaints::Complaints;
use super::frame::{Hello, PROTOCOL, Purpose};
use super::identities::Identities;
use super::process::{BootId, NodeId, Peers};
use super::proof::Nonce;
use rollcall_core::{ClusterKey, NodeAddr, Timings};

/// The facts about this node that never change while it runs, and what it remembers of those who greeted.
#[derive(Debug)]
pub(super) struct Greeter {
    pub(super) peers: Peers,
    pub(super) boot: BootId,
    pub(super) cluster: Uuid,
    pub(super) api_url: String,
    pub(super) timings: Timings,
    pub(super) net_timeout: Duration,
    pub(super) key: Option<ClusterKey>,
    pub(super) identities: Mutex<Identities>,
    pub(super) complaints: Mutex<Complaints>,
}

impl Greeter {
    /// This node's address, which is its name.
    pub(super) fn me(&self) -> NodeAddr {
        self.peers.addr(self.peers.me())
    }

    /// Which process each name stands for; not to be held for longer than a look.
    pub(super) fn identities(&self) -> MutexGuard<'_, Identities> {
        self.identities.lock().expect("never held across a panic")
    }

    /// What was complained of; not to be held for longer than a look.
    pub(super) fn complaints(&self) -> MutexGuard<'_, Complaints> {
        self.complaints.lock().expect("never held across a panic")
    }

    /// This node's Hello to `to` on a connection with these ends (local, remote).
    pub(super) fn hello(&self, to: NodeAddr, ends: (SocketAddr, SocketAddr), purpose: Purpose, nonce: Nonce) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: self.cluster,
            node: self.me(),
            boot: self.boot,
            to,
            api_url: self.api_url.clone(),
            peers: self.peers.addrs().to_vec(),
            timings: self.timings,
            local: ends.0,
            remote: ends.1,
            purpose,
            keyed: self.key.is_some(),
            nonce,
        }
    }

    /// Who greets, or why it is refused; `mine` is the answer it would get.
    pub(super) fn admit(&self, theirs: &Hello, mine: &Hello) -> Result<NodeId, String> {
        if let Some(difference) = theirs.differs_from(mine) {
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
