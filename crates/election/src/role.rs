//! What the rest of the program sees of the election.

use serde::{Deserialize, Serialize};

use rollcall_core::{BootMs, Load, MemberRole, NodeAddr, Term};

/// What this node is in the cluster, as of the last change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Role {
    /// This node's term.
    pub term: Term,
    /// What this node is.
    pub state: RoleState,
    /// The leader this node knows of: itself while it serves; `None` during an election.
    pub leader: Option<Leader>,
    /// Since when no leader is known, on this machine's boot clock; `None` while one is. A node that leads, but does not
    /// serve, knows none.
    pub leaderless_since: Option<BootMs>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoleState {
    /// Won its term. It serves only before `serves_until`, compared with the clock at the moment of each answer.
    Leader {
        /// The end of the lease on this machine's boot clock.
        serves_until: BootMs,
        /// Whether it is about to hand over: it finishes what is under way and begins nothing new.
        handing_over: bool,
    },
    /// Asks for votes, or whether it would get them.
    Candidate,
    /// Follows a leader or waits for one.
    Follower,
}

/// How to reach a leader.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// The leader's name.
    pub node: NodeAddr,
    /// Where its HTTP API is, without a trailing slash: `http://127.0.0.1:3001`.
    pub api_url: String,
    /// The term it leads.
    pub term: Term,
}

/// What is known of one node, for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// The node's name.
    pub node: NodeAddr,
    /// Where its HTTP API is; `None` until it was heard once.
    pub api_url: Option<String>,
    /// What it said it was; `None` until it was heard once.
    pub role: Option<MemberRole>,
    /// Whether a connection to it stands (true for this node itself).
    pub reachable: bool,
    /// The load it told last.
    pub load: Option<Load>,
    /// The term it told last.
    pub term: Option<Term>,
    /// When it was last heard, on this machine's boot clock.
    pub last_heard: Option<BootMs>,
}

impl Role {
    /// The role of a node that has just started.
    #[must_use]
    pub fn starting(term: Term, now: BootMs) -> Self {
        Self { term, state: RoleState::Follower, leader: None, leaderless_since: Some(now) }
    }

    /// Whether this node may answer as the leader at `now`.
    #[must_use]
    pub fn is_serving(&self, now: BootMs) -> bool {
        matches!(self.state, RoleState::Leader { serves_until, .. } if now < serves_until)
    }

    /// Whether this node won its term, serving or not.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.state, RoleState::Leader { .. })
    }

    /// Whether this node is about to hand its leadership over.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        matches!(self.state, RoleState::Leader { handing_over: true, .. })
    }

    /// The leader to name to clients at `now`: never this node itself outside its lease.
    #[must_use]
    pub fn leader_at(&self, now: BootMs) -> Option<&Leader> {
        let lapsed = matches!(self.state, RoleState::Leader { .. }) && !self.is_serving(now);
        self.leader.as_ref().filter(|_| !lapsed)
    }

    /// The role's word for people.
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
