//! What every handler can reach.

use std::sync::Arc;

use axum::http::HeaderValue;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::error::ApiError;
use super::lists::change_notifier::ListUpdate;
use crate::registry::Registry;
use rollcall_core::clock;
use rollcall_core::{BootMs, NodeAddr, Term};
use rollcall_election::{Leader, Member, Role};

/// What the API is made of. The composition root fills it in.
pub struct App {
    /// The use cases.
    pub registry: Registry,
    /// This node and this process.
    pub this_node: ThisNode,
    /// What the election says of the cluster.
    pub cluster: ClusterView,
    /// How old this node's copies of the leader's tables are.
    pub replica: ReplicaFreshness,
    /// Which web pages may read answers.
    pub cors: CorsPolicy,
    /// What whoever waits for a change of the list is told.
    pub list_updates: watch::Receiver<ListUpdate>,
    /// The leader's requests that are under way: a leader that hands over waits for them.
    pub in_flight: TaskTracker,
}

/// A node and its process.
#[derive(Clone, Copy, Debug)]
pub struct ThisNode {
    /// The node's name.
    pub addr: NodeAddr,
    /// The program's version.
    pub version: &'static str,
    /// When the process started.
    pub started_at: BootMs,
}

/// The cluster as the election sees it at this moment.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// What this node is, as the election last said.
    pub role: watch::Receiver<Role>,
    /// What is known of every node.
    pub members: watch::Receiver<Vec<Member>>,
    /// How many clients are online in the cluster, as the leader last said; not read while this node serves.
    pub online_count: watch::Receiver<u64>,
}

/// How old this node's copies of the leader's tables are.
#[derive(Clone, Debug)]
pub struct ReplicaFreshness {
    /// When the copy was last known to be all that the leader knew; `None` if it never was.
    pub clients_up_to_date_at: watch::Receiver<Option<BootMs>>,
    /// The same for the list of users: when it was last known to be a leader's whose list was whole.
    pub users_complete_at: watch::Receiver<Option<BootMs>>,
}

/// The state of the router.
pub(super) type SharedApp = Arc<App>;

/// Which web pages may read answers to GET. Pages of this server's own origin always may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum CorsPolicy {
    /// All.
    #[default]
    Any,
    /// Those of these origins, such as `https://example.org`.
    Origins(Vec<HeaderValue>),
    /// None.
    Off,
}

impl App {
    /// The term in which this node serves at this moment.
    ///
    /// # Errors
    /// What to answer if it does not serve.
    pub(super) fn serving_term(&self) -> Result<Term, ApiError> {
        let role = self.cluster.role.borrow();
        // The clock is read after the role: a lease must not be compared with a time from before it was looked at.
        let now = clock::boot_now();
        if role.is_serving(now) {
            return Ok(role.term);
        }
        Err(self.known_leader(&role, now).cloned().map_or(ApiError::NoLeader, ApiError::NotLeader))
    }

    /// The leader to name to clients at `now`. A node that does not serve must not send clients to itself, whatever it
    /// was told.
    pub(super) fn known_leader<'r>(&self, role: &'r Role, now: BootMs) -> Option<&'r Leader> {
        role.leader_at(now).filter(|leader| leader.node != self.this_node.addr || role.is_serving(now))
    }
}
