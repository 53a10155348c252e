use std::sync::Arc;

use axum::http::HeaderValue;
use futures_util::{StreamExt, stream};

use super::*;
use crate::http::testing::{Answer, Node, TERM, following, leading, leading_until, remote, request, without_leader};
use crate::storage::{Fault, MemoryBackend};
use rollcall_core::BootMs;
use rollcall_core::clock;
use rollcall_election::{Role, RoleState};

/// Everything that a heartbeat's body may be, right and wrong.
fn bodies() -> Vec<String> {
    let rows = [
        r#"{"username":"alice","addr":"10.40.6.26:9000"}"#,
        r#" { "addr" : ":9001", "username" : "bob", "more" : [1, {}] } "#,
        r#"{"username":"bob"}"#,
        r#"{"username":"bob","addr":null}"#,
        r#"{"username":"\u0061lice","addr":"[::1]:7"}"#,
        r#"{"username":"nobody"}"#,
        r#"{"username":"carol"}"#,
        "",
        "nonsense",
        "[\"alice\"]",
        "{}",
        r#"{"username":7}"#,
        r#"{"username":"alice","username":"bob"}"#,
        r#"{"username":"a b"}"#,
        r#"{"username":"alice","addr":"10.0.0.1"}"#,
        r#"{"username":"alice","addr":"10.0.0.1:0"}"#,
        r#"{"username":"alice","addr":[]}"#,
    ];
    let alice = r#"{"username":"alice"}"#;
    let at_the_limit = alice.to_owned() + &" ".repeat(64 * 1024 - alice.len());
    rows.map(str::to_owned).into_iter().chain([format!("{at_the_limit} "), at_the_limit]).collect()
}

/// What an answer says, but for what differs from one request to the next, and for the length, which hyper adds where the
/// router has not.
fn says(answer: &Answer) -> (u16, Vec<(String, HeaderValue)>, serde_json::Value) {
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
async fn both_ways_answer_the_same_to_every_heartbeat_in_every_role() {
    let page: HeaderValue = "https://page.example".parse().unwrap();
    for cors in [Cors::Any, Cors::Origins(vec![page]), Cors::Off] {
        let memory = MemoryBackend::new();
        let node = Node::on(leading(), memory.clone(), Arc::new(memory), cors);
        for body in [r#"{"username":"alice","addr":"10.40.6.26:9000"}"#, r#"{"username":"bob"}"#] {
            assert_eq!(node.post("/register", body).await.status, 201);
        }
        let carol = node.post("/register", r#"{"username":"carol","password":"secret"}"#).await.json();
        let bearer = format!("Bearer {}", carol["token"].as_str().unwrap());
        for role in [leading(), following(), without_leader(), leading_until(clock::boot_now(), TERM)] {
            node.role.send_replace(role.clone());
            for body in bodies() {
                let ordinary = node.post(PATH, body.clone()).await;
                let fast_path = node.fast_path(request("POST", PATH, body.clone())).await;
                assert_eq!(says(&fast_path), says(&ordinary), "{role:?} {}", body.trim());
                assert_eq!(fast_path.header("x-request-id").map(str::len), Some(32));
            }
            for authorization in [&bearer, "Bearer x", "Basic x", "x"] {
                let beat = || {
                    let mut beat = request("POST", PATH, r#"{"username":"carol"}"#);
                    beat.headers_mut().insert("authorization", authorization.parse().unwrap());
                    beat
                };
                let (ordinary, fast_path) = (node.send(beat()).await, node.fast_path(beat()).await);
                assert_eq!(says(&fast_path), says(&ordinary), "{role:?} {authorization}");
            }
        }
    }
}

#[tokio::test]
async fn both_ways_say_the_same_when_the_storage_is_away() {
    let node = Node::new(leading());
    node.memory.faults().set_outage(Some(Fault::Transient));
    let body = r#"{"username":"alice"}"#;
    let (ordinary, fast_path) = (node.post(PATH, body).await, node.fast_path(request("POST", PATH, body)).await);
    fast_path.refused(503, "storage_unavailable");
    assert_eq!(says(&fast_path), says(&ordinary));
}

#[test]
fn only_what_is_plain_goes_the_short_way() {
    let takes = |method: &str, path: &str| HeartbeatFastPath::takes(&request(method, path, ""));
    assert!(takes("POST", "/heartbeat"));
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
        assert!(!takes(method, path), "{method} {path}");
    }
    let mut from_page = request("POST", "/heartbeat", "");
    from_page.headers_mut().insert("origin", "https://page.example".parse().unwrap());
    assert!(!HeartbeatFastPath::takes(&from_page));
}

#[tokio::test]
async fn a_clients_own_request_id_is_kept_if_it_is_sane() {
    let node = Node::new(following());
    for (given, kept) in [("abc-1", true), ("a b", false)] {
        let mut request = request("POST", PATH, "");
        request.headers_mut().insert("x-request-id", given.parse().unwrap());
        assert_eq!(node.fast_path(request).await.header("x-request-id") == Some(given), kept);
    }
}

#[tokio::test]
async fn a_heartbeat_that_was_under_way_when_the_term_ended_is_not_acknowledged() {
    for becomes in [following(), leading_until(clock::boot_now(), TERM), leading_until(BootMs::NEVER, TERM.next())] {
        let node = Node::with_alice_and_bob().await;
        let role = node.role.clone();
        let whole = stream::iter([r#"{"username":"#, r#""alice"}"#]).map(move |part| {
            if part.ends_with('}') {
                role.send_replace(becomes.clone());
            }
            Ok::<_, std::io::Error>(part)
        });
        node.fast_path(request("POST", PATH, Body::from_stream(whole))).await.refused(503, "no_leader");
    }
}

/// A body that comes whole at once, and does something just then.
struct Whole<F>(Option<F>);

impl<F: FnOnce() + Unpin> HttpBody for Whole<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(just_then) = self.0.take() else { return Poll::Ready(None) };
        just_then();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(br#"{"username":"alice"}"#)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

fn whole(just_then: impl FnOnce() + Unpin) -> Request<impl HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin> {
    Request::builder().method("POST").uri(PATH).body(Whole(Some(just_then))).unwrap()
}

#[tokio::test]
async fn a_heartbeat_that_came_whole_is_not_acknowledged_either_when_the_term_ended() {
    for (becomes, status) in [
        (following(), 403),
        (without_leader(), 503),
        (leading_until(clock::boot_now(), TERM), 503),
        // What is under way when a handover begins is still done.
        (handing_over(), 200),
    ] {
        let node = Node::with_alice_and_bob().await;
        let ends = || drop(node.role.send_replace(becomes));
        assert_eq!(node.fast_path_body(whole(ends)).await.status, status);
    }
}

#[tokio::test]
async fn a_heartbeat_that_came_whole_is_accepted_without_waiting_and_no_other_is() {
    let node = Node::with_alice_and_bob().await;
    let (before, app) = (node.app.under_way.len(), Arc::clone(&node.app));
    let under_way = || assert_eq!(app.under_way.len(), before + 1);
    let accepted = node.fast_path.accept_at_once(remote(), &mut whole(under_way)).expect("it came whole");
    assert_eq!(accepted.status(), 200);
    assert_eq!(node.app.under_way.len(), before);
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
    let not_at_once = |body: Body| {
        let mut request = request("POST", PATH, body);
        let Err(first) = node.fast_path.accept_at_once(remote(), &mut request) else { panic!("accepted") };
        Body::new(Begun { first, rest: request.into_body() })
    };
    // Nothing of what was read is lost for the other way.
    for body in
        [r#"{"username":"nobody"}"#, r#"{"username":"a b"}"#, r#"{"username":"bob","addr":"x"}"#, "nonsense", ""]
    {
        let put_back = not_at_once(Body::from(body));
        assert_eq!(put_back.size_hint().exact(), Some(body.len() as u64));
        assert_eq!(put_back.collect().await.unwrap().to_bytes(), body);
    }
    let parts = stream::iter(["a", "b", "c"]).map(Ok::<_, std::io::Error>);
    assert_eq!(not_at_once(Body::from_stream(parts)).collect().await.unwrap().to_bytes(), "abc");
    let broken = stream::iter([Err::<&str, _>(std::io::Error::other("broken"))]);
    assert!(not_at_once(Body::from_stream(broken)).collect().await.is_err());
    for role in [following(), without_leader(), handing_over(), leading_until(clock::boot_now(), TERM)] {
        node.role.send_replace(role);
        let body = r#"{"username":"bob"}"#;
        assert_eq!(not_at_once(Body::from(body)).collect().await.unwrap().to_bytes(), body);
    }
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
}

#[tokio::test]
async fn with_a_good_token_a_heartbeat_is_accepted_without_waiting_and_with_no_other_proof() {
    let node = Node::with_alice_and_bob().await;
    let carol = r#"{"username":"carol","password":"secret"}"#;
    let carol = node.post("/register", carol).await.json();
    let bearer = format!("Bearer {}", carol["token"].as_str().unwrap());
    let at_once = |authorization: Option<&str>| {
        let mut beat = request("POST", PATH, r#"{"username":"carol"}"#);
        if let Some(authorization) = authorization {
            beat.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        node.fast_path.accept_at_once(remote(), &mut beat).is_ok()
    };
    // carol:secret, which has to be hashed first
    for other in [None, Some(&bearer[..bearer.len() - 1]), Some("Basic Y2Fyb2w6c2VjcmV0"), Some("Bearer")] {
        assert!(!at_once(other), "{other:?}");
    }
    assert_eq!(node.registry.online_count(clock::boot_now()), 0);
    assert!(at_once(Some(&bearer)));
    assert_eq!(node.registry.online_count(clock::boot_now()), 1);
}

#[tokio::test]
async fn a_heartbeat_counts_as_under_way_from_the_gate_to_its_answer() {
    let node = Node::with_alice_and_bob().await;
    let (app, before) = (Arc::clone(&node.app), node.app.under_way.len());
    let body = stream::iter([r#"{"username":"#, r#""alice"}"#]).map(move |part| {
        assert_eq!(app.under_way.len(), before + 1);
        Ok::<_, std::io::Error>(part)
    });
    assert_eq!(node.fast_path(request("POST", PATH, Body::from_stream(body))).await.status, 200);
    assert_eq!(node.app.under_way.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_held_while_leadership_changes_hands_and_is_not_under_way_then() {
    let node = Node::with_alice_and_bob().await;
    node.role.send_replace(handing_over());
    let body = r#"{"username":"alice"}"#;
    let mut held = Box::pin(node.fast_path(request("POST", PATH, body)));
    assert!(held.as_mut().now_or_never().is_none());
    assert_eq!(node.app.under_way.len(), 0);
    node.role.send_replace(following());
    held.await.refused(403, "not_leader");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_takes_too_long_is_408() {
    let node = Node::new(leading());
    let endless = stream::pending::<Result<&[u8], std::io::Error>>();
    node.fast_path(request("POST", PATH, Body::from_stream(endless))).await.refused(408, "request_timeout");
}
