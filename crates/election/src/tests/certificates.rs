//! Certificates that change while nodes run, and certificates of the operator.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::mismatched_nodes::slow_timings;
use super::strangers::{connector, hello_of, read_all};
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

/// An authority of the operator.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a host, and its private key.
    fn pair(&self, host: &str) -> NodeKeyPair {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        NodeKeyPair::from_der(certificate.der().to_vec(), key.serialize_der())
    }

    /// Links with such a certificate.
    fn security(&self, host: &str) -> LinkSecurity {
        let pair = self.pair(host);
        let private_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.reveal_private_key_der().to_vec()));
        let chain = vec![pair.certificate_der().to_vec().into()];
        let tls = LinkTls::with_authority(vec![self.certificate.clone()], chain, &private_key);
        LinkSecurity::Tls(watch::channel(Arc::new(tls.unwrap())).1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_authority_for_another_program_learns_nothing_of_the_cluster() {
    let authority = Authority::new();
    let cluster = Cluster::start_with(1, |options| options.cluster.security = authority.security("127.0.0.1"));
    cluster.leader().await;
    let stranger: NodeAddr = "127.0.0.1:1".parse().unwrap();
    for (host, claimed, reason) in [
        ("127.0.0.9", cluster.peers[0], "its certificate does not name its host"),
        ("127.0.0.1", stranger, "127.0.0.1:1 is not in `peers`"),
    ] {
        let pair = authority.pair(host);
        let tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
        let addrs = (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap());
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut tls = connector(Some((&pair, &pair))).connect(name, tcp).await.unwrap();
        // The settings differ too, as those of a program that guesses them.
        tls.write_all(&hello_of(&cluster, claimed, Uuid::from_u128(2), addrs)).await.unwrap();
        let answer = String::from_utf8_lossy(&read_all(&mut tls).await).into_owned();
        assert!(answer.contains(reason), "{answer}");
        for secret in [CLUSTER.to_string(), "timings".to_owned(), "bucket".to_owned()] {
            assert!(!answer.contains(&secret), "{answer}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_the_operator_must_name_the_host_of_the_node() {
    captured_logs::open();
    let authority = Authority::new();
    let cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        let host = if options.api.url.ends_with("3002") { "127.0.0.2" } else { "127.0.0.1" };
        options.cluster.security = authority.security(host);
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
