//! Programs that have only a part of the proofs: the certificate of the nodes without its private
//! key, or the node key without the cluster key. They learn nothing and change nothing.

use std::sync::Mutex;

use rollcall_core::ClusterKey;
use rustls::{AlertDescription, ServerConfig};
use tokio::io::split;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::wire::key_proof::{Challenge, KeyClaim, KeyProof, Nonce, Transcript};

fn key(text: &str) -> ClusterKey {
    text.parse().expect("long enough")
}

fn with_key(options: &mut Options) {
    options.cluster.key = Some(key("the key of the cluster"));
}

/// The certificates of a program that has the node key.
fn shared_tls() -> LinkTls {
    LinkTls::pinned(CLUSTER, &shared_pair(), [shared_pair()]).expect("a valid pair")
}

/// A TLS server that presents the certificate of the first pair and signs with the key of the
/// second. It talks to any client.
fn acceptor(shown: &NodeKeyPair, signing: &NodeKeyPair) -> TlsAcceptor {
    let provider = Arc::new(default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing.reveal_private_key_der().to_vec()));
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(vec![shown.certificate_der().to_vec().into()], key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    TlsAcceptor::from(Arc::new(config))
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Checks that these bytes tell neither the bucket nor the process nor the API of a node.
fn assert_tells_nothing(bytes: &[u8]) {
    for secret in ["Hello", "boot", "http://", &CLUSTER.to_string()] {
        assert!(!contains(bytes, secret), "{secret} in {}", String::from_utf8_lossy(bytes));
    }
}

/// A challenge and a proof with another key than that of the cluster.
fn challenge_and_wrong_proof(from: NodeAddr, to: NodeAddr) -> (Frame, KeyProof) {
    let challenge = Frame::Challenge(Challenge { protocol: PROTOCOL, node: from, to, nonce: Nonce([1; 4]) });
    let transcript = Transcript { dialler: challenge.encode(), acceptor: challenge.encode(), channel: None };
    (challenge, transcript.prove(KeyClaim::Dialler, &key("another key of a cluster")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_refuses_a_program_that_answers_without_the_private_key() {
    let (cluster, leader, term) = cluster_without_a_member(|_| {}).await;
    let listener = tokio::net::TcpListener::bind(cluster.peers[2].socket_addr()).await.unwrap();
    let (shared, other) = (shared_pair(), NodeKeyPair::generate(CLUSTER).unwrap());
    for (shown, signing) in [(&other, &other), (&shared, &other)] {
        let acceptor = acceptor(shown, signing);
        let refused = async {
            loop {
                let (tcp, _) = listener.accept().await.expect("the listener works");
                let error = acceptor.accept(tcp).await.expect_err("the node does not end the handshake");
                // Without an alert, the handshake was only slow.
                if matches!(tls_error(&error), Some(rustls::Error::AlertReceived(_))) {
                    return;
                }
            }
        };
        timeout(TIMEOUT, refused).await.expect("a node dials and refuses");
    }
    drop(listener);
    assert_unchanged(cluster, leader, term).await;
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_itself_refuses_a_program_without_a_certificate() {
    let cluster = Cluster::start_with(1, mismatched_nodes::slow_timings);
    let tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let mut tls = connector(None).connect(localhost(), tcp).await.expect("the node shows its certificate");
    let error = timeout(TIMEOUT, tls.read(&mut [0; 8])).await.expect("in time").expect_err("the node refuses");
    let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(tls_error(&error), Some(&required), "{error}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_dialled_tells_nothing_before_the_proof_of_the_cluster_key() {
    let (cluster, leader, term) = cluster_without_a_member(with_key).await;
    let [node, member] = [cluster.peers[0], cluster.peers[2]];
    let (challenge, proof) = challenge_and_wrong_proof(member, node);
    let earlier = Frame::Challenge(Challenge { protocol: PROTOCOL - 1, node: member, to: node, nonce: Nonce([1; 4]) });
    let [challenge, proof, earlier] = [challenge, Frame::Proof(proof), earlier].map(|frame| framed(&frame));
    let with_proof = [&challenge[..], &proof].concat();
    for before_hello in [&[][..], &with_proof, &challenge, &earlier] {
        let tcp = TcpStream::connect(node.socket_addr()).await.unwrap();
        let hello = hello_of_member(&cluster, 2, (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
        let mut tls = TlsConnector::from(shared_tls().client).connect(localhost(), tcp).await.expect("it has the pair");
        tls.write_all(&[before_hello, &hello].concat()).await.unwrap();
        tls.flush().await.unwrap();
        let received = read_all(&mut tls).await;
        assert!(contains(&received, "Refused") || contains(&received, "Challenge"), "the node answers");
        assert_tells_nothing(&received);
    }
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.role(leader).borrow().term, term, "the term did not change");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dials_tells_nothing_before_the_proof_of_the_cluster_key() {
    let (cluster, leader, term) = cluster_without_a_member(with_key).await;
    let member = cluster.peers[2];
    let listener = tokio::net::TcpListener::bind(member.socket_addr()).await.unwrap();
    let acceptor = TlsAcceptor::from(shared_tls().server);
    let answered = async {
        loop {
            let (tcp, _) = listener.accept().await.expect("the listener works");
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let (challenge, proof) = challenge_and_wrong_proof(member, cluster.peers[leader]);
            let answer = [framed(&challenge), framed(&Frame::Proof(proof))].concat();
            if tls.write_all(&answer).await.is_err() || tls.flush().await.is_err() {
                continue;
            }
            let received = read_all(&mut tls).await;
            assert_tells_nothing(&received);
            // On a busy machine the node may give up before it has sent its proof.
            if contains(&received, "Challenge") && contains(&received, "Proof") {
                return;
            }
        }
    };
    timeout(TIMEOUT, answered).await.expect("a node dials");
    drop(listener);
    assert_unchanged(cluster, leader, term).await;
}

/// Passes on what two nodes send to each other over two TLS connections. The program between them
/// has the node key, and sees the frames.
async fn relay(near: TcpStream, far: SocketAddr, seen: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let near = TlsAcceptor::from(shared_tls().server).accept(near).await?;
    let far = TcpStream::connect(far).await?;
    let far = TlsConnector::from(shared_tls().client).connect(localhost(), far).await?;
    let ((near_read, near_write), (far_read, far_write)) = (split(near), split(far));
    tokio::try_join!(pass_on(near_read, far_write, seen), pass_on(far_read, near_write, seen)).map(drop)
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..length]);
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}

/// Two nodes, of which the first reaches the second only through a relay that has the node key.
struct RelayedPair {
    nodes: [Election; 2],
    /// The name of the second node, which is the address of the relay.
    second: NodeAddr,
    /// Everything that the relay has passed on.
    seen: Arc<Mutex<Vec<u8>>>,
    _relay: JoinSet<()>,
    _dirs: [tempfile::TempDir; 2],
}

fn relayed_pair(change: impl Fn(&mut Options)) -> RelayedPair {
    let addr = |listener: &TcpListener| listener.local_addr().unwrap();
    let [first, relay_listener, hidden] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let names = [&first, &relay_listener].map(|listener| addr(listener).to_string().parse::<NodeAddr>().unwrap());
    let target = addr(&hidden);
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let start = |listener, me: usize| {
        let mut options = options(dirs[me].path(), &names, me, 0);
        mismatched_nodes::slow_timings(&mut options);
        change(&mut options);
        Election::start(listener, options).unwrap().0
    };
    let nodes = [start(first, 0), start(hidden, 1)];
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let mut task = JoinSet::new();
    relay_listener.set_nonblocking(true).unwrap();
    let (listener, seen_by_relay) = (tokio::net::TcpListener::from_std(relay_listener).unwrap(), Arc::clone(&seen));
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let seen = Arc::clone(&seen_by_relay);
            connections.spawn(async move { relay(near, target, &seen).await });
        }
    });
    RelayedPair { nodes, second: names[1], seen, _relay: task, _dirs: dirs }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_between_two_nodes_with_the_node_key_cannot_pass_on_the_proof_of_the_cluster_key() {
    captured_logs::open();
    // Without a cluster key the node key is the proof, so this relay works.
    let pair = relayed_pair(|_| {});
    let mut members = pair.nodes[0].members();
    let linked = members.wait_for(|rows| rows.iter().filter(|row| row.reachable).count() == 2);
    timeout(TIMEOUT, linked).await.expect("linked through the relay").unwrap();
    assert!(contains(&pair.seen.lock().unwrap(), "Hello"));
    for node in pair.nodes {
        node.stop().await;
    }
    let pair = relayed_pair(with_key);
    let refusal = ["WARN", "cannot link to the node", &pair.second.to_string(), "the cluster_key differs"];
    let refused = async {
        while captured_logs::lines(&refusal).is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, refused).await.expect("the proof is refused");
    let rows = pair.nodes[0].members().borrow().clone();
    assert!(rows.iter().any(|row| row.node == pair.second && !row.reachable), "{rows:?}");
    let seen = pair.seen.lock().unwrap().clone();
    assert!(contains(&seen, "Challenge"));
    assert_tells_nothing(&seen);
    for node in pair.nodes {
        node.stop().await;
    }
}
