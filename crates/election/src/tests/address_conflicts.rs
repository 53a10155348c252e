//! Two processes with the same node address.
//!
//! The second process is bound to another port. This simulates an address that leads the other
//! nodes to another machine.

use super::*;
use rollcall_core::ClusterKey;

fn keyed(key: bool) -> impl Fn(&mut Options) {
    move |options| {
        options.cluster.key = key.then(|| "the key of the cluster".parse::<ClusterKey>().expect("long enough"));
    }
}

impl Cluster {
    /// Starts another process with `node`'s address. No node reaches it at the configured address.
    fn start_second_process(&self, node: usize, dir: &Path, change: impl Fn(&mut Options)) -> Election {
        let mut options = options(dir, &self.peers, node, 0);
        change(&mut options);
        Election::start(TcpListener::bind("127.0.0.1:0").unwrap(), options).unwrap().0
    }
}

/// Waits until `election` has a link to all of `nodes`.
async fn wait_for_links(election: &Election, nodes: &[usize]) {
    let mut members = election.members();
    let linked = members.wait_for(|rows| nodes.iter().all(|node| rows.get(*node).is_some_and(|row| row.reachable)));
    timeout(TIMEOUT, linked).await.expect("linked in time").unwrap();
}

async fn assert_conflict_is_reported(key: bool) {
    captured_logs::open();
    let cluster = Cluster::start_with(3, keyed(key));
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    for node in [leader, (leader + 1) % 3] {
        let dir = tempfile::tempdir().unwrap();
        let second_process = cluster.start_second_process(node, dir.path(), keyed(key));
        let mut address_conflict = second_process.address_conflict();
        let reason = timeout(TIMEOUT, address_conflict.wait_for(Option::is_some))
            .await
            .expect("the conflict is reported")
            .unwrap()
            .clone();
        let name = cluster.peers[node].to_string();
        assert!(reason.unwrap().contains(&format!("another living process is {name}")));
        assert!(
            !captured_logs::lines(&["refused a link", &format!("node={name} "), "another living process"]).is_empty()
        );
        second_process.stop().await;
    }
    for node in cluster.nodes.iter().flatten() {
        assert_eq!(*node.address_conflict().borrow(), None, "the first process has no conflict");
    }
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.role(leader).borrow().term, term, "the term did not change");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_the_address_of_a_living_node_is_rejected() {
    assert_conflict_is_reported(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_with_the_cluster_key_is_rejected_too() {
    assert_conflict_is_reported(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_gets_the_address_when_the_old_one_does_not_answer() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let stopped = (leader + 1) % 3;
    let others = [leader, (leader + 2) % 3];
    cluster.nodes[stopped].take().unwrap().stop().await;
    // A program accepts connections at the address and never sends a byte, like a stopped process.
    let silent = TcpListener::bind(cluster.peers[stopped].socket_addr()).unwrap();
    let new_process = cluster.start_second_process(stopped, cluster.dirs[stopped].path(), |_| {});
    wait_for_links(&new_process, &others).await;
    assert_eq!(*new_process.address_conflict().borrow(), None);
    new_process.stop().await;
    drop(silent);
    // Now no program listens at the address.
    let new_process = cluster.start_second_process(stopped, cluster.dirs[stopped].path(), |_| {});
    wait_for_links(&new_process, &others).await;
    assert_eq!(*new_process.address_conflict().borrow(), None);
    new_process.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_answers_at_the_address_gets_it_back() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader().await;
    let node = (leader + 1) % 3;
    let others = [leader, (leader + 2) % 3];
    cluster.nodes[node].take().unwrap().stop().await;
    let second_process = cluster.start_second_process(node, cluster.dirs[node].path(), |_| {});
    wait_for_links(&second_process, &others).await;
    // The configured process starts and answers at the address.
    let listener = TcpListener::bind(cluster.peers[node].socket_addr()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let configured_process = Election::start(listener, options(dir.path(), &cluster.peers, node, 0)).unwrap().0;
    wait_for_links(&configured_process, &others).await;
    let mut address_conflict = second_process.address_conflict();
    timeout(TIMEOUT, address_conflict.wait_for(Option::is_some)).await.expect("the conflict is reported").unwrap();
    assert_eq!(*configured_process.address_conflict().borrow(), None);
    second_process.stop().await;
    configured_process.stop().await;
    cluster.stop().await;
}
