//! Connections to a port with TLS.

use rollcall_test_support::certificates::{TestCertificate, client_config, test_certificate};
use rustls::pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::http::{ApiCertificateFiles, ApiTls, CertificateReload};

/// The URL that this node gives to clients.
pub(super) const URL: &str = "https://127.0.0.1:3000";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// The first bytes of a TLS handshake.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// TLS with a new certificate, and the certificate in PEM format.
pub(super) async fn tls() -> (ApiTls, String) {
    let dir = tempfile::tempdir().unwrap();
    let made: TestCertificate = test_certificate(|_| ());
    let (cert, key) = made.write(dir.path(), "node");
    let (_, tls) = CertificateReload::start(ApiCertificateFiles { cert, key }, URL).await.unwrap();
    (tls, made.cert)
}

/// A server with TLS, and its certificate.
async fn start_with_tls(service: ApiService, slots: usize) -> (RunningServer, String) {
    let (tls, cert) = tls().await;
    (RunningServer::start_service(ApiService { tls: Some(tls), ..service }, slots).await, cert)
}

/// Performs the handshake of a client that trusts `cert`.
async fn secure(stream: TcpStream, cert: &str) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(client_config(cert))).connect(name, stream).await
}

/// Sends a request over TLS and reads until the server closes the connection.
async fn exchange_securely(stream: TcpStream, cert: &str, request: &[u8]) -> String {
    let mut stream = secure(stream, cert).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the server ends the session in order");
    String::from_utf8(answer).unwrap()
}

/// Waits until the server has accepted a connection.
async fn wait_until_accepted(server: &RunningServer) {
    while server.connections.free() == server.all_slots {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_over_tls_are_served_and_heartbeats_take_the_fast_path() {
    let node = TestNode::new(following());
    let router = Router::new().route("/", client_ip()).fallback(|| async { "the router" });
    let (server, cert) = start_with_tls(service(router, Some(node.fast_path)), 10).await;
    let answer = exchange_securely(server.connect().await, &cert, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("127.0.0.1"), "{answer}");
    let heartbeat = b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n";
    let requests = [&heartbeat[..], b"\r\n", heartbeat, b"Connection: close\r\n\r\n"].concat();
    let answer = exchange_securely(server.connect().await, &cert, &requests).await;
    assert_eq!(answer.matches("HTTP/1.1 403 Forbidden").count(), 2, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_long_response_arrives_whole_over_tls() {
    let body = "x".repeat(3_000_000);
    let router = Router::new().route("/", get(move || async move { body }));
    let (server, cert) = start_with_tls(service(router, None), 10).await;
    let answer = exchange_securely(server.connect().await, &cert, REQUEST).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.len() == 3_000_000 && body.bytes().all(|byte| byte == b'x'));
    server.stop().await;
}

#[tokio::test]
async fn plain_http_to_a_port_with_tls_gets_a_400_that_names_the_https_url() {
    let node = TestNode::new(leading());
    let (server, cert) = start_with_tls(service(node.router.clone(), Some(node.fast_path)), 10).await;
    let beat = r#"{"username":"alice"}"#;
    let heartbeat = format!("POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{beat}", beat.len());
    for request in ["GET /discover HTTP/1.1\r\nHost: x\r\n\r\n", "get / HTTP/1.1\r\nHost: x\r\n\r\n", &heartbeat] {
        let answer = exchange(&mut server.connect().await, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("\"https_required\"") && answer.contains(&format!("send it to {URL}\"")), "{answer}");
        assert!(answer.contains("connection: close") && answer.contains("x-request-id: "), "{answer}");
    }
    let answer = exchange_securely(server.connect().await, &cert, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_handshake_end_their_own_connection_only() {
    let (server, cert) = start_with_tls(service(Router::new().route("/", client_ip()), None), 10).await;
    for bytes in
        [&b"\0"[..], b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02", b"", b"\x15\x03\x03\x00\x02\x02\x28"]
    {
        let mut stream = server.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // The server may reset a connection whose bytes it has not read.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{bytes:?}");
    }
    let other = secure(server.connect().await, &test_certificate(|_| ()).cert).await;
    assert!(other.is_err(), "the client does not trust the certificate");
    let answer = exchange_securely(server.connect().await, &cert, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn half_open_handshakes_of_one_address_do_not_hinder_another_one() {
    for unfinished in [&b""[..], &HALF_HELLO[..1], HALF_HELLO] {
        // The routes of a node reject a connection that got no slot.
        let (server, cert) = start_with_tls(service(TestNode::new(leading()).router, None), 3).await;
        let mut greedy = Vec::new();
        for _ in 0..3 {
            let mut stream = server.connect().await;
            stream.write_all(unfinished).await.unwrap();
            greedy.push(stream);
        }
        for _ in 0..5 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
            let stream = socket.connect(server.addr).await.unwrap();
            let answer = exchange_securely(stream, &cert, REQUEST).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        }
        drop(greedy);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_closed_as_a_head_that_does_not_end() {
    for unfinished in [&b""[..], HALF_HELLO] {
        let (server, _) = start_with_tls(service(Router::new(), None), 3).await;
        let mut stream = server.connect().await;
        stream.write_all(unfinished).await.unwrap();
        wait_until_accepted(&server).await;
        tokio::time::pause();
        let started = tokio::time::Instant::now();
        server.wait_until_no_connections().await;
        assert!((HEAD_TIMEOUT / 2..HEAD_TIMEOUT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
        tokio::time::resume();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_handshake() {
    let (server, _) = start_with_tls(service(Router::new(), None), 3).await;
    let mut stream = server.connect().await;
    stream.write_all(HALF_HELLO).await.unwrap();
    wait_until_accepted(&server).await;
    server.shutdown.cancel();
    assert!(timeout(DRAIN_TIMEOUT / 2, server.server).await.is_ok());
}
