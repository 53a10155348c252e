//! What this node says of itself at the start of every link, and whom it lets in.

use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::frame::{Hello, PROTOCOL, Timings};
use super::process::{BootId, NodeId, Peers};
use crate::domain::NodeAddr;

/// The facts about this node that never change while it runs.
#[derive(Debug)]
pub(super) struct Greeter {
    pub(super) peers: Peers,
    pub(super) boot: BootId,
    pub(super) cluster: Uuid,
    pub(super) api_url: String,
    pub(super) timings: Timings,
    pub(super) net_timeout: Duration,
}

impl Greeter {
    /// This node's address, which is its name.
    pub(super) fn me(&self) -> NodeAddr {
        self.peers.addr(self.peers.me())
    }

    /// This node's Hello to `to` on a connection with these ends.
    pub(super) fn hello(&self, to: NodeAddr, local: SocketAddr, remote: SocketAddr) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: self.cluster,
            node: self.me(),
            boot: self.boot,
            to,
            api_url: self.api_url.clone(),
            peers: self.peers.addrs().to_vec(),
            timings: self.timings,
            local,
            remote,
        }
    }

    /// Who greets, or why it is refused.
    pub(super) fn admit(&self, theirs: &Hello, local: SocketAddr, remote: SocketAddr) -> Result<NodeId, String> {
        if let Some(difference) = theirs.differs_from(&self.hello(theirs.node, local, remote)) {
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
