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
    let leader = choose_leader(healthy);
    if let Some(leader) = &leader {
        known.set_leader(leader);
    }
    LeaderSearch { leader, healthy: urls, failures }
}

/// Requests the list of nodes from all known nodes, and adds those of the first response.
pub(super) async fn learn_nodes(nodes: &NodeClient, known: &NodeList) {
    let all = known.all();
    let mut asked: FuturesUnordered<_> = all.iter().map(|base| nodes.cluster(base)).collect();
    while let Some(cluster) = asked.next().await {
        let Ok(cluster) = cluster else { continue };
        for url in cluster.nodes.into_iter().filter_map(|node| node.api_url) {
            known.add(&url);
        }
        return;
    }
}
