//! The client address of a request: the other end of the connection, or what a trusted proxy
//! reports. The proxy is this machine, at 127.0.0.1.

use tokio::net::TcpSocket;

use super::*;
use rollcall_core::{ForwardedHeader, ProxyNetwork};

/// A server that trusts the proxy at 127.0.0.1.
async fn start_behind_proxy(service: ApiService, header: ForwardedHeader) -> RunningServer {
    let proxy = ProxyNetwork::parse("127.0.0.1").unwrap();
    RunningServer::start_service(ApiService { proxies: TrustedProxies::new(vec![proxy], header), ..service }, 10).await
}

/// Sends a request from `ip`.
async fn send(server: &RunningServer, ip: &str, request: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
    exchange(&mut socket.connect(server.addr).await.unwrap(), request.as_bytes()).await
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn the_client_of_a_trusted_proxy_is_the_address_in_the_one_configured_header() {
    let headers = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=2.2.2.2\r\nX-Forwarded-For: 203.0.113.1\r\n\
                   Forwarded: for=\"[2001:db8::1]:4711\"\r\nX-Real-Ip: 3.3.3.3\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    for (header, client) in
        [(ForwardedHeader::XForwardedFor, "203.0.113.1"), (ForwardedHeader::Forwarded, "2001:db8::1")]
    {
        let server = start_behind_proxy(service(Router::new().route("/", client_ip()), None), header).await;
        let answer = send(&server, "127.0.0.1", &request).await;
        assert!(answer.ends_with(&format!("\r\n{client}")), "{answer}");
        // A forged header: 127.0.0.2 is no trusted proxy.
        let answer = send(&server, "127.0.0.2", &request).await;
        assert!(answer.ends_with("\r\n127.0.0.2"), "{answer}");
        let answer = send(&server, "127.0.0.1", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("\r\n127.0.0.1"), "{answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn without_trusted_proxies_no_header_changes_the_address() {
    let server = RunningServer::start(Router::new().route("/", client_ip())).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n";
    let answer = send(&server, "127.0.0.1", request).await;
    assert!(answer.ends_with("\r\n127.0.0.1"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_heartbeat_on_the_fast_path_has_the_address_that_the_proxy_reports() {
    let node = TestNode::with_alice_and_bob().await;
    // Only the fast path accepts a heartbeat here.
    let router = Router::new().fallback(|| async { "the router" });
    let server = start_behind_proxy(service(router, Some(node.fast_path)), ForwardedHeader::XForwardedFor).await;
    let heartbeat = |headers: &str| post("/heartbeat", headers, r#"{"username":"alice","addr":":9000"}"#);
    for (ip, client) in [("127.0.0.1", "203.0.113.1"), ("127.0.0.2", "127.0.0.2")] {
        let answer = send(&server, ip, &heartbeat("X-Forwarded-For: 203.0.113.1\r\n")).await;
        assert!(answer.contains(&format!("accepted for 'alice' at {client}:9000")), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_passwords_behind_a_proxy_lock_out_only_the_person_who_sends_them() {
    let node = TestNode::new(leading());
    let carol = r#"{"username":"carol","password":"secret"}"#;
    assert_eq!(node.post("/register", carol).await.status, 201);
    let server = start_behind_proxy(service(node.router.clone(), None), ForwardedHeader::XForwardedFor).await;
    let login = async |ip: &str, password: &str| {
        let body = format!(r#"{{"username":"carol","password":"{password}"}}"#);
        let request = post("/login", &format!("X-Forwarded-For: {ip}\r\n"), &body);
        let answer = send(&server, "127.0.0.1", &request).await;
        answer["HTTP/1.1 ".len()..][..3].parse::<u16>().unwrap()
    };
    // Each wrong password after the fifth needs a wait that doubles.
    let mut refused = false;
    for _ in 0..12 {
        refused |= login("203.0.113.1", "wrong").await == 429;
    }
    assert!(refused, "the person who guesses is not slowed down");
    assert_eq!(login("203.0.113.2", "wrong").await, 401);
    assert_eq!(login("203.0.113.2", "secret").await, 200);
    server.stop().await;
}
