//! The application state: everything that handlers can reach.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::error::ApiError;
use super::lists::change_notifier::ListUpdate;
use super::origin_policy::{OriginPolicy, RequestSender};
use crate::registry::Registry;
use rollcall_core::clock;
use rollcall_core::{BootMs, NodeAddr, Term};
use rollcall_election::{Leader, Member, Role};

/// The application state. The composition root (`node.rs`) creates it.
pub struct App {
    /// The use cases: registration, heartbeats, lists, images, passwords.
    pub registry: Registry,
    /// The identity of this node and of this process.
    pub this_node: ThisNode,
    /// The cluster as the election reports it.
    pub cluster: ClusterView,
    /// Freshness of this node's replica of the leader's tables.
    pub replica: ReplicaFreshness,
    /// Web pages that may use the API.
    pub origin_policy: OriginPolicy,
    /// Whether a taken username is answered with 400 instead of 409, as clients of the discovery
    /// server (requirement 000) expect.
    pub discovery_server_compat: bool,
    /// Published whenever the list of online clients or the leadership changes. Long polls wait on
    /// it.
    pub list_updates: watch::Receiver<ListUpdate>,
    /// Tracks requests that the leader is processing. Before a handover, the leader waits until
    /// there are none.
    pub in_flight: TaskTracker,
}

/// The identity of a node and of its process.
#[derive(Clone, Copy, Debug)]
pub struct ThisNode {
    /// The node's name: its election address.
    pub addr: NodeAddr,
    /// The version of the program.
    pub version: &'static str,
    /// Start time of the process, on the boot clock.
    pub started_at: BootMs,
}

/// The cluster as the election sees it at this moment.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The role of this node, as last published by the election.
    pub role: watch::Receiver<Role>,
    /// The last known state of every node.
    pub members: watch::Receiver<Vec<Member>>,
    /// Number of online clients in the cluster, as last reported by the leader. Not used while this
    /// node serves.
    pub online_count: watch::Receiver<u64>,
}

/// Freshness of this node's replica of the leader's tables.
#[derive(Clone, Debug)]
pub struct ReplicaFreshness {
    /// Last time at which the list of online clients was known to be equal to the leader's. `None`
    /// if it never was.
    pub clients_up_to_date_at: watch::Receiver<Option<BootMs>>,
    /// Last time at which the list of users was known to be equal to that of a leader with the
    /// complete list. `None` if it never was.
    pub users_complete_at: watch::Receiver<Option<BootMs>>,
}

/// The application state as the router shares it between requests.
pub(super) type SharedApp = Arc<App>;

impl App {
    /// The term in which this node serves at this moment.
    ///
    /// # Errors
    /// `not_leader` if another node is known to lead, else `no_leader`.
    pub(super) fn serving_term(&self) -> Result<Term, ApiError> {
        let role = self.cluster.role.borrow();
        // The clock is read after the role. Otherwise the end of a lease could be compared with a
        // time before the role was read.
        let now = clock::boot_now();
        if role.is_serving(now) {
            return Ok(role.term);
        }
        Err(self.known_leader(&role, now).cloned().map_or(ApiError::NoLeader, ApiError::NotLeader))
    }

    /// The sender of a request with these headers.
    pub(super) fn sender(&self, headers: &HeaderMap) -> RequestSender {
        self.origin_policy.sender(headers, &self.cluster.members.borrow())
    }

    /// Whether a request from `sender` may change something. Clients of the discovery server are
    /// web pages of any origin.
    pub(super) fn may_change(&self, sender: RequestSender) -> bool {
        sender != RequestSender::ForeignPage || self.discovery_server_compat
    }

    /// The leader to report to clients at `now`.
    ///
    /// Invariant: a node that does not serve never reports itself, even if the election named it.
    /// It must not send clients to itself.
    pub(super) fn known_leader<'r>(&self, role: &'r Role, now: BootMs) -> Option<&'r Leader> {
        role.leader_at(now).filter(|leader| leader.node != self.this_node.addr || role.is_serving(now))
    }
}
