//! Programs on the election port that do not belong to the cluster: they learn nothing and change
//! nothing.

mod partial_proofs;
mod silent_acceptor;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::mismatched_nodes::slow_timings;
use super::*;
use crate::process::BootId;
use crate::wire::frame::{Frame, PROTOCOL};
use crate::wire::hello::{Hello, Purpose};

/// A verifier of a stranger, which talks to any server.
#[derive(Debug)]
struct AcceptAll;

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS client that presents the certificate of the first pair and signs with the key of the
/// second, or presents no certificate.
pub(super) fn connector(pairs: Option<(&NodeKeyPair, &NodeKeyPair)>) -> TlsConnector {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll));
    let config = match pairs {
        None => builder.with_no_client_auth(),
        Some((shown, signing)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing.reveal_private_key_der().to_vec()));
            let key = provider.key_provider.load_private_key(key).unwrap();
            let certified = CertifiedKey::new(vec![shown.certificate_der().to_vec().into()], key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// A connection that records what was written to it.
struct Recorder {
    tcp: TcpStream,
    written: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl AsyncRead for Recorder {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        if let Poll::Ready(Ok(length)) = &result {
            self.written.lock().unwrap().extend_from_slice(&bytes[..*length]);
        }
        result
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The bytes of a Hello with which a member dials node 0. They are all correct: this stranger knows
/// the settings and the id of the bucket.
fn hello_of_member(cluster: &Cluster, member: usize, addrs: (SocketAddr, SocketAddr)) -> Vec<u8> {
    hello_of(cluster, cluster.peers[member], CLUSTER, addrs)
}

/// The bytes of a Hello of `node` to node 0, with the settings of the cluster.
pub(super) fn hello_of(cluster: &Cluster, node: NodeAddr, id: Uuid, addrs: (SocketAddr, SocketAddr)) -> Vec<u8> {
    let mut timings = options(cluster.dirs[0].path(), &cluster.peers, 0, 0);
    slow_timings(&mut timings);
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: id,
        node,
        boot: BootId(5),
        to: cluster.peers[0],
        api_url: "http://127.0.0.1:3000".into(),
        peers: cluster.peers.clone(),
        timings: timings.cluster.timings,
        local: addrs.0,
        remote: addrs.1,
        purpose: Purpose::Link,
    };
    let frame = Frame::Hello(Box::new(hello)).encode();
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame[..]].concat()
}

/// Reads until the end of the connection.
pub(super) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut received)).await.expect("the node ends the connection");
    received
}

/// Starts three nodes, of which the last one stops. Strangers pose as it.
async fn cluster_without_a_member(change: impl Fn(&mut Options)) -> (Cluster, usize, Term) {
    captured_logs::open();
    let mut cluster = Cluster::start_with(3, |options| {
        slow_timings(options);
        change(options);
    });
    cluster.leader().await;
    cluster.nodes[2].take().unwrap().stop().await;
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    (cluster, leader, term)
}

async fn assert_unchanged(cluster: Cluster, leader: usize, term: Term) {
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.role(leader).borrow().term, term, "the term did not change");
    let rows = cluster.nodes[0].as_ref().unwrap().members().borrow().clone();
    assert!(!rows[2].reachable, "nobody became the stopped member");
    let name = cluster.peers[2].to_string();
    assert!(captured_logs::lines(&["refused a link", &name]).is_empty(), "no stranger came as far as its Hello");
    cluster.stop().await;
}

/// The bytes of a frame on a link.
fn framed(frame: &Frame) -> Vec<u8> {
    let frame = frame.encode();
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame[..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_over_plain_tcp_learns_nothing() {
    let (cluster, leader, term) = cluster_without_a_member(|_| {}).await;
    let mut tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let hello = hello_of_member(&cluster, 2, (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
    tcp.write_all(&hello).await.unwrap();
    assert_eq!(read_all(&mut tcp).await, b"");
    assert_unchanged(cluster, leader, term).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_over_tls_learns_nothing_without_the_pair_of_the_cluster() {
    let (cluster, leader, term) = cluster_without_a_member(|_| {}).await;
    // A pair for the same bucket id is as foreign as one for another.
    let other_pair = NodeKeyPair::generate(CLUSTER).unwrap();
    let shared = shared_pair();
    // Everybody can see the certificate of the cluster, but not its private key.
    for pairs in [None, Some((&other_pair, &other_pair)), Some((&shared, &other_pair))] {
        let tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
        let hello = hello_of_member(&cluster, 2, (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        // In TLS 1.3 the client is connected before the server has checked its certificate.
        let mut tls = connector(pairs).connect(name, tcp).await.expect("the node shows its certificate");
        let shown = tls.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let contains = |needle: &[u8]| shown.windows(needle.len()).any(|window| window == needle);
        assert!(!contains(CLUSTER.as_bytes()) && !contains(CLUSTER.to_string().as_bytes()), "the id stays secret");
        let _ = tls.write_all(&hello).await;
        assert_eq!(read_all(&mut tls).await, b"");
    }
    assert_unchanged(cluster, leader, term).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_capture_of_a_member_changes_nothing() {
    let (cluster, leader, term) = cluster_without_a_member(|_| {}).await;
    // A member links to node 0, and its bytes are captured on the wire.
    let written = Arc::default();
    let tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let hello = hello_of_member(&cluster, 2, (tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
    let recorder = Recorder { tcp, written: Arc::clone(&written) };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut tls = connector(Some((&shared_pair(), &shared_pair()))).connect(name, recorder).await.unwrap();
    tls.write_all(&hello).await.unwrap();
    let mut length = [0; 4];
    timeout(TIMEOUT, tls.read_exact(&mut length)).await.expect("in time").expect("the member gets an answer");
    tls.write_all(b"\0\0\0\x05\"Bye\"").await.unwrap();
    tls.flush().await.unwrap();
    drop(tls);
    let capture = written.lock().unwrap().clone();
    assert!(capture.len() > hello.len());
    let mut tcp = TcpStream::connect(cluster.peers[0].socket_addr()).await.unwrap();
    let _ = tcp.write_all(&capture).await;
    // The node answers with its part of a TLS handshake and an alert. The last record is no data.
    let received = read_all(&mut tcp).await;
    assert!(!received.windows(5).any(|window| window == b"Hello"), "nothing readable");
    assert_unchanged(cluster, leader, term).await;
}
