//! Nodes that do not belong to the cluster: no vote is exchanged, and each side logs the reason.

use super::*;
use rollcall_core::ClusterKey;

/// Timings so slow that no leader loses its term because the machine is busy. Such a loss would
/// look like an effect of the rejected node.
pub(super) fn slow_timings(options: &mut Options) {
    options.cluster.timings.election_timeout_min_ms = 1500;
    options.cluster.timings.election_timeout_max_ms = 2000;
}

const KEY: &str = "the key of the cluster";

fn key(text: &str) -> ClusterKey {
    text.parse().expect("long enough")
}

/// Starts two nodes with a leader, and a third member of their `peers` with other options. The
/// third node gets no link and does not disturb the cluster. Each side logs one or two lines about
/// the other, with all of `words`.
async fn assert_rejected(all: impl Fn(&mut Options), non_member: impl Fn(&mut Options), words: &[&str]) {
    captured_logs::open();
    let mut cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        all(options);
        if options.api.url.ends_with("3002") {
            non_member(options);
        }
    });
    let rejected_node = cluster.nodes[2].take().unwrap();
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    // Long enough for several attempts in both directions.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(
        rejected_node.members().borrow().iter().filter(|row| row.reachable).count() == 1,
        "only the node itself is reachable"
    );
    assert_eq!(rejected_node.role().borrow().leader, None);
    assert_eq!(rejected_node.role().borrow().term.0, 0, "the node never won a pre-vote");
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.role(leader).borrow().term, term, "the term did not change");
    let name = cluster.peers[2].to_string();
    for member in &cluster.peers[..2] {
        // Each node may log the difference once when it dials, and once when it is dialled.
        let seen_by_both = captured_logs::lines(&[&[name.as_str(), "WARN"], words].concat());
        let about_member = captured_logs::lines(&[&[member.to_string().as_str(), "WARN", "link"], words].concat());
        assert!((1..=2).contains(&about_member.len()), "{about_member:#?}");
        assert!((2..=4).contains(&seen_by_both.len()), "{seen_by_both:#?}");
    }
    rejected_node.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_the_same_key_form_a_cluster() {
    let mut cluster = Cluster::start_with(3, |options| options.cluster.key = Some(key(KEY)));
    let first = cluster.leader().await;
    cluster.nodes[first].take().unwrap().stop().await;
    assert_ne!(cluster.leader().await, first);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_key_is_rejected() {
    let another = "the key of another cluster";
    assert_rejected(
        |o| o.cluster.key = Some(key(KEY)),
        |o| o.cluster.key = Some(key(another)),
        &["the cluster_key differs"],
    )
    .await;
    assert_eq!(captured_logs::lines(&[KEY]).len() + captured_logs::lines(&[another]).len(), 0, "keys are never logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_key_is_rejected() {
    assert_rejected(
        |o| o.cluster.key = Some(key(KEY)),
        |o| o.cluster.key = None,
        &["the cluster_key differs", "has none"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_key_is_rejected_by_a_cluster_without_one() {
    assert_rejected(|_| {}, |o| o.cluster.key = Some(key(KEY)), &["the cluster_key differs", "has none"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_other_timings_is_rejected() {
    assert_rejected(|_| {}, |o| o.cluster.timings.election_timeout_min_ms = 1501, &["timings", "1501", "1500"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_bucket_is_rejected_even_with_the_key() {
    let other = |o: &mut Options| o.cluster.id = Uuid::from_u128(2);
    assert_rejected(
        |o| o.cluster.key = Some(key(KEY)),
        other,
        &["its bucket has the id", "FIREBASE_BUCKET, S3_BUCKET, AZURE_CONTAINER"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_other_peers_is_rejected() {
    captured_logs::open();
    let cluster = Cluster::start_with(2, slow_timings);
    let leader = cluster.leader().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peers = cluster.peers.clone();
    peers.push(listener.local_addr().unwrap().to_string().parse().unwrap());
    let third_index = 2;
    let dir = tempfile::tempdir().unwrap();
    let mut theirs = options(dir.path(), &peers, third_index, 0);
    slow_timings(&mut theirs);
    let non_member = Election::start(listener, theirs).unwrap().0;
    // Long enough for several attempts in both directions.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(non_member.role().borrow().leader, None);
    assert!(
        non_member.members().borrow().iter().filter(|row| row.reachable).count() == 1,
        "only the node itself is reachable"
    );
    assert_eq!(cluster.leader().await, leader);
    let name = peers[2].to_string();
    for member in &cluster.peers {
        let member_line = format!("refused a link node={name} ");
        assert_eq!(captured_logs::lines(&[&member_line, "its peers are", &name]).len(), 2, "one line of each member");
        let rejected_line = format!("cannot link to the node node={member} ");
        assert_eq!(captured_logs::lines(&[&rejected_line, "refuses this node: its peers are"]).len(), 1);
    }
    non_member.stop().await;
    cluster.stop().await;
}
