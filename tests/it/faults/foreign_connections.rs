//! Connections to the election port that are not from nodes, and a second process of a node.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::observed_cluster::{ObservedCluster, terms};
use crate::cluster::{Plan, Process, SOON, free_port, rollcall, until};

/// Number of connections of each kind. It is larger than the limit on pending connections from
/// non-members.
const CONNECTIONS_OF_EACH_KIND: usize = 40;
/// Number of further silent connections. Without a limit they would be visible in the node's open
/// files.
const SILENT_CONNECTIONS: u32 = 240;
/// Pause between two connections. Without the pause the connections would overflow the accept
/// queue. Then the operating system reports a connection to the client long before the node accepts
/// it.
const CONNECT_INTERVAL: Duration = Duration::from_millis(4);
/// Limit on pending connections from a member's own host (128), and a margin for other files.
const MAX_OPEN_FILES: usize = 128 + 40;
/// Bytes sent of one endless frame. The node must not store them.
const FRAME_BYTES_SENT: usize = 4 << 20;
/// Limit on the growth of the node's memory. All endless frames together have 160 MiB.
const MAX_GROWTH_KIB: u64 = 40 << 10;
/// Time for which the test observes the cluster.
const OBSERVATION_TIME: Duration = Duration::from_secs(6);
/// Pause between two counts of the open files.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);

/// Row 21: on one machine the lock or the port stops a second process.
#[tokio::test]
async fn a_second_process_of_a_node_exits_and_the_first_continues() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let term = observed.term().await;
    for (data_dir, code, word) in [("data", 78, "another process is this node"), ("elsewhere", 71, "cannot listen")] {
        let mut command = rollcall(observed.cluster.dir());
        command.args(["--config", "config.toml", "--this-node", &observed.cluster.name(leader)]);
        command.args(["--api-bind", "127.0.0.1", "--api-port", &free_port().to_string(), "--data-dir", data_dir]);
        let (out, log) = (observed.cluster.dir().join("second.out"), observed.cluster.dir().join("second.err"));
        let status = Process::start(command, &out, &log).wait().await;
        let log_text = std::fs::read_to_string(log).expect("the log was written");
        assert_eq!(status.code(), Some(code), "{log_text}");
        assert!(log_text.contains(word), "{log_text}");
    }
    assert_eq!(terms(&observed.observe_for(OBSERVATION_TIME).await), [term]);
}

/// Row 23 of the faults in tests/README.md.
#[tokio::test]
async fn foreign_connections_are_closed_in_time_and_cost_no_memory_and_no_leader() {
    let mut observed = ObservedCluster::start(Plan::documented()).await;
    let leader = observed.wait_until_settled().await;
    let term = observed.term().await;
    let memory = resident_kib(observed.cluster.id(leader));
    let max_open = open_files(observed.cluster.id(leader)) + MAX_OPEN_FILES;
    let mut connections = JoinSet::new();
    for index in 0..SILENT_CONNECTIONS {
        let port = observed.cluster.election(leader);
        connections.spawn(async move {
            sleep(CONNECT_INTERVAL * index).await;
            assert_disconnected(port, "silence", async |stream| stream).await;
        });
    }
    for _ in 0..CONNECTIONS_OF_EACH_KIND {
        let port = observed.cluster.election(leader);
        connections.spawn(assert_disconnected(port, "garbage", async |mut stream| {
            let garbage: Vec<u8> = (0..8192).map(|_| rand::random()).collect();
            let _ = stream.write_all(&garbage).await;
            stream
        }));
        connections.spawn(assert_disconnected(port, "an endless frame", async |mut stream| {
            let _ = stream.write_all(&u32::MAX.to_be_bytes()).await;
            let piece = vec![b'x'; 1 << 16];
            for _ in 0..FRAME_BYTES_SENT / piece.len() {
                if !matches!(timeout(SOON, stream.write_all(&piece)).await, Ok(Ok(()))) {
                    break;
                }
            }
            stream
        }));
        connections.spawn(assert_disconnected(port, "slow bytes", async |mut stream| {
            let _ = stream.write_all(&4096_u32.to_be_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            stream
        }));
        connections.spawn(assert_disconnected(port, "silence", async |stream| stream));
    }
    let process = observed.cluster.id(leader);
    let counting = async move {
        let mut max_seen = 0;
        for _ in 0..OBSERVATION_TIME.as_millis() / COUNT_INTERVAL.as_millis() {
            max_seen = max_seen.max(open_files(process));
            sleep(COUNT_INTERVAL).await;
        }
        max_seen
    };
    let (seen, max_seen) = tokio::join!(observed.observe_for(OBSERVATION_TIME), counting);
    assert_eq!(terms(&seen), [term], "the term does not change");
    assert!(max_seen <= max_open, "{max_seen} files were open at once, at most {max_open} may be");
    while let Some(ended) = connections.join_next().await {
        ended.expect("closed in time");
    }
    let grown = resident_kib(observed.cluster.id(leader)).saturating_sub(memory);
    assert!(grown < MAX_GROWTH_KIB, "{grown} KiB more");
    assert_eq!(observed.wait_for_agreement().await, leader);
}

/// Row 23 of the faults in tests/README.md.
#[tokio::test]
async fn http_on_the_election_port_gets_the_api_port_as_the_answer() {
    let cluster = Plan::quick().nodes(1).start().await;
    for request in
        ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /register HTTP/1.1\r\nhost: x\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(cluster.election(0)).await.expect("the node listens");
        stream.write_all(request.as_bytes()).await.expect("the node reads");
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(&format!("port {}", cluster.api(0).1)), "{answer}");
    }
    until("the node to lead afterwards", async || cluster.at(0).get("/leader").await.status == 200).await;
}

/// Connects, performs `act`, and waits until the other end has closed the connection.
async fn assert_disconnected(port: (&str, u16), what: &str, act: impl AsyncFnOnce(TcpStream) -> TcpStream) {
    let stream = TcpStream::connect(port).await.expect("the node listens");
    let mut stream =
        timeout(SOON + SOON, act(stream)).await.unwrap_or_else(|_| panic!("{what}: the connection never ends"));
    let mut buffer = [0; 1024];
    let ended = async { while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {} };
    timeout(SOON, ended).await.unwrap_or_else(|_| panic!("{what}: the connection is never closed"));
}

/// Number of open files and sockets of a process.
fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs, on Linux").count()
}

/// Resident memory of a process.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs, on Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the process has memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
