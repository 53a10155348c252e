//! Connections to the election port that are not from nodes: they are closed in time and do not
//! disturb the members.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::*;

/// Returns the time until the other side ends the connection, and the bytes that it sent before.
fn time_until_closed(mut stream: TcpStream) -> (Duration, Vec<u8>) {
    let start = Instant::now();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    (start.elapsed(), received)
}

/// Limit for closing a connection: the network timeout and a margin for a busy machine.
fn close_limit() -> Duration {
    Duration::from_millis(TIMINGS.net_timeout_ms) + Duration::from_millis(400)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_bytes_on_the_election_port_do_not_disturb_the_cluster() {
    let cluster = Cluster::start(2);
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    let addr = cluster.peers[leader].socket_addr();
    let answer = tokio::task::spawn_blocking(move || {
        let mut connections: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for (index, connection) in (0_u8..).zip(&mut connections) {
            let _ = match index % 4 {
                0 => connection.write_all(&u32::MAX.to_be_bytes()),
                1 => connection.write_all(b"\0\0\0\x05Hello"),
                2 => connection.write_all(&[0]),
                _ => Ok(()),
            };
        }
        let mut http_client = TcpStream::connect(addr).unwrap();
        http_client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        http_client.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut answer = String::new();
        http_client.read_to_string(&mut answer).unwrap();
        // The silent connections are closed too, in order or by a reset.
        let silent = connections.last_mut().unwrap();
        silent.set_read_timeout(Some(TIMEOUT)).unwrap();
        match silent.read(&mut [0; 1]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        answer
    });
    let answer = timeout(TIMEOUT, answer).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("HTTP API is on port 3000"), "{answer}");
    assert_eq!(cluster.leader().await, leader);
    assert_eq!(cluster.role(leader).borrow().term, term);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_hello_is_closed_in_time() {
    let cluster = Cluster::start(1);
    cluster.leader().await;
    let addr = cluster.peers[0].socket_addr();
    let beginnings: [&[u8]; 5] = [b"", b"\0", b"\0\0\x3f\xff{", &[0xff; 64], b"\0\0\0\x02{}"];
    for beginning in beginnings {
        let waited = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(beginning).unwrap();
            time_until_closed(stream).0
        });
        assert!(waited.await.unwrap() < close_limit(), "{beginning:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bytes_do_not_extend_the_handshake_timeout() {
    let cluster = Cluster::start(1);
    cluster.leader().await;
    let addr = cluster.peers[0].socket_addr();
    let waited = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        let start = Instant::now();
        stream.write_all(b"\0\0\x3f\xff").unwrap();
        // The kernel may accept the first writes after the end of the connection.
        while stream.write_all(b"x").is_ok() && start.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    });
    assert!(waited.await.unwrap() < close_limit());
    cluster.stop().await;
}

/// Opens connections until `stop` is set, sends nothing and keeps the connections open. Returns
/// their number.
fn flood(addr: SocketAddr, stop: &AtomicBool) -> usize {
    let mut open = std::collections::VecDeque::new();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
            open.push_back(stream);
            count += 1;
        }
        if open.len() > 400 {
            open.pop_front();
        }
        // This pause allows more than a thousand connections a second, and the nodes still get
        // processor time.
        std::thread::sleep(Duration::from_micros(500));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_silent_connections_does_not_keep_a_member_out() {
    let mut cluster = Cluster::start_with(3, mismatched_nodes::slow_timings);
    let leader = cluster.leader().await;
    let term = cluster.role(leader).borrow().term;
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = [leader, (leader + 2) % 3]
        .map(|node| {
            let (addr, stop) = (cluster.peers[node].socket_addr(), Arc::clone(&stop));
            std::thread::spawn(move || flood(addr, &stop))
        })
        .into_iter()
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A member returns during the flood and is admitted.
    let restarted = (leader + 1) % 3;
    cluster.nodes[restarted].take().unwrap().stop().await;
    let listener = TcpListener::bind(cluster.peers[restarted].socket_addr()).unwrap();
    let start = Instant::now();
    let mut restart_options = options(cluster.dirs[restarted].path(), &cluster.peers, restarted, 0);
    mismatched_nodes::slow_timings(&mut restart_options);
    let restarted_node = Election::start(listener, restart_options).unwrap().0;
    cluster.nodes[restarted] = Some(restarted_node);
    assert_eq!(cluster.leader().await, leader);
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let count: usize = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
    assert!(count > 300, "{count} connections are no flood");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(cluster.role(leader).borrow().term, term, "the term did not change");
    cluster.stop().await;
}
