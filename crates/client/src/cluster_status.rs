//! Cluster status: one row for each node.
//!
//! A node that responds reports about itself. The leader reports about the nodes that do not
//! respond; without a leader, the first node that responds does.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Serialize;

use super::node_client::NodeClient;
use super::node_list::NodeList;
use rollcall_core::api::{ClusterNode, Health};
use rollcall_core::{MemberRole, NodeAddr, Term};

/// Status of one node, or of a server that does not respond and is not known as a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Name of the node; `None` for a server that is not known as a node.
    pub node: Option<NodeAddr>,
    /// Base URL of its HTTP API.
    pub api_url: Option<String>,
    /// Whether it answered this client.
    pub reachable: bool,
    /// Whether it is the leader and serves clients now.
    pub is_leader: bool,
    /// Its role: from its own response, or from the report of another node.
    pub role: Option<MemberRole>,
    /// Its term: from its own response, or from the report of another node.
    pub term: Option<Term>,
    /// CPU load, 0.0 to 1.0.
    pub load: Option<f64>,
    /// Milliseconds since the reporting node, usually the leader, received the last message from
    /// it.
    pub last_heard_ago_ms: Option<u64>,
    /// Number of online clients that it reports.
    pub online_clients_count: Option<u64>,
    /// Version of its program.
    pub version: Option<String>,
    /// Whole seconds since its process started.
    pub uptime_seconds: Option<u64>,
}

/// Requests the lists of nodes of all given nodes, then the health of these nodes and of all nodes
/// in the lists. The requests of each step are concurrent.
pub(super) async fn cluster_status(nodes: &NodeClient, known: &NodeList) -> Vec<NodeStatus> {
    let given = known.given();
    let clusters = join_all(given.iter().map(|base| nodes.cluster(base))).await;
    for (base, cluster) in given.iter().zip(&clusters) {
        for url in cluster.iter().flat_map(|cluster| &cluster.nodes).filter_map(|node| node.api_url.as_ref()) {
            known.add(base, url);
        }
    }
    let asked = known.all().into_iter().map(|base| async move { (nodes.health(&base).await.ok(), base) });
    let responses = join_all(asked).await;
    // The leader exchanges messages with all nodes. A follower knows the other followers only from
    // the leader.
    let leader = responses.iter().find(|(health, _)| health.as_ref().is_some_and(|health| health.is_leader));
    let reports = match leader {
        Some((_, base)) => nodes.cluster(base).await.ok(),
        None => clusters.into_iter().flatten().next(),
    };
    merge(responses, reports.map(|cluster| cluster.nodes).unwrap_or_default())
}

/// One row for each node, sorted by name, then one for each server that is not known as a node.
fn merge(responses: Vec<(Option<Health>, String)>, reports: Vec<ClusterNode>) -> Vec<NodeStatus> {
    let mut nodes: BTreeMap<NodeAddr, NodeStatus> = BTreeMap::new();
    let mut other_servers = Vec::new();
    for report in reports {
        nodes.insert(report.node, NodeStatus::from_report(report));
    }
    for (health, base) in responses {
        match health {
            Some(health) => {
                let row = nodes.entry(health.node).or_insert_with(|| NodeStatus::unreachable(base));
                row.set_health(health);
            }
            None if nodes.values().any(|row| row.api_url.as_deref() == Some(&base)) => {}
            None => other_servers.push(NodeStatus::unreachable(base)),
        }
    }
    nodes.into_values().chain(other_servers).collect()
}

impl NodeStatus {
    fn unreachable(base: String) -> Self {
        Self {
            node: None,
            api_url: Some(base),
            reachable: false,
            is_leader: false,
            role: None,
            term: None,
            load: None,
            last_heard_ago_ms: None,
            online_clients_count: None,
            version: None,
            uptime_seconds: None,
        }
    }

    fn from_report(report: ClusterNode) -> Self {
        Self {
            node: Some(report.node),
            api_url: report.api_url,
            role: report.role,
            term: report.term,
            load: report.load,
            last_heard_ago_ms: report.last_heard_ago_ms,
            ..Self::unreachable(String::new())
        }
    }

    fn set_health(&mut self, health: Health) {
        self.node = Some(health.node);
        self.reachable = true;
        self.is_leader = health.is_leader;
        self.role = Some(health.role);
        self.term = Some(health.term);
        self.online_clients_count = Some(health.online_clients_count);
        self.version = Some(health.version);
        self.uptime_seconds = Some(health.uptime_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::api::{Service, Status};

    fn name(port: u16) -> NodeAddr {
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn health(port: u16, is_leader: bool) -> Health {
        Health {
            status: Status::Ok,
            service: Service::Rollcall,
            is_leader,
            online_clients_count: 3,
            current_leader: None,
            leader_url: None,
            term: Term(2),
            node: name(port),
            role: if is_leader { MemberRole::Leader } else { MemberRole::Follower },
            version: "0".into(),
            uptime_seconds: 5,
        }
    }

    fn report(port: u16, api_url: &str) -> ClusterNode {
        ClusterNode {
            node: name(port),
            api_url: Some(api_url.into()),
            role: Some(MemberRole::Follower),
            reachable: true,
            load: Some(0.5),
            term: Some(Term(1)),
            last_heard_ago_ms: Some(40),
        }
    }

    #[test]
    fn each_node_has_one_row_even_if_it_was_reached_by_two_urls() {
        let responses = vec![
            (Some(health(1, true)), "http://localhost:3001".to_owned()),
            (Some(health(1, true)), "http://127.0.0.1:3001".to_owned()),
            (None, "http://127.0.0.1:3002".to_owned()),
            (None, "http://elsewhere".to_owned()),
        ];
        let rows = merge(responses, vec![report(2, "http://127.0.0.1:3002"), report(1, "http://127.0.0.1:3001")]);
        let facts =
            |row: &NodeStatus| (row.node.as_ref().map(ToString::to_string), row.reachable, row.is_leader, row.term);
        assert_eq!(facts(&rows[0]), (Some("127.0.0.1:1".into()), true, true, Some(Term(2))));
        assert_eq!(facts(&rows[1]), (Some("127.0.0.1:2".into()), false, false, Some(Term(1))));
        assert_eq!((rows[1].last_heard_ago_ms, rows[1].load), (Some(40), Some(0.5)));
        assert_eq!(
            (facts(&rows[2]), rows[2].api_url.as_deref()),
            ((None, false, false, None), Some("http://elsewhere"))
        );
        assert_eq!(rows.len(), 3);
    }
}
