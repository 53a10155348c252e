//! Messages of other subsystems over the election links.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::super::{MAX_PAYLOAD_BYTES, NodeId};
use super::mismatched_nodes::slow_timings;
use super::{Cluster, TIMEOUT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_arrive_with_their_sender_and_do_not_disturb_the_election() {
    let mut cluster = Cluster::start_with(2, slow_timings);
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    let (from, to) = (0, 1);
    let sender = cluster.transports.remove(from);
    let mut receiver = cluster.transports.remove(0);
    assert_eq!((sender.me(), receiver.me(), sender.count()), (NodeId(0), NodeId(1), 2));
    assert!(sender.send(NodeId(1), Bytes::from_static(b"\0hello")));
    let inbound = timeout(TIMEOUT, receiver.receive()).await.expect("it arrives").expect("the election runs");
    assert_eq!((inbound.from.node, &inbound.payload[..]), (NodeId(0), &b"\0hello"[..]));
    assert_eq!(sender.saved_term(), Some(term));

    // Sends as many payloads as fit, for more than twice the longest election timeout. The receiver
    // takes nothing out of its queue.
    let large_payload = Bytes::from(vec![7; MAX_PAYLOAD_BYTES]);
    let (mut sent, mut dropped) = (0, 0);
    let until = Instant::now() + Duration::from_millis(4500);
    while Instant::now() < until {
        if sender.send(NodeId(1), large_payload.clone()) {
            sent += 1;
        } else {
            dropped += 1;
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(sent > 100 && dropped > 0, "{sent} sent, {dropped} dropped");
    assert_eq!((cluster.leader().await, cluster.role(leader).borrow().term), (leader, term));
    assert!(!sender.send(NodeId(5), large_payload), "there is no such node");
    drop(receiver);
    assert_eq!(cluster.role(to).borrow().term, term);
    cluster.stop().await;
}
