//! Links without TLS (`node_tls = "off"`).

use super::mismatched_nodes::slow_timings;
use super::*;
use crate::process::BootId;
use crate::wire::frame::{Frame, PROTOCOL};
use crate::wire::hello::{Hello, Purpose};
use rollcall_core::ClusterKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_tls_form_a_cluster_with_and_without_a_key() {
    for key in [None, Some("the key of the cluster".parse::<ClusterKey>().expect("long enough"))] {
        let mut cluster = Cluster::start_with(3, |options| {
            plain(options);
            options.cluster.key.clone_from(&key);
        });
        let first = cluster.leader().await;
        cluster.nodes[first].take().unwrap().stop().await;
        assert_ne!(cluster.leader().await, first);
        cluster.stop().await;
    }
}

/// Starts two nodes with a leader, and a third node with other options, which gets no link.
async fn assert_no_link(change: impl Fn(&mut Options), words: &[&str]) {
    captured_logs::open();
    let mut cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        if options.api.url.ends_with("3002") {
            change(options);
        }
    });
    let rejected_node = cluster.nodes[2].take().unwrap();
    let leader = cluster.leader().await;
    let logged = async {
        while captured_logs::lines(&[&["WARN"], words].concat()).is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, logged).await.expect("a node logs the reason");
    assert_eq!(rejected_node.members().borrow().iter().filter(|row| row.reachable).count(), 1, "only the node itself");
    assert_eq!(cluster.leader().await, leader);
    rejected_node.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_tls_is_no_member_of_a_cluster_with_tls() {
    assert_no_link(plain, &["it does not speak TLS", "node_tls"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_different_buckets_name_the_fingerprints_of_both() {
    let other = Uuid::from_u128(2);
    let change = |options: &mut Options| {
        options.cluster.id = other;
        options.cluster.security = tls_of(other, &NodeKeyPair::generate(other).unwrap());
    };
    assert_no_link(change, &["its bucket has the fingerprint", "this node's has", "FIREBASE_BUCKET"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_tls_and_key_does_not_tell_the_id_of_its_bucket() {
    let cluster = Cluster::start_with(1, plain);
    cluster.leader().await;
    let mut tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let addrs = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
    let own = options(cluster.dirs[0].path(), &cluster.peers, 0, 0).cluster;
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: Uuid::from_u128(2),
        node: cluster.peers[0],
        boot: BootId(5),
        to: cluster.peers[0],
        api_url: String::new(),
        peers: cluster.peers.clone(),
        timings: own.timings,
        local: addrs.0,
        remote: addrs.1,
        purpose: Purpose::Link,
    };
    let frame = Frame::Hello(Box::new(hello)).encode();
    tcp.write_all(&[&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame[..]].concat()).await.unwrap();
    let mut received = Vec::new();
    timeout(TIMEOUT, tcp.read_to_end(&mut received)).await.expect("in time").unwrap();
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("its bucket is not that of this node") && !text.contains(&CLUSTER.to_string()), "{text}");
    cluster.stop().await;
}
