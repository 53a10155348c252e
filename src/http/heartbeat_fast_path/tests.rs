use std::sync::Arc;

use axum::http::HeaderValue;
use futures_util::{StreamExt, stream};

use super::*;
use crate::http::CorsPolicy;
use crate::http::testing::{
    TERM, TestNode, TestResponse, client, following, leading, leading_until, request, without_leader,
};
use crate::storage::{Fault, MemoryBackend};
use rollcall_core::BootMs;
use rollcall_core::clock;
use rollcall_election::{Role, RoleState};

/// Heartbeat bodies of every kind, valid and invalid.
fn bodies() -> Vec<String> {
    let rows = [
        r#"{"username":"alice","addr":"10.40.6.26:9000"}"#,
        r#" { "addr" : ":9001", "username" : "bob", "more" : [1, {}] } "#,
        r#"{"username":"bob"}"#,
        r#"{"username":"bob","addr":null}"#,
        r#"{"username":"bob","addr":""}"#,
        r#"{"username":"a\"b\\c"}"#,
        r#"{"username":"alice","addr":""}"#,
        r#"{"username":"alice","addr":"[::ffff:10.40.6.26]:9000"}"#,
        r#"{"username":"\u0061lice","addr":"[::1]:7"}"#,
        r#"{"username":"nobody"}"#,
        r#"{"username":"carol"}"#,
        r#"{"username":"carol","addr":"10.40.6.27:9000"}"#,
        "",
        "\u{feff}{\"username\":\"alice\"}",
        "\u{feff}",
        "{\0\"\0",
        "nonsense",
        "[\"alice\"]",
        "{}",
        r#"{"username":7}"#,
        r#"{"username":"alice","username":"bob"}"#,
        r#"{"username":"a/b"}"#,
        r#"{"username":"alice","addr":"10.0.0.1"}"#,
        r#"{"username":"alice","addr":"10.0.0.1:0"}"#,
        r#"{"username":"alice","addr":[]}"#,
    ];
    let alice = r#"{"username":"alice"}"#;
    let at_the_limit = alice.to_owned() + &" ".repeat(64 * 1024 - alice.len());
    rows.map(str::to_owned).into_iter().chain([format!("{at_the_limit} "), at_the_limit]).collect()
}

/// The parts of a response that both paths must agree on. Values that differ between requests are
/// excluded, and the content length, which hyper adds if the router does not.
fn comparable(answer: &TestResponse) -> (u16, Vec<(String, HeaderValue)>, serde_json::Value) {
    let mut json = answer.json();
    json.as_object_mut().expect("an object").remove("last_seen");
    let differs = ["x-request-id", "content-length"];
    let headers = answer.headers.iter().filter(|(name, _)| !differs.contains(&name.as_str()));
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), value.clone())).collect();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    (answer.status.as_u16(), headers, json)
}

fn handing_over() -> Role {
    let serves_until = clock::boot_now().plus(3_600_000);
    Role { state: RoleState::Leader { serves_until, handing_over: true }, ..leading() }
}

#[tokio::test]
async fn both_paths_answer_every_heartbeat_the_same_in_every_role() {
    let page = "https://page.example".to_owned();
    let with_cors = |cors| {
        let memory = MemoryBackend::new();
        TestNode::with_backend(leading(), memory.clone(), Arc::new(memory), cors)
    };
    let nodes = [CorsPolicy::Any, CorsPolicy::Origins(vec![page]), CorsPolicy::Origins(Vec::new())].map(with_cors);
    for node in nodes.into_iter().chain([TestNode::with_discovery_server_compat(CorsPolicy::Any)]) {
        for body in
            [r#"{"username":"alice","addr":"10.40.6.26:9000"}"#, r#"{"username":"bob"}"#, r#"{"username":"a\"b\\c"}"#]
        {
            assert_eq!(node.post("/register", body).await.status, 201);
        }
        let carol = node.post("/register", r#"{"username":"carol","password":"secret"}"#).await.json();
        let bearer = format!("Bearer {}", carol["token"].as_str().unwrap());
        for role in [leading(), following(), without_leader(), leading_until(clock::boot_now(), TERM)] {
            node.role.send_replace(role.clone());
            for body in bodies() {
                let from_router = node.post(PATH, body.clone()).await;
                let fast_path = node.send_to_fast_path(request("POST", PATH, body.clone())).await;
                assert_eq!(comparable(&fast_path), comparable(&from_router), "{role:?} {}", body.trim());
                assert_eq!(fast_path.header("x-request-id").map(str::len), Some(32));
            }
            for authorization in [&bearer, "Bearer x", "Basic x", "x"] {
                let heartbeat = || {
                    let mut heartbeat = request("POST", PATH, r#"{"username":"carol"}"#);
                    heartbeat.headers_mut().insert("authorization", authorization.parse().unwrap());
                    heartbeat
                };
                let (from_router, fast_path) =
                    (node.send(heartbeat()).await, node.send_to_fast_path(heartbeat()).await);
                assert_eq!(comparable(&fast_path), comparable(&from_router), "{role:?} {authorization}");
            }
        }
    }
}

#[tokio::test]
async fn both_paths_answer_the_same_when_the_storage_is_unavailable() {
    let node = TestNode::new(leading());
    node.memory.faults().set_outage(Some(Fault::Transient));
    let body = r#"{"username":"alice"}"#;
    let (from_router, fast_path) =
        (node.post(PATH, body).await, node.send_to_fast_path(request("POST", PATH, body)).await);
    fast_path.expect_error(503, "storage_unavailable");
    assert_eq!(comparable(&fast_path), comparable(&from_router));
}

#[test]
fn only_plain_heartbeats_take_the_fast_path() {
    let handles = |method: &str, path: &str| HeartbeatFastPath::handles(&request(method, path, ""));
    assert!(handles("POST", "/heartbeat"));
    for (method, path) in [
        ("GET", "/heartbeat"),
        ("HEAD", "/heartbeat"),
        ("OPTIONS", "/heartbeat"),
        ("PUT", "/heartbeat"),
        ("POST", "/heartbeat?redirect"),
        ("POST", "/heartbeat?"),
        ("POST", "/heartbeat/"),
        ("POST", "/Heartbeat"),
        ("POST", "/register"),
    ] {
        assert!(!handles(method, path), "{method} {path}");
    }
    for (name, value) in [("origin", "https://page.example"), ("sec-fetch-site", "cross-site")] {
        let mut from_page = request("POST", "/heartbeat", "");
        from_page.headers_mut().insert(name, value.parse().unwrap());
        assert!(!HeartbeatFastPath::handles(&from_page), "{name}");
    }
}

#[tokio::test]
async fn a_valid_request_id_of_the_client_is_kept() {
    let node = TestNode::new(following());
    for (given, kept) in [("abc-1", true), ("a b", false)] {
        let mut request = request("POST", PATH, "");
        request.headers_mut().insert("x-request-id", given.parse().unwrap());
        assert_eq!(node.send_to_fast_path(request).await.header("x-request-id") == Some(given), kept);
    }
}

#[tokio::test]
async fn a_heartbeat_in_flight_when_the_term_ends_is_not_acknowledged() {
    for new_role in [following(), leading_until(clock::boot_now(), TERM), leading_until(BootMs::NEVER, TERM.next())] {
        let node = TestNode::with_alice_and_bob().await;
        let role = node.role.clone();
        let two_frames = stream::iter([r#"{"username":"#, r#""alice"}"#]).map(move |part| {
            if part.ends_with('}') {
                role.send_replace(new_role.clone());
            }
            Ok::<_, std::io::Error>(part)
        });
        node.send_to_fast_path(request("POST", PATH, Body::from_stream(two_frames)))
            .await
            .expect_error(503, "no_leader");
    }
}

/// A body of one frame, which calls a function when it is read.
struct SingleFrameBody<F>(Option<F>);

impl<F: FnOnce() + Unpin> HttpBody for SingleFrameBody<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(on_read) = self.0.take() else { return Poll::Ready(None) };
        on_read();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(br#"{"username":"alice"}"#)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

fn single_frame(on_read: impl FnOnce() + Unpin) -> Request<impl HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> {
    Request::builder().method("POST").uri(PATH).body(SingleFrameBody(Some(on_read))).unwrap()
}

#[tokio::test]
async fn a_heartbeat_whose_body_has_arrived_is_not_acknowledged_when_the_term_ends() {
    for (new_role, status) in [
        (following(), 403),
        (without_leader(), 503),
        (leading_until(clock::boot_now(), TERM), 503),
        // A request that is running when a handover begins is still completed.
        (handing_over(), 200),
    ] {
        let node = TestNode::with_alice_and_bob().await;
        let ends = || drop(node.role.send_replace(new_role));
        assert_eq!(node.send_body_to_fast_path(single_frame(ends)).await.status, status);
    }
}

#[tokio::test]
async fn only_a_valid_heartbeat_whose_body_has_arrived_is_accepted_without_waiting() {
    let node = TestNode::with_alice_and_bob().await;
    let (before, app) = (node.app.in_flight.len(), Arc::clone(&node.app));
    let in_flight = || assert_eq!(app.in_flight.len(), before + 1);
    let accepted =
        node.fast_path.try_accept(client(), &mut single_frame(in_flight)).expect("the whole body has arrived");
    assert_eq!(accepted.status(), 200);
    assert_eq!(node.app.in_flight.len(), before);
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
    let not_accepted = |body: Body| {
        let mut request = request("POST", PATH, body);
        let Err(first) = node.fast_path.try_accept(client(), &mut request) else {
            panic!("the heartbeat was accepted")
        };
        Body::new(ResumedBody { first, rest: request.into_body() })
    };
    // The slow path gets every byte, also those that were read.
    for body in
        [r#"{"username":"nobody"}"#, r#"{"username":"a/b"}"#, r#"{"username":"bob","addr":"x"}"#, "nonsense", ""]
    {
        let put_back = not_accepted(Body::from(body));
        assert_eq!(put_back.size_hint().exact(), Some(body.len() as u64));
        assert_eq!(put_back.collect().await.unwrap().to_bytes(), body);
    }
    let parts = stream::iter(["a", "b", "c"]).map(Ok::<_, std::io::Error>);
    assert_eq!(not_accepted(Body::from_stream(parts)).collect().await.unwrap().to_bytes(), "abc");
    let broken = stream::iter([Err::<&str, _>(std::io::Error::other("broken"))]);
    assert!(not_accepted(Body::from_stream(broken)).collect().await.is_err());
    for role in [following(), without_leader(), handing_over(), leading_until(clock::boot_now(), TERM)] {
        node.role.send_replace(role);
        let body = r#"{"username":"bob"}"#;
        assert_eq!(not_accepted(Body::from(body)).collect().await.unwrap().to_bytes(), body);
    }
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
}

#[tokio::test]
async fn the_fast_path_accepts_a_valid_token_and_no_other_credentials() {
    let node = TestNode::with_alice_and_bob().await;
    let carol = r#"{"username":"carol","password":"secret"}"#;
    let carol = node.post("/register", carol).await.json();
    let bearer = format!("Bearer {}", carol["token"].as_str().unwrap());
    let is_accepted = |authorization: Option<&str>| {
        let mut heartbeat = request("POST", PATH, r#"{"username":"carol"}"#);
        if let Some(authorization) = authorization {
            heartbeat.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        node.fast_path.try_accept(client(), &mut heartbeat).is_ok()
    };
    // The Basic value is carol:secret. A password must be hashed, so it takes the slow path.
    for other in [None, Some(&bearer[..bearer.len() - 1]), Some("Basic Y2Fyb2w6c2VjcmV0"), Some("Bearer")] {
        assert!(!is_accepted(other), "{other:?}");
    }
    assert_eq!(node.registry.online_count(clock::boot_now()), 0);
    assert!(is_accepted(Some(&bearer)));
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
}

#[tokio::test]
async fn a_heartbeat_is_in_flight_from_the_gate_to_its_response() {
    let node = TestNode::with_alice_and_bob().await;
    let (app, before) = (Arc::clone(&node.app), node.app.in_flight.len());
    let body = stream::iter([r#"{"username":"#, r#""alice"}"#]).map(move |part| {
        assert_eq!(app.in_flight.len(), before + 1);
        Ok::<_, std::io::Error>(part)
    });
    assert_eq!(node.send_to_fast_path(request("POST", PATH, Body::from_stream(body))).await.status, 200);
    assert_eq!(node.app.in_flight.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_held_during_a_handover_is_not_in_flight() {
    let node = TestNode::with_alice_and_bob().await;
    node.role.send_replace(handing_over());
    let body = r#"{"username":"alice"}"#;
    let mut held = Box::pin(node.send_to_fast_path(request("POST", PATH, body)));
    assert!(held.as_mut().now_or_never().is_none());
    assert_eq!(node.app.in_flight.len(), 0);
    node.role.send_replace(following());
    held.await.expect_error(403, "not_leader");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_takes_too_long_gets_408() {
    let node = TestNode::new(leading());
    let endless = stream::pending::<Result<&[u8], std::io::Error>>();
    node.send_to_fast_path(request("POST", PATH, Body::from_stream(endless)))
        .await
        .expect_error(408, "request_timeout");
}
