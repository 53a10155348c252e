//! Identifiers of nodes and processes, and the ballot.

use serde::{Deserialize, Serialize};

use rollcall_core::{MAX_NODES, NodeAddr, Term};

/// Index of a node in the sorted list of `peers`. It is the same on every node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct NodeId(pub u8);

/// Random number of one process start. It distinguishes a restarted node from its earlier process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BootId(pub u64);

/// One process of one node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Process {
    /// The node.
    pub node: NodeId,
    /// The process start.
    pub boot: BootId,
}

/// Set of nodes, as a bit mask.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct NodeSet(u8);

impl NodeSet {
    /// The set with one node.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        Self(1 << node.0)
    }

    /// Adds `node`.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.0;
    }

    /// Removes `node`.
    pub fn remove(&mut self, node: NodeId) {
        self.0 &= !(1 << node.0);
    }

    /// Whether the set contains `node`.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// Number of nodes in the set.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes of this set that are not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The members of the cluster, sorted, so that every node assigns the same ids.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peers {
    nodes: Vec<NodeAddr>,
    me: NodeId,
}

impl Peers {
    /// The members. `None` if `me` is not among them or there are more than [`MAX_NODES`].
    #[must_use]
    pub fn new(mut nodes: Vec<NodeAddr>, me: NodeAddr) -> Option<Self> {
        nodes.sort_unstable();
        nodes.dedup();
        let index = nodes.iter().position(|node| *node == me)?;
        let me = NodeId(u8::try_from(index).ok()?);
        (nodes.len() <= MAX_NODES).then_some(Self { nodes, me })
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Number of members.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Address of a member.
    ///
    /// # Panics
    /// If the id is not in this list. Take ids from [`Self::id`] and [`Self::ids`] only.
    #[must_use]
    pub fn addr(&self, id: NodeId) -> NodeAddr {
        self.nodes[usize::from(id.0)]
    }

    /// Id of the member at `addr`.
    #[must_use]
    pub fn id(&self, addr: NodeAddr) -> Option<NodeId> {
        self.nodes.binary_search(&addr).ok().and_then(|index| u8::try_from(index).ok()).map(NodeId)
    }

    /// Ids of all members.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        all_ids(self.nodes.len())
    }

    /// Ids of all members except this node.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.me;
        self.ids().filter(move |id| *id != me)
    }

    /// Addresses of all members, sorted.
    #[must_use]
    pub fn addrs(&self) -> &[NodeAddr] {
        &self.nodes
    }
}

/// Ids of a cluster of `count` nodes.
pub(super) fn all_ids(count: usize) -> impl Iterator<Item = NodeId> {
    (0..u8::try_from(count.min(MAX_NODES)).unwrap_or(0)).map(NodeId)
}

/// A node's term and its vote in that term (Raft's persistent state). A node must never forget it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ballot {
    /// Highest term that this node took part in. 0 before its first election.
    pub term: Term,
    /// Candidate that got the vote of this term. If it is the node's own id and the node did not
    /// campaign, the node abstains in this term.
    pub voted_for: Option<NodeId>,
}
