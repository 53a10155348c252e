//! The error table over real sockets: every row happens, and no other error is sent.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use axum::middleware::from_fn_with_state;
use futures_util::FutureExt;
use image::ImageFormat;
use serde_json::Value;

use super::*;
use crate::http::error_codes::ERROR_CODES;
use crate::http::layers::response_headers::{ResponseHeaders, add_headers};
use crate::http::limits::MAX_LONG_POLLS;
use crate::http::testing::{TestResponse, without_leader};
use crate::registry::testing::{encoded_image, settings};
use crate::registry::{Quotas, RegistrationRate, RegistrySettings};
use crate::storage::{Backend, Fault, Key, MemoryBackend};
use rollcall_core::Username;

/// Status and code of an error response. The code is empty if the body is.
type ErrorRow = (u16, String);

async fn start(node: &TestNode) -> RunningServer {
    let fast_path = HeartbeatFastPath::new(Arc::clone(&node.app), &ResponseHeaders::new(&node.app));
    RunningServer::start_service(service(node.router.clone(), Some(fast_path)), 10).await
}

fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

fn upload(image: &[u8]) -> Vec<u8> {
    let head = b"--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n";
    let form = [head, image, b"\r\n--x--\r\n"].concat();
    post("/upload_image/alice", "Content-Type: multipart/form-data; boundary=x\r\n", form)
}

async fn row(server: &RunningServer, request: &[u8]) -> ErrorRow {
    let answer = exchange(&mut server.connect().await, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {answer:?}"));
    let status: u16 = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let code = match body {
        "" => String::new(),
        body => serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap_or_default().to_owned(),
    };
    (status, code)
}

fn table() -> BTreeSet<ErrorRow> {
    ERROR_CODES.iter().map(|row| (row.status.as_u16(), row.code.to_owned())).collect()
}

/// Rows of requests to a leader with the users `alice`, `bob` and `carol`, who has a password.
async fn rows_of_a_leader(seen: &mut BTreeSet<ErrorRow>) {
    let node = TestNode::with_alice_and_bob().await;
    assert_eq!(node.post("/register", r#"{"username":"carol","password":"secret"}"#).await.status, 201);
    let broken = Key::Profile(Username::parse("broken").unwrap());
    node.memory.create(&broken, b"{".as_slice().into()).await.unwrap();
    let png = encoded_image(ImageFormat::Png, 8, 8);
    let chunked =
        "POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n";
    let wrong_login = post("/login", "", r#"{"username":"carol","password":"guess"}"#);
    let server = start(&node).await;
    let requests = [
        post("/register", "", "{"),
        chunked.as_bytes().to_vec(),
        post("/register", "", "{}"),
        post("/register", "", r#"{"username":7}"#),
        post("/register", "", r#"{"username":""}"#),
        post("/register", "", r#"{"username":"dave","addr":"x"}"#),
        post("/register", "", r#"{"username":"dave","password":""}"#),
        post("/register", "", r#"{"username":"alice"}"#),
        post("/heartbeat", "", r#"{"username":"nobody"}"#),
        post("/heartbeat", "Origin: https://page.example\r\n", r#"{"username":"alice"}"#),
        post("/heartbeat", "", r#"{"username":"broken"}"#),
        post("/heartbeat", "", r#"{"username":"carol"}"#),
        post("/login", "", r#"{"username":"bob","password":"x"}"#),
        post("/register", "", " ".repeat(65 * 1024)),
        post("/upload_image/alice", "", "no form"),
        upload(&encoded_image(ImageFormat::Png, 129, 1)),
        upload(&png[..png.len() / 2]),
        upload(b"GIF89a"),
        get("/image/alice/1733511234-a1b2c3d4.png"),
        get("/nowhere"),
        get("/register"),
    ];
    // The last of the logins comes too early.
    for request in requests.into_iter().chain(std::iter::repeat_n(wrong_login, 6)) {
        seen.insert(row(&server, &request).await);
    }
    node.memory.faults().inject(1, &Fault::Full);
    seen.insert(row(&server, &post("/register", "", r#"{"username":"dave"}"#)).await);
    node.memory.faults().set_outage(Some(Fault::Transient));
    seen.insert(row(&server, &get("/readyz")).await);
    server.stop().await;
}

async fn rows_of_each_role(seen: &mut BTreeSet<ErrorRow>) {
    let node = TestNode::new(following());
    let server = start(&node).await;
    seen.insert(row(&server, &get("/leader")).await);
    seen.insert(row(&server, &get("/discover?stale=true")).await);
    node.role.send_replace(without_leader());
    seen.insert(row(&server, &post("/heartbeat", "", r#"{"username":"alice"}"#)).await);
    // This leader has not read the bucket.
    node.role.send_replace(leading());
    seen.insert(row(&server, &get("/users")).await);
    server.stop().await;
}

async fn rows_of_each_setting(seen: &mut BTreeSet<ErrorRow>) {
    let memory = MemoryBackend::new();
    for (settings, requests) in [
        (settings(), vec![]),
        (
            RegistrySettings { require_password: true, ..settings() },
            vec![post("/register", "", r#"{"username":"dave"}"#), post("/heartbeat", "", r#"{"username":"alice"}"#)],
        ),
        (
            RegistrySettings { heartbeats_need_no_credentials: true, ..settings() },
            vec![post("/register", "", r#"{"username":"alice","addr":"10.0.0.1:1"}"#)],
        ),
        (
            RegistrySettings { quotas: Quotas { users: Some(1), ..Quotas::default() }, ..settings() },
            vec![post("/register", "", r#"{"username":"dave"}"#)],
        ),
        (RegistrySettings { replicated: true, ..settings() }, vec![post("/register", "", r#"{"username":"dave"}"#)]),
    ] {
        let node = TestNode::with_settings(settings, memory.clone(), CorsPolicy::Any);
        let is_first = requests.is_empty();
        let registered = node.post("/register", r#"{"username":"alice"}"#).await.status;
        assert_eq!(registered == 201, is_first);
        let server = start(&node).await;
        for request in requests {
            seen.insert(row(&server, &request).await);
        }
        server.stop().await;
    }
}

async fn rows_of_rates(seen: &mut BTreeSet<ErrorRow>) {
    let registrations = Some(RegistrationRate { burst: 1, per_second: 1 });
    let settings = RegistrySettings { quotas: Quotas { registrations, ..Quotas::default() }, ..settings() };
    let node = TestNode::with_settings(settings, MemoryBackend::new(), CorsPolicy::Any);
    assert_eq!(node.post("/register", r#"{"username":"alice"}"#).await.status, 201);
    let refused = node.post("/register", r#"{"username":"bob"}"#).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    let server = start(&node).await;
    // The client of the server has another address.
    assert_eq!(row(&server, &post("/register", "", r#"{"username":"carol"}"#)).await.0, 201);
    seen.insert(row(&server, &post("/register", "", r#"{"username":"bob"}"#)).await);
    server.stop().await;
}

async fn rows_of_overload(seen: &mut BTreeSet<ErrorRow>) {
    let node = TestNode::with_alice_and_bob().await;
    let cursor = node.get("/discover").await.header("rollcall-cursor").unwrap().to_owned();
    let poll = format!("/discover?since={cursor}&wait=55");
    let mut waiting: Vec<Pin<Box<dyn Future<Output = TestResponse>>>> = Vec::new();
    for _ in 0..MAX_LONG_POLLS {
        let mut request: Pin<Box<dyn Future<Output = TestResponse>>> = Box::pin(node.get(&poll));
        assert!(request.as_mut().now_or_never().is_none(), "the request waits");
        waiting.push(request);
    }
    let server = start(&node).await;
    seen.insert(row(&server, &get(&poll)).await);
    drop(waiting);
    server.stop().await;

    let server = RunningServer::start_with_slots(node.router.clone(), 1).await;
    let admitted = server.connect().await;
    seen.insert(row(&server, &get("/status")).await);
    drop(admitted);
    server.stop().await;
}

async fn row_of_plain_http_to_tls(seen: &mut BTreeSet<ErrorRow>) {
    let node = TestNode::new(leading());
    let (tls, _) = super::tls::tls().await;
    let service = ApiService { tls: Some(tls), ..service(node.router.clone(), None) };
    let server = RunningServer::start_service(service, 1).await;
    seen.insert(row(&server, &get("/status")).await);
    server.stop().await;
}

async fn panics() {
    panic!("a panic for this test");
}

async fn rows_of_time_and_of_defects(seen: &mut BTreeSet<ErrorRow>) {
    let node = TestNode::with_alice_and_bob().await;
    let server = start(&node).await;
    let mut incomplete = server.connect().await;
    incomplete.write_all(&upload(b"x")[..150]).await.unwrap();
    tokio::task::yield_now().await;
    tokio::time::pause();
    let answer = read_to_end(&mut incomplete).await;
    tokio::time::resume();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{answer}");
    seen.insert((408, "request_timeout".to_owned()));
    server.stop().await;

    let layer = from_fn_with_state(ResponseHeaders::new(&node.app), add_headers);
    let server = RunningServer::start(Router::new().route("/panics", axum::routing::get(panics)).layer(layer)).await;
    seen.insert(row(&server, &get("/panics")).await);
    server.stop().await;
}

#[tokio::test]
async fn every_row_of_the_error_table_happens_and_no_other() {
    let mut seen = BTreeSet::new();
    rows_of_a_leader(&mut seen).await;
    rows_of_each_role(&mut seen).await;
    rows_of_each_setting(&mut seen).await;
    rows_of_rates(&mut seen).await;
    rows_of_overload(&mut seen).await;
    row_of_plain_http_to_tls(&mut seen).await;
    rows_of_time_and_of_defects(&mut seen).await;
    let table = table();
    let unknown: Vec<_> = seen.difference(&table).collect();
    let never: Vec<_> = table.difference(&seen).collect();
    assert!(unknown.is_empty() && never.is_empty(), "not in the table: {unknown:?}; never sent: {never:?}");
}

/// Requests that HTTP libraries do not send: request line with headers, body, and status.
const ODD_REQUESTS: &[(&str, &str, u16)] = &[
    ("\x16\x03\x01\x02\x01", "", 400),
    ("GET / http/1.1\r\nHost: x", "", 400),
    ("GET / HTTP/2.0\r\nHost: x", "", 400),
    ("GET /\r\nHost: x", "", 400),
    ("GET /images/a b HTTP/1.1\r\nHost: x", "", 400),
    ("GET ?x HTTP/1.1\r\nHost: x", "", 400),
    ("GET /status HTTP/1.1\r\nHost", "", 400),
    ("GET /status HTTP/1.1\r\nX : y", "", 400),
    ("POST /register HTTP/1.1\r\nContent-Length: x", "{}", 400),
    ("POST /register HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3", "{}", 400),
    ("POST /register HTTP/1.1\r\nTransfer-Encoding: gzip", "{}", 400),
    ("POST /register HTTP/1.1\r\nContent-Length: 2\r\nExpect: nothing", "{}", 400),
    ("POST /register HTTP/1.1\r\nContent-Length: 4\r\nContent-Encoding: gzip", "\x1f\x0b\x08\x01", 400),
    ("POST /heartbeat HTTP/1.1\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", 400),
    ("GET /images/%zz HTTP/1.1", "", 404),
    ("GET /images/%ff HTTP/1.1", "", 400),
    ("GET /images/%00 HTTP/1.1", "", 400),
    ("GET /image/%ff/%ff HTTP/1.1", "", 404),
    ("GET /users?limit=%zz HTTP/1.1", "", 400),
    ("GET /users?stale=%ff HTTP/1.1", "", 400),
    ("GET /users?after=a&after=b HTTP/1.1", "", 400),
    ("GET /discover?since=0&wait=1&wait=1 HTTP/1.1", "", 400),
    ("GET * HTTP/1.1", "", 404),
    ("GET users HTTP/1.1", "", 404),
    ("GET //status HTTP/1.1", "", 404),
    ("GET /images/../status HTTP/1.1", "", 404),
    ("CONNECT a:1 HTTP/1.1", "", 404),
    ("HEAD /nowhere HTTP/1.1", "", 404),
    ("TRACE / HTTP/1.1", "", 405),
    ("HEAD /register HTTP/1.1", "", 405),
    ("OTHER /users HTTP/1.1", "", 405),
];

#[tokio::test]
async fn the_error_for_an_odd_request_is_a_row_of_the_table_or_has_no_body() {
    let memory = MemoryBackend::new();
    let node = TestNode::with_settings(settings(), memory, CorsPolicy::Origins(Vec::new()));
    let server = start(&node).await;
    for (head, body, status) in ODD_REQUESTS {
        let request = format!("{head}\r\nConnection: close\r\n\r\n{body}");
        let (found, code) = row(&server, request.as_bytes()).await;
        assert_eq!(found, *status, "{head:?}: {code}");
        // hyper answers bytes that are not HTTP.
        let has_no_body = head.starts_with("HEAD") || found == 400 && code.is_empty();
        assert!(has_no_body || table().contains(&(found, code.clone())), "{head:?}: {found} {code:?}");
    }
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEADERS + 1));
    for request in [long_head, many_headers] {
        assert_eq!(row(&server, request.as_bytes()).await, (431, String::new()));
    }
    let http2 = exchange(&mut server.connect().await, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(http2, "", "HTTP/2 gets no response");
    server.stop().await;
}
