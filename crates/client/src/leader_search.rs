//! Search for the leader among the nodes that are known.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::ClientError;
use super::node_client::NodeClient;
use super::node_list::{NodeList, choose_leader};

/// What a look at all nodes found.
pub(super) struct LeaderSearch {
    pub(super) leader: Option<String>,
    /// Who answered anything.
    pub(super) healthy: Vec<String>,
    /// Why others did not.
    pub(super) failures: Vec<ClientError>,
}

/// Asks all nodes at the same time who leads, and follows that one.
pub(super) async fn find_leader(nodes: &NodeClient, known: &NodeList) -> LeaderSearch {
    let asked = known.all().into_iter().map(|base| async move { (nodes.health(&base).await, base) });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut healthy, mut failures) = (Vec::new(), Vec::new());
    while let Some((health, base)) = asked.next().await {
        match health {
            Ok(health) => {
                let is_leader = health.is_leader;
                healthy.push((base, health));
                // A node that hangs must not keep the client from one that serves.
                if is_leader {
                    break;
                }
            }
            Err(error) => failures.push(error),
        }
    }
    let names = healthy.iter().map(|(base, _)| base.clone()).collect();
    let leader = choose_leader(healthy);
    if let Some(leader) = &leader {
        known.set_leader(leader);
    }
    LeaderSearch { leader, healthy: names, failures }
}

/// Learns the other nodes from the first one that answers.
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
