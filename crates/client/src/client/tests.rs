//! Tests of the client against scripted servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::node_client::HEALTH_TIMEOUT;
use crate::testing::{health, serve};
use rollcall_core::ImageKind;

fn accepted_heartbeat() -> (u16, String) {
    (
        200,
        r#"{"success":true,"status":"ok","message":"m","last_seen":"t","ttl_ms":30000,"next_heartbeat_ms":10000}"#
            .to_owned(),
    )
}

fn client(servers: &[&String], retry_timeout: Duration) -> Client {
    Client::new(servers.iter().map(|server| (*server).clone()), retry_timeout).unwrap()
}

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

#[tokio::test]
async fn a_follower_names_the_leader_and_the_client_follows() {
    let mut tasks = JoinSet::new();
    let leader =
        serve(&mut tasks, |_, line| if line.starts_with("GET / ") { health(true, None) } else { accepted_heartbeat() })
            .await;
    let url = leader.clone();
    let follower = serve(&mut tasks, move |_, line| {
        assert!(line.starts_with("GET /"), "the request must go to the leader only: {line}");
        if line.starts_with("GET /cluster ") { cluster(&[&url]) } else { health(false, Some(&url)) }
    })
    .await;
    let client = client(&[&follower], Duration::from_secs(5));
    assert_eq!(client.heartbeat(&alice(), None).await.unwrap().next_heartbeat_ms, 10_000);
    assert_eq!(client.leader(), Some(leader));
}

#[tokio::test]
async fn the_client_goes_from_a_deposed_leader_to_the_leader_that_it_names() {
    let mut tasks = JoinSet::new();
    let new = serve(&mut tasks, |_, _| accepted_heartbeat()).await;
    let url = new.clone();
    let old = serve(&mut tasks, move |_, line| {
        if line.starts_with("GET / ") {
            return health(true, None);
        }
        if line.starts_with("GET /cluster ") { cluster(&[&url]) } else { not_leader(&url) }
    })
    .await;
    let client = client(&[&old], Duration::from_secs(5));
    client.heartbeat(&alice(), None).await.unwrap();
    assert_eq!(client.leader(), Some(new));
}

/// Response of a node that is not the leader.
fn not_leader(leader: &str) -> (u16, String) {
    (403, format!(r#"{{"success":false,"message":"m","code":"not_leader","leader_url":{leader:?}}}"#))
}

/// Response of `GET /cluster` with these nodes and one without a URL.
fn cluster(api_urls: &[&str]) -> (u16, String) {
    let node = |api_url: String| {
        format!(
            r#"{{"node":"127.0.0.1:1","api_url":{api_url},"role":null,"reachable":false,"load":null,"term":null,"last_heard_ago_ms":null}}"#
        )
    };
    let urls = api_urls.iter().map(|url| format!("{url:?}")).chain(["null".to_owned()]);
    let nodes: Vec<String> = urls.map(node).collect();
    (200, format!(r#"{{"nodes":[{}],"count":{}}}"#, nodes.join(","), nodes.len()))
}

#[tokio::test]
async fn a_host_that_is_only_named_as_the_leader_gets_no_token_and_no_password() {
    // In the health response, or in the response to the request itself.
    for is_leader in [false, true] {
        let mut tasks = JoinSet::new();
        let (connections, counter) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&connections);
        let evil = serve(&mut tasks, move |_, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            accepted_heartbeat()
        })
        .await;
        let member = serve(&mut tasks, |_, _| health(false, None)).await;
        let (url, asked) = (evil.clone(), Arc::clone(&counter));
        let malicious = serve(&mut tasks, move |_, line| {
            asked.fetch_add(1, Ordering::SeqCst);
            match line.split_once(" HTTP/") {
                Some(("GET /", _)) => health(is_leader, Some(&url)),
                Some(("GET /cluster", _)) => cluster(&[&member]),
                _ => not_leader(&url),
            }
        })
        .await;
        let client = client(&[&malicious], Duration::from_millis(700));
        client.use_token(Token::new("secret".into()));
        client.log_in_on_demand(alice(), Password::new("p".into()));
        let error = client.heartbeat(&alice(), None).await.unwrap_err().to_string();
        assert!(error.contains(&evil) || is_leader, "{error}");
        client.log_in(&alice(), &Password::new("p".into())).await.unwrap_err();
        assert!(counter.load(Ordering::SeqCst) > 2);
        assert_eq!(connections.load(Ordering::SeqCst), 0, "is_leader: {is_leader}");
        assert!(!client.servers().contains(&evil), "it is not saved either");
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let mut tasks = JoinSet::new();
    let evil = serve(&mut tasks, |_, _| accepted_heartbeat()).await;
    let target = format!("{evil}/heartbeat");
    let server = serve(
        &mut tasks,
        move |_, line| {
            if line.starts_with("GET / ") { health(true, None) } else { (307, target.clone()) }
        },
    )
    .await;
    let client = client(&[&server], Duration::from_secs(2));
    client.use_token(Token::new("secret".into()));
    assert!(matches!(client.heartbeat(&alice(), None).await, Err(ClientError::Rejected { status: 307, .. })));
}

#[tokio::test]
async fn a_request_is_retried_until_the_election_is_over() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |count, line| match (count, line.starts_with("GET / ")) {
        (0..6, true) => health(false, None),
        (0..6, false) => (503, r#"{"success":false,"message":"no leader","code":"no_leader"}"#.to_owned()),
        (_, true) => health(true, None),
        (_, false) => accepted_heartbeat(),
    })
    .await;
    client(&[&server], Duration::from_secs(10)).heartbeat(&alice(), None).await.unwrap();
}

#[tokio::test]
async fn after_the_retry_timeout_the_last_error_is_returned() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |_, _| health(false, None)).await;
    let error = client(&[&server], Duration::from_millis(200)).heartbeat(&alice(), None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("gave up after 200 ms: no node leads at the moment; asked {server}"));
}

#[tokio::test]
async fn a_rejection_is_returned_at_once() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |count, line| {
        if line.starts_with("GET / ") {
            return health(true, None);
        }
        assert_eq!(count, 1, "a rejected request must not be retried");
        (409, r#"{"success":false,"message":"taken","code":"user_exists","error":"exists"}"#.to_owned())
    })
    .await;
    let error = client(&[&server], Duration::from_secs(5)).register(&NewUser::named(alice())).await.unwrap_err();
    assert!(matches!(&error, ClientError::Rejected { status: 409, code, .. } if code == "user_exists"), "{error}");
}

const LIMITED: &str = r#"{"success":false,"message":"too many","code":"rate_limited"}"#;

#[tokio::test]
async fn a_request_beyond_a_rate_is_repeated_after_the_time_that_the_node_asks_for() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |count, line| match count {
        _ if line.starts_with("GET / ") => health(true, None),
        1 | 2 => (429, LIMITED.to_owned()),
        _ => (
            201,
            r#"{"success":true,"status":"ok","message":"m","user_id":"00000000-0000-0000-0000-000000000001"}"#
                .to_owned(),
        ),
    })
    .await;
    let started = Instant::now();
    client(&[&server], Duration::from_secs(15)).register(&NewUser::named(alice())).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2), "two waits of a second");
}

#[tokio::test]
async fn a_wait_that_is_longer_than_the_retry_timeout_is_an_error_at_once() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |count, line| {
        if line.starts_with("GET / ") {
            return health(true, None);
        }
        assert_eq!(count, 1, "it must not be repeated");
        (429, LIMITED.to_owned())
    })
    .await;
    let error = client(&[&server], Duration::from_millis(900)).register(&NewUser::named(alice())).await.unwrap_err();
    assert!(matches!(error, ClientError::RateLimited { .. }) && error.to_string() == "too many", "{error}");
}

#[tokio::test]
async fn the_error_for_a_server_that_is_not_a_node_names_the_server() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |_, _| (200, "<html>".to_owned())).await;
    let client = client(&[&server], Duration::from_secs(1));
    let error = client.health(&server).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{server} does not answer like a Rollcall node: ")), "{error}");
    drop(tasks);
    let error = client.health("http://127.0.0.1:1").await.unwrap_err().to_string();
    assert!(error.starts_with("no answer from http://127.0.0.1:1: ") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_node_that_hangs_does_not_delay_the_search_for_the_leader() {
    let mut tasks = JoinSet::new();
    // The operating system accepts the connections, as for a stopped process. No response follows.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = (format!("http://{}", hanging.local_addr().unwrap()), hanging);
    let leader = serve(&mut tasks, |_, _| health(true, None)).await;
    let client = client(&[&hanging.0, &leader], Duration::from_secs(5));
    let found = tokio::time::timeout(HEALTH_TIMEOUT / 2, client.find_leader()).await;
    assert_eq!(found, Ok(Some(leader)));
}

const STORED: &str = "1733511234-a1b2c3d4.png";

/// A leader. `script` returns the status of the n-th upload, and whether the image is stored.
async fn image_server(
    tasks: &mut JoinSet<()>,
    script: impl Fn(usize) -> (u16, bool) + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let uploads = Arc::new(AtomicUsize::new(0));
    let (seen, stored) = (Arc::clone(&uploads), AtomicUsize::new(0));
    let server = serve(tasks, move |_, line| match line.split_once(" HTTP/") {
        Some(("GET /", _)) => health(true, None),
        Some(("GET /images/alice", _)) => {
            let images = if stored.load(Ordering::SeqCst) > 0 { format!("{STORED:?}") } else { String::new() };
            (200, format!(r#"{{"images":[{images}],"count":0}}"#))
        }
        Some(("POST /upload_image/alice", _)) => {
            let (status, is_stored) = script(seen.fetch_add(1, Ordering::SeqCst));
            stored.fetch_add(usize::from(is_stored), Ordering::SeqCst);
            let body = format!(r#"{{"success":true,"message":"m","filename":{STORED:?},"code":"no_leader"}}"#);
            (status, body)
        }
        Some((path, _)) if path == format!("GET /image/alice/{STORED}") => (200, "bytes".to_owned()),
        _ => (404, String::new()),
    })
    .await;
    (server, uploads)
}

async fn upload(server: &String) -> Result<String, ClientError> {
    let mut uploads = client(&[server], Duration::from_secs(10)).uploads(&alice()).await?;
    Ok(uploads.send(ImageKind::Png, Bytes::from_static(b"bytes")).await?.filename)
}

#[tokio::test]
async fn a_successful_upload_is_sent_once() {
    let mut tasks = JoinSet::new();
    let (server, uploads) = image_server(&mut tasks, |_| (201, true)).await;
    assert_eq!((upload(&server).await.unwrap().as_str(), uploads.load(Ordering::SeqCst)), (STORED, 1));
}

#[tokio::test]
async fn an_upload_whose_response_was_lost_is_found_in_the_list_and_not_repeated() {
    for status in [0, 503] {
        let mut tasks = JoinSet::new();
        let (server, uploads) = image_server(&mut tasks, move |_| (status, true)).await;
        assert_eq!((upload(&server).await.unwrap().as_str(), uploads.load(Ordering::SeqCst)), (STORED, 1), "{status}");
    }
}

#[tokio::test]
async fn an_upload_that_was_not_stored_is_repeated() {
    for status in [0, 503] {
        let mut tasks = JoinSet::new();
        let (server, uploads) =
            image_server(&mut tasks, move |n| if n < 2 { (status, false) } else { (201, true) }).await;
        assert_eq!((upload(&server).await.unwrap().as_str(), uploads.load(Ordering::SeqCst)), (STORED, 3), "{status}");
    }
}

#[tokio::test]
async fn a_rejected_upload_is_not_repeated() {
    let mut tasks = JoinSet::new();
    let (server, uploads) = image_server(&mut tasks, |_| (400, false)).await;
    assert!(matches!(upload(&server).await, Err(ClientError::Rejected { status: 400, .. })));
    assert_eq!(uploads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_any_response_the_client_gives_up_long_before_the_retry_timeout() {
    let started = Instant::now();
    let error = client(&[&"http://127.0.0.1:1".to_owned()], Duration::from_mins(1)).online().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    let text = error.to_string();
    assert!(text.starts_with("gave up after 5000 ms: no answer from http://127.0.0.1:1: "), "{text}");
}

/// A leader that accepts heartbeats only with the token of the first login.
async fn protected_server(tasks: &mut JoinSet<()>) -> (String, Arc<AtomicUsize>) {
    let logins = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&logins);
    let server = serve(tasks, move |_, line| match line.split_once(" HTTP/") {
        Some(("GET /", _)) => health(true, None),
        Some(("POST /login", _)) => {
            seen.fetch_add(1, Ordering::SeqCst);
            let body = r#"{"success":true,"status":"ok","message":"m","token":"good","token_expires_at":"t"}"#;
            (200, body.to_owned())
        }
        Some(("POST /heartbeat", _)) if seen.load(Ordering::SeqCst) == 1 => accepted_heartbeat(),
        _ => (401, r#"{"success":false,"message":"m","code":"unauthorized"}"#.to_owned()),
    })
    .await;
    (server, logins)
}

#[tokio::test]
async fn a_rejected_token_is_replaced_by_one_login_if_the_password_is_known() {
    let mut tasks = JoinSet::new();
    let (server, logins) = protected_server(&mut tasks).await;
    let client = client(&[&server], Duration::from_secs(5));
    assert!(matches!(client.heartbeat(&alice(), None).await, Err(ClientError::Rejected { status: 401, .. })));
    client.log_in_on_demand(alice(), rollcall_core::Password::new("p".into()));
    client.heartbeat(&alice(), None).await.unwrap();
    assert_eq!(client.token().map(|token| token.reveal().to_owned()), Some("good".into()));
    // Now the server rejects the new token too. The client logs in once more and then gives up.
    logins.fetch_add(1, Ordering::SeqCst);
    assert!(matches!(client.heartbeat(&alice(), None).await, Err(ClientError::Rejected { status: 401, .. })));
    assert_eq!(logins.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_client_learns_the_other_nodes_from_one_node() {
    let mut tasks = JoinSet::new();
    let server = serve(&mut tasks, |_, _| cluster(&["http://127.0.0.1:7/"])).await;
    let client = client(&[&server], Duration::from_secs(1));
    client.learn_nodes().await;
    assert_eq!(client.servers(), [server, "http://127.0.0.1:7".to_owned()]);
}
