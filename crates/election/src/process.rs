//! Names of nodes and processes, as the election counts them.

use serde::{Deserialize, Serialize};

use rollcall_core::{MAX_NODES, NodeAddr, Term};

/// A node's place in the sorted list of `peers`; the same on every node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct NodeId(pub u8);

/// Drawn at random when a process starts, so that a node that was restarted is not taken for what it was.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct BootId(pub u64);

/// One process of one node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Process {
    /// Which node.
    pub node: NodeId,
    /// Which start of it.
    pub boot: BootId,
}

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct NodeSet(u8);

impl NodeSet {
    /// The set of one node.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        Self(1 << node.0)
    }

    /// Adds `node`.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= 1 << node.0;
    }

    /// Takes `node` out.
    pub fn remove(&mut self, node: NodeId) {
        self.0 &= !(1 << node.0);
    }

    /// Whether `node` is in it.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// How many nodes are in it.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no node is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes that are in this set and not in `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The members of the cluster, sorted, so that every node numbers them alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peers {
    nodes: Vec<NodeAddr>,
    me: NodeId,
}

impl Peers {
    /// The members; `None` if `me` is not among them or there are more than [`MAX_NODES`].
    #[must_use]
    pub fn new(mut nodes: Vec<NodeAddr>, me: NodeAddr) -> Option<Self> {
        nodes.sort_unstable();
        nodes.dedup();
        let place = nodes.iter().position(|node| *node == me)?;
        let me = NodeId(u8::try_from(place).ok()?);
        (nodes.len() <= MAX_NODES).then_some(Self { nodes, me })
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A member's address.
    ///
    /// # Panics
    /// If the id is not of this list; ids come from [`Self::id`] and [`Self::ids`] only.
    #[must_use]
    pub fn addr(&self, id: NodeId) -> NodeAddr {
        self.nodes[usize::from(id.0)]
    }

    /// The member at `addr`.
    #[must_use]
    pub fn id(&self, addr: NodeAddr) -> Option<NodeId> {
        self.nodes.binary_search(&addr).ok().and_then(|place| u8::try_from(place).ok()).map(NodeId)
    }

    /// Every member.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        all_ids(self.nodes.len())
    }

    /// Every member but this node.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.me;
        self.ids().filter(move |id| *id != me)
    }

    /// The addresses, sorted.
    #[must_use]
    pub fn addrs(&self) -> &[NodeAddr] {
        &self.nodes
    }
}

/// The ids of a cluster of `count` nodes.
pub(super) fn all_ids(count: usize) -> impl Iterator<Item = NodeId> {
    (0..u8::try_from(count.min(MAX_NODES)).unwrap_or(0)).map(NodeId)
}

/// A node's term and the vote it gave in it; what must never be forgotten.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ballot {
    /// The highest term this node took part in; 0 before its first election.
    pub term: Term,
    /// Whom it voted for in that term. Its own name without a candidacy means that it abstains in the term.
    pub voted_for: Option<NodeId>,
}
