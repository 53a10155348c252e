//! Certificates that change while nodes run, and certificates of the operator.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::mismatched_nodes::slow_timings;
use super::*;

/// Waits until all nodes have links to all others.
async fn wait_until_linked(cluster: &Cluster) {
    for node in cluster.nodes.iter().flatten() {
        let mut members = node.members();
        let linked = members.wait_for(|rows| rows.iter().all(|row| row.reachable));
        timeout(TIMEOUT, linked).await.expect("linked in time").unwrap();
    }
}

/// The number of links that all nodes ended because of a deleted key.
fn ended_links(cluster: &Cluster) -> usize {
    let of_node =
        |peer: &NodeAddr| captured_logs::lines(&["ended a link: its node key was deleted", &peer.to_string()]);
    cluster.peers.iter().map(|peer| of_node(peer).len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_rotated_while_the_nodes_run_and_a_deleted_key_ends_its_links() {
    captured_logs::open();
    let [old, new] = [(); 2].map(|()| NodeKeyPair::generate(CLUSTER).unwrap());
    let tls = |presented: &NodeKeyPair, accepted: &[&NodeKeyPair]| {
        Arc::new(LinkTls::pinned(CLUSTER, presented, accepted.iter().map(|pair| (*pair).clone())).unwrap())
    };
    let certificates: Vec<_> = (0..3).map(|_| watch::channel(tls(&old, &[&old])).0).collect();
    let next = std::cell::Cell::new(0);
    let cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        options.cluster.security = LinkSecurity::Tls(certificates[next.get()].subscribe());
        next.set(next.get() + 1);
    });
    cluster.leader().await;
    wait_until_linked(&cluster).await;
    for node in &certificates {
        node.send_replace(tls(&old, &[&old, &new]));
    }
    for node in &certificates {
        node.send_replace(tls(&new, &[&old, &new]));
    }
    assert_eq!(ended_links(&cluster), 0, "a link stays while its keys are accepted");
    for node in &certificates {
        node.send_replace(tls(&new, &[&new]));
    }
    // Each node ended the links to both others, or saw that they ended theirs.
    let ended = async {
        while ended_links(&cluster) < 3 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TIMEOUT, ended).await.expect("the links with the old key end");
    wait_until_linked(&cluster).await;
    cluster.leader().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_the_operator_must_name_the_host_of_the_node() {
    captured_logs::open();
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, &authority_key);
    let of_host = |host: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = LinkTls::with_authority(vec![authority.der().clone()], vec![certificate.der().clone()], &private_key);
        LinkSecurity::Tls(watch::channel(Arc::new(tls.unwrap())).1)
    };
    let cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        let host = if options.api.url.ends_with("3002") { "127.0.0.2" } else { "127.0.0.1" };
        options.cluster.security = of_host(host);
    });
    let leader = cluster.leader_of(&[0, 1]).await;
    // The refused node logs the reason that it was told. The others log one line a minute about it,
    // which may be the one about their own dial.
    let refusal = format!("{} refuses this node: its certificate does not name its host 127.0.0.1", cluster.peers[0]);
    let logged = async {
        while captured_logs::lines(&["cannot link to the node", &refusal]).is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, logged).await.expect("the reason is logged");
    assert!(!cluster.nodes[leader].as_ref().unwrap().members().borrow()[2].reachable);
    cluster.stop().await;
}
