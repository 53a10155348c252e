//! Public view of the election: this node's role, the leader, and the known members.

use serde::{Deserialize, Serialize};

use rollcall_core::{BootMs, Load, MemberRole, NodeAddr, Term};

/// This node's role in the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Role {
    /// This node's term.
    pub term: Term,
    /// Role of this node in its term.
    pub state: RoleState,
    /// The known leader: this node itself while it serves, `None` during an election.
    pub leader: Option<Leader>,
    /// Since when no leader is known, on this machine's boot clock. `None` while one is known. A
    /// leader that does not serve counts as a node without a leader.
    pub leaderless_since: Option<BootMs>,
}

/// Role of a node in its term.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoleState {
    /// Won the election of its term. It serves only before `serves_until`: the leader gate compares
    /// that with the clock for each request.
    Leader {
        /// End of the lease on this machine's boot clock.
        serves_until: BootMs,
        /// Whether a handover has begun. The leader then finishes the requests in progress and
        /// starts no new ones.
        handing_over: bool,
    },
    /// Asks for pre-votes or for votes.
    Candidate,
    /// Follows a leader or waits for one.
    Follower,
}

/// How to reach a leader.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// Name of the leader.
    pub node: NodeAddr,
    /// Base URL of its HTTP API, without a trailing slash: `http://127.0.0.1:3001`.
    pub api_url: String,
    /// Term that it leads.
    pub term: Term,
}

/// Known state of one node, for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Name of the node.
    pub node: NodeAddr,
    /// Base URL of its HTTP API. `None` until it is known.
    pub api_url: Option<String>,
    /// Last known role. `None` until it is known.
    pub role: Option<MemberRole>,
    /// Whether this node has a link to it. True for this node itself.
    pub reachable: bool,
    /// Last known load.
    pub load: Option<Load>,
    /// Last known term.
    pub term: Option<Term>,
    /// When this information was last received from the node, by this node or by the leader. On
    /// this machine's boot clock.
    pub last_heard: Option<BootMs>,
}

impl Role {
    /// Role of a node that has just started.
    #[must_use]
    pub fn starting(term: Term, now: BootMs) -> Self {
        Self { term, state: RoleState::Follower, leader: None, leaderless_since: Some(now) }
    }

    /// Whether this node may answer as the leader at `now`.
    #[must_use]
    pub fn is_serving(&self, now: BootMs) -> bool {
        matches!(self.state, RoleState::Leader { serves_until, .. } if now < serves_until)
    }

    /// Whether this node won its term, whether it serves or not.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.state, RoleState::Leader { .. })
    }

    /// Whether a handover of this node's leadership has begun.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        matches!(self.state, RoleState::Leader { handing_over: true, .. })
    }

    /// The leader to report to clients at `now`. It is never this node itself outside its lease.
    #[must_use]
    pub fn leader_at(&self, now: BootMs) -> Option<&Leader> {
        let lapsed = matches!(self.state, RoleState::Leader { .. }) && !self.is_serving(now);
        self.leader.as_ref().filter(|_| !lapsed)
    }

    /// The role as it is reported to other nodes and clients.
    #[must_use]
    pub fn member_role(&self) -> MemberRole {
        match self.state {
            RoleState::Leader { .. } => MemberRole::Leader,
            RoleState::Candidate => MemberRole::Candidate,
            RoleState::Follower => MemberRole::Follower,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_serves_and_is_named_only_inside_its_lease() {
        let leader =
            Leader { node: "127.0.0.1:8080".parse().unwrap(), api_url: "http://127.0.0.1:3000".into(), term: Term(3) };
        let role = Role {
            term: Term(3),
            state: RoleState::Leader { serves_until: BootMs(100), handing_over: false },
            leader: Some(leader.clone()),
            leaderless_since: None,
        };
        assert!(role.is_serving(BootMs(99)));
        assert_eq!(role.leader_at(BootMs(99)), Some(&leader));
        assert!(!role.is_serving(BootMs(100)));
        assert_eq!(role.leader_at(BootMs(100)), None);
    }
}
