//! Search for the leader among the known nodes.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::ClientError;
use super::node_client::NodeClient;
use super::node_list::{NodeList, choose_leader};

/// Result of one search. A search that finds the leader does not wait for the other nodes, so the
/// lists may be incomplete.
pub(super) struct LeaderSearch {
    /// Base URL of the leader.
    pub(super) leader: Option<String>,
    /// Base URL of a leader that is not a known node.
    pub(super) unknown_leader: Option<String>,
    /// Base URLs of the nodes that responded.
    pub(super) healthy: Vec<String>,
    /// Errors of the nodes that failed to respond.
    pub(super) failures: Vec<ClientError>,
}

/// Asks all known nodes concurrently, and records the leader in `known`.
pub(super) async fn find_leader(nodes: &NodeClient, known: &NodeList) -> LeaderSearch {
    let asked = known.all().into_iter().map(|base| async move { (nodes.health(&base).await, base) });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut healthy, mut failures) = (Vec::new(), Vec::new());
    while let Some((health, base)) = asked.next().await {
        match health {
            Ok(health) => {
                let is_leader = health.is_leader;
                healthy.push((base, health));
                // Do not wait for the other nodes: one of them may hang.
                if is_leader {
                    break;
                }
            }
            Err(error) => failures.push(error),
        }
    }
    let urls = healthy.iter().map(|(base, _)| base.clone()).collect();
    let (leader, unknown_leader) = match choose_leader(healthy) {
        Some(leader) if set_leader(&leader, nodes, known).await => (known.leader(), None),
        unknown => (None, unknown),
    };
    LeaderSearch { leader, unknown_leader, healthy: urls, failures }
}

/// Sets the leader that a node named. If it is unknown, first learns the nodes of the cluster.
/// Returns whether it is a known node then.
pub(super) async fn set_leader(leader: &str, nodes: &NodeClient, known: &NodeList) -> bool {
    if !known.set_leader(leader) {
        learn_until(|| known.set_leader(leader), nodes, known).await;
    }
    known.leader().is_some()
}

/// Requests the list of nodes from the given nodes, and adds those of the first response.
pub(super) async fn learn_nodes(nodes: &NodeClient, known: &NodeList) {
    learn_until(|| true, nodes, known).await;
}

/// Requests the list of nodes from the given nodes, and adds the nodes of each response, until
/// `is_enough` is true after one of them.
async fn learn_until(is_enough: impl Fn() -> bool, nodes: &NodeClient, known: &NodeList) {
    let ask = |base: String| async move { (nodes.cluster(&base).await, base) };
    let mut asked: FuturesUnordered<_> = known.given().into_iter().map(ask).collect();
    while let Some((cluster, base)) = asked.next().await {
        let Ok(cluster) = cluster else { continue };
        for url in cluster.nodes.into_iter().filter_map(|node| node.api_url) {
            known.add(&base, &url);
        }
        if is_enough() {
            return;
        }
    }
}
