//! The short way of a heartbeat, ahead of the router: nothing is asked as often.
//!
//! Only what is plain comes here; whatever is unusual about a request (another method, a query, a web page's request) goes
//! to the router. Both ways are made of the same functions, in the same order, so that they cannot tell different things;
//! this one spares what a router does to find them.

use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::{Layer, ServiceExt, service_fn};

use super::app::{Cors, Shared};
use super::credentials::Authorization;
use super::json::JsonBody;
use super::leader::{self, Leader};
use super::params::Remote;
use super::stamp::Stamp;
use super::{presence, router};

/// The path that is served here.
const PATH: &str = "/heartbeat";

/// The short way.
pub(super) struct Express {
    app: Shared,
    stamp: Stamp,
}

impl Express {
    /// The short way beside the router that has this `stamp`.
    pub(super) fn new(app: Shared, stamp: &Stamp) -> Self {
        let stamp = stamp.with_base(cors_headers(&app.cors));
        Self { app, stamp }
    }

    /// Whether a request may go the short way.
    pub(super) fn takes<B>(request: &Request<B>) -> bool {
        let path = request.uri().path_and_query().map(axum::http::uri::PathAndQuery::as_str);
        request.method() == Method::POST && path == Some(PATH) && !request.headers().contains_key(header::ORIGIN)
    }

    /// The answer to such a request.
    pub(super) async fn answer<B>(&self, remote: Remote, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let heartbeat = |leader, request| self.heartbeat(leader, remote, request);
        let in_time = |request| router::in_time(Duration::ZERO, leader::pass(&self.app, request, heartbeat));
        self.stamp.put_on_answer(request, in_time).await
    }

    async fn heartbeat<B>(&self, leader: Leader, remote: Remote, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let authorization = Authorization::of(request.headers());
        match JsonBody::read(request).await {
            Ok(body) => {
                let app = State(Shared::clone(&self.app));
                presence::heartbeat(leader, app, remote, authorization, body).await.into_response()
            }
            Err(error) => error.into_response(),
        }
    }
}

/// What is on every answer to a request that comes from no web page, as the router's own layer says it.
fn cors_headers(cors: &Cors) -> HeaderMap {
    let Some(layer) = router::cors(cors) else { return HeaderMap::new() };
    let blank = service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    let asked = Request::builder().method(Method::POST).uri(PATH).body(Body::empty()).expect("a path and no body");
    let answer = layer.layer(blank).oneshot(asked).now_or_never().expect("nothing there waits for anything");
    answer.map_or_else(|never| match never {}, |answer| answer.into_parts().0.headers)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;
    use futures_util::stream;

    use super::super::testing::{Answer, Node, TERM, following, leading, leading_until, request, without_leader};
    use super::*;
    use crate::clock;
    use crate::domain::BootMs;
    use crate::election::{Role, Standing};
    use crate::storage::{Fault, Memory};

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
        Role { standing: Standing::Leader { serves_until, handing_over: true }, ..leading() }
    }

    #[tokio::test]
    async fn both_ways_answer_the_same_to_every_heartbeat_in_every_role() {
        let page: HeaderValue = "https://page.example".parse().unwrap();
        for cors in [Cors::Any, Cors::Origins(vec![page]), Cors::Off] {
            let memory = Memory::new();
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
                    let express = node.express(request("POST", PATH, body.clone())).await;
                    assert_eq!(says(&express), says(&ordinary), "{role:?} {}", body.trim());
                    assert_eq!(express.header("x-request-id").map(str::len), Some(32));
                }
                for authorization in [&bearer, "Bearer x", "Basic x", "x"] {
                    let beat = || {
                        let mut beat = request("POST", PATH, r#"{"username":"carol"}"#);
                        beat.headers_mut().insert("authorization", authorization.parse().unwrap());
                        beat
                    };
                    let (ordinary, express) = (node.send(beat()).await, node.express(beat()).await);
                    assert_eq!(says(&express), says(&ordinary), "{role:?} {authorization}");
                }
            }
        }
    }

    #[tokio::test]
    async fn both_ways_say_the_same_when_the_storage_is_away() {
        let node = Node::new(leading());
        node.memory.faults().set_outage(Some(Fault::Transient));
        let body = r#"{"username":"alice"}"#;
        let (ordinary, express) = (node.post(PATH, body).await, node.express(request("POST", PATH, body)).await);
        express.refused(503, "storage_unavailable");
        assert_eq!(says(&express), says(&ordinary));
    }

    #[test]
    fn only_what_is_plain_goes_the_short_way() {
        let takes = |method: &str, path: &str| Express::takes(&request(method, path, ""));
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
        assert!(!Express::takes(&from_page));
    }

    #[tokio::test]
    async fn a_clients_own_request_id_is_kept_if_it_is_sane() {
        let node = Node::new(following());
        for (given, kept) in [("abc-1", true), ("a b", false)] {
            let mut request = request("POST", PATH, "");
            request.headers_mut().insert("x-request-id", given.parse().unwrap());
            assert_eq!(node.express(request).await.header("x-request-id") == Some(given), kept);
        }
    }

    #[tokio::test]
    async fn a_heartbeat_that_was_under_way_when_the_term_ended_is_not_acknowledged() {
        for becomes in [following(), leading_until(clock::boot_now(), TERM), leading_until(BootMs::NEVER, TERM.next())]
        {
            let node = Node::with_alice_and_bob().await;
            let role = node.role.clone();
            let body = stream::once(async move {
                role.send_replace(becomes);
                Ok::<_, std::io::Error>(r#"{"username":"alice"}"#)
            });
            node.express(request("POST", PATH, Body::from_stream(body))).await.refused(503, "no_leader");
        }
    }

    #[tokio::test]
    async fn a_heartbeat_counts_as_under_way_from_the_gate_to_its_answer() {
        let node = Node::with_alice_and_bob().await;
        let (app, before) = (Arc::clone(&node.app), node.app.under_way.len());
        let body = stream::once(async move {
            assert_eq!(app.under_way.len(), before + 1);
            Ok::<_, std::io::Error>(r#"{"username":"alice"}"#)
        });
        assert_eq!(node.express(request("POST", PATH, Body::from_stream(body))).await.status, 200);
        assert_eq!(node.app.under_way.len(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_is_held_while_leadership_changes_hands_and_is_not_under_way_then() {
        let node = Node::with_alice_and_bob().await;
        node.role.send_replace(handing_over());
        let body = r#"{"username":"alice"}"#;
        let mut held = Box::pin(node.express(request("POST", PATH, body)));
        assert!(held.as_mut().now_or_never().is_none());
        assert_eq!(node.app.under_way.len(), 0);
        node.role.send_replace(following());
        held.await.refused(403, "not_leader");
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_takes_too_long_is_408() {
        let node = Node::new(leading());
        let endless = stream::pending::<Result<&[u8], std::io::Error>>();
        node.express(request("POST", PATH, Body::from_stream(endless))).await.refused(408, "request_timeout");
    }
}
