//! Connections are shared fairly between addresses.

use futures_util::FutureExt;
use tokio::net::TcpSocket;

use super::*;
use crate::http::pool_client::PoolClient;

/// A connection from an address of this machine.
async fn connect_from(server: &RunningServer, ip: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((ip, 0))).unwrap();
    socket.connect(server.addr).await.unwrap()
}

const GREEDY: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A server with three connections, on which one address sends `unfinished`.
async fn start_with_greedy_client(router: Router, unfinished: &[u8]) -> (RunningServer, Vec<TcpStream>) {
    let server = RunningServer::start_with_slots(router.route("/", get(|| async { "here" })), 3).await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(&server, GREEDY).await;
        stream.write_all(unfinished).await.unwrap();
        greedy.push(stream);
    }
    (server, greedy)
}

/// Sends requests on new connections until one is served. On a slow machine a connection may not
/// get its slot in time, and then gets a 503.
async fn wait_until_served(server: &RunningServer, ip: [u8; 4]) {
    let requests = async {
        loop {
            let answer = exchange(&mut connect_from(server, ip).await, REQUEST).await;
            if answer.ends_with("here") {
                return;
            }
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
    };
    timeout(HEAD_TIMEOUT, requests).await.expect("a connection of this address is served");
}

/// Waits until the server closes one of the connections. Returns the number of closed ones.
async fn closed_connections(streams: &mut [TcpStream]) -> usize {
    let read = async |stream: &mut TcpStream| {
        let mut buffer = vec![0; 4096];
        // A connection with bytes that were not read is reset.
        while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    let mut reads: FuturesUnordered<_> = streams.iter_mut().map(read).collect();
    timeout(HEAD_TIMEOUT, reads.next()).await.expect("a connection is closed");
    let mut closed = 1;
    while let Some(Some(())) = reads.next().now_or_never() {
        closed += 1;
    }
    closed
}

#[tokio::test]
async fn an_address_with_all_connections_loses_one_to_another_address() {
    let half_body = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    for unfinished in [&b""[..], b"GET / HTTP/1.1\r\nHos", half_body] {
        let router = Router::new().route("/body", post(|body: String| async { body }));
        let (server, mut greedy) = start_with_greedy_client(router, unfinished).await;
        for _ in 0..5 {
            wait_until_served(&server, OTHER).await;
        }
        let closed = closed_connections(&mut greedy).await;
        assert!((1..3).contains(&closed), "{closed} were closed");
        drop(greedy);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_its_response_loses_its_connection_to_another_address() {
    let endless = || async { Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(vec![0_u8; 64 * 1024]))) };
    let router = Router::new().route("/endless", get(endless));
    let (server, _greedy) = start_with_greedy_client(router, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    wait_until_served(&server, OTHER).await;
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_fair_pool_is_refused_at_once_when_its_connection_is_displaced() {
    let block = AddressBlock::of(GREEDY.into());
    let pool = FairPool::new(1, 10);
    let Answer::Granted(_held) = pool.request(Claim::fixed(block)) else { panic!("the pool is empty") };
    let (enter, mut entered) = watch::channel(0);
    let wait = get(move |client: PoolClient| async move {
        enter.send_modify(|entered| *entered += 1);
        let granted = pool.acquire(Claim::fixed(client.claimant()), HEAD_TIMEOUT).await;
        if granted.is_ok() { "granted" } else { "refused" }
    });
    let router = Router::new().route("/wait", wait);
    let (server, mut greedy) = start_with_greedy_client(router, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    entered.wait_for(|entered| *entered == 3).await.unwrap();
    // Their requests do not end by themselves.
    wait_until_served(&server, OTHER).await;
    let answers = greedy.iter_mut().map(|stream| Box::pin(read_to_end(stream)));
    let (answer, ..) =
        timeout(HEAD_TIMEOUT, futures_util::future::select_all(answers)).await.expect("one is displaced");
    assert!(answer.ends_with("refused"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_runs_on_a_displaced_connection_is_still_answered() {
    let SlowHandler { handler, mut entered, finish } = slow_handler();
    let router = Router::new().route("/slow", handler);
    let (server, mut greedy) = start_with_greedy_client(router, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    entered.wait_for(|entered| *entered).await.unwrap();
    let mut other = connect_from(&server, OTHER).await;
    other.write_all(REQUEST).await.unwrap();
    let displaced = async {
        while server.connections.leaving() == 0 {
            sleep(ACCEPT_RETRY_PAUSE).await;
        }
    };
    timeout(HEAD_TIMEOUT, displaced).await.expect("a connection is displaced");
    finish.send_replace(true);
    let answered = futures_util::future::join_all(greedy.iter_mut().map(|stream| async {
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).ends_with("done")
    }));
    assert_eq!(answered.await, [true; 3]);
    // It got the slot, or a 503 because the test was slow.
    assert!(read_to_end(&mut other).await.starts_with("HTTP/1.1 "));
    server.stop().await;
}

#[tokio::test]
async fn an_address_with_all_rejected_connections_leaves_room_for_another_address() {
    // All slots are taken by requests that run, so every further connection waits.
    let SlowHandler { handler, finish, .. } = slow_handler();
    let router = Router::new().route("/slow", handler);
    let (server, _running) = start_with_greedy_client(router, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(connect_from(&server, GREEDY).await);
    }
    let mut other = connect_from(&server, OTHER).await;
    other.write_all(REQUEST).await.unwrap();
    finish.send_replace(true);
    assert!(read_to_end(&mut other).await.starts_with("HTTP/1.1 "));
    server.stop().await;
}
