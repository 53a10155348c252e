//! Hello, the frame by which two nodes introduce themselves, and the comparison of their settings.
//! With TLS or a cluster key, both nodes have proved before that they belong to the cluster.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::process::BootId;
use rollcall_core::{NodeAddr, Timings};

/// Purpose of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To send messages.
    #[default]
    Link,
    /// Only to find out which process answers at an address (duplicate node name).
    Check,
}

/// Identity and settings of a node at one end of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Protocol version of the sender.
    pub(crate) protocol: u32,
    /// Id of the bucket.
    pub(crate) cluster: Uuid,
    /// Name of the sender.
    pub(crate) node: NodeAddr,
    /// Process of the sender.
    pub(crate) boot: BootId,
    /// Name of the node that the sender dialled or answers.
    pub(crate) to: NodeAddr,
    /// Base URL of the sender's API, without a trailing slash.
    pub(crate) api_url: String,
    /// Configured peers of the sender.
    pub(crate) peers: Vec<NodeAddr>,
    /// Configured timings of the sender.
    pub(crate) timings: Timings,
    /// The sender's own socket address on this connection, as the sender sees it.
    pub(crate) local: SocketAddr,
    /// Socket address of the other end, as the sender sees it.
    pub(crate) remote: SocketAddr,
    /// Purpose of the connection.
    #[serde(default)]
    pub(crate) purpose: Purpose,
}

impl Hello {
    /// The first difference because of which the two nodes cannot form a cluster, worded for the
    /// node of `own`. The text contains both values, but never a key.
    pub(crate) fn difference_from(&self, own: &Hello) -> Option<String> {
        if self.protocol != own.protocol {
            return Some(protocol_difference(self.protocol, own.protocol));
        }
        if self.to != own.node {
            return Some(format!("it expects node {} here, but this node is {}", self.to, own.node));
        }
        if self.peers != own.peers {
            return Some(format!(
                "its peers are {}, here they are {}: give all nodes the same `peers`",
                format_peers(&self.peers),
                format_peers(&own.peers)
            ));
        }
        if self.timings != own.timings {
            return Some(format!(
                "its timings are {:?}, here they are {:?}: give all nodes the same timings",
                self.timings, own.timings
            ));
        }
        if self.cluster != own.cluster {
            return Some(format!(
                "its bucket has the id {}, this node's has {}: let all nodes use the same storage (FIREBASE_BUCKET, S3_BUCKET, AZURE_CONTAINER, or else data_dir)",
                self.cluster, own.cluster
            ));
        }
        None
    }
}

/// Text about a node that speaks another protocol, worded for the node of `own`.
pub(crate) fn protocol_difference(protocol: u32, own: u32) -> String {
    format!("it speaks protocol {protocol}, this node {own}: run the same version")
}

fn format_peers(peers: &[NodeAddr]) -> String {
    let texts: Vec<String> = peers.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::frame::PROTOCOL;

    pub(crate) fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: Uuid::from_u128(1),
            node: "127.0.0.1:8081".parse().unwrap(),
            boot: BootId(7),
            to: "127.0.0.1:8080".parse().unwrap(),
            api_url: "http://127.0.0.1:3001".into(),
            peers: vec!["127.0.0.1:8080".parse().unwrap(), "127.0.0.1:8081".parse().unwrap()],
            timings: Timings {
                heartbeat_interval_ms: 1000,
                election_timeout_min_ms: 3000,
                election_timeout_max_ms: 5000,
                leader_term_ms: 10_000,
                net_timeout_ms: 2000,
                election_retry_ms: 100,
            },
            local: "127.0.0.1:40000".parse().unwrap(),
            remote: "127.0.0.1:8080".parse().unwrap(),
            purpose: Purpose::Link,
        }
    }

    type Change = fn(&mut Hello, NodeAddr);

    #[test]
    fn every_relevant_difference_is_reported_with_both_values() {
        let mut own = hello();
        std::mem::swap(&mut own.node, &mut own.to);
        assert_eq!(hello().difference_from(&own), None);
        let other: NodeAddr = "127.0.0.1:9999".parse().unwrap();
        let cases: [(Change, &[&str]); 5] = [
            (|h, _| h.protocol = 9, &["protocol 9", "this node 6"]),
            (|h, other| h.to = other, &["127.0.0.1:9999", "127.0.0.1:8080"]),
            (|h, other| h.peers.push(other), &["127.0.0.1:9999", "`peers`"]),
            (|h, _| h.timings.election_timeout_min_ms = 1, &["election_timeout_min_ms: 1", "3000"]),
            (|h, _| h.cluster = Uuid::from_u128(2), &["000000000002", "000000000001"]),
        ];
        for (change, words) in cases {
            let mut peer = hello();
            change(&mut peer, other);
            let reason = peer.difference_from(&own).expect("refused");
            assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        }
    }
}
