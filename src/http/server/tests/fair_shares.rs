//! Connections are shared fairly between addresses.

use tokio::net::TcpSocket;

use super::*;

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

/// Whether the server has closed a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = async {
        let mut buffer = vec![0; 4096];
        // A connection with bytes that were not read is reset.
        while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    timeout(MAX_SLOT_WAIT, read).await.is_ok()
}

#[tokio::test]
async fn an_address_with_all_connections_loses_one_to_another_address_at_once() {
    let half_body = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    for unfinished in [&b""[..], b"GET / HTTP/1.1\r\nHos", half_body] {
        let router = Router::new().route("/body", post(|body: String| async { body }));
        let (server, mut greedy) = start_with_greedy_client(router, unfinished).await;
        for _ in 0..5 {
            let answer = exchange(&mut connect_from(&server, OTHER).await, REQUEST).await;
            assert!(answer.ends_with("here"), "{answer}");
        }
        let mut closed = 0;
        for stream in &mut greedy {
            closed += usize::from(is_closed(stream).await);
        }
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
    let answer = exchange(&mut connect_from(&server, OTHER).await, REQUEST).await;
    assert!(answer.ends_with("here"), "{answer}");
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
    while server.connections.leaving() == 0 {
        sleep(ACCEPT_RETRY_PAUSE).await;
    }
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
