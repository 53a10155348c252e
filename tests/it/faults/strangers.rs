//! What does not belong on an election port, and nodes that are there twice.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::watched::{Watched, terms};
use crate::cluster::{Plan, Process, SOON, free_port, rollcall, until};

/// More than the strangers that a node listens to at once.
const OF_EACH: usize = 40;
/// Silent ones besides, so many that without a limit they would show among the node's open files.
const SILENT: u32 = 240;
/// Between two of them: all at once would overflow the queue of connections that wait to be accepted, and then the system tells
/// a client that it is connected, but not the node, until much later.
const BETWEEN: Duration = Duration::from_millis(4);
/// The strangers from a member's own host that a node listens to at once (128), and some files that come and go.
const MOST_OPEN: usize = 128 + 40;
/// Of the endless frames together; they must not be kept.
const FLOOD_BYTES: usize = 4 << 20;
/// What a node may grow by in all this: the floods together are 160 MiB.
const MOST_GROWTH_KIB: u64 = 40 << 10;
const AFTER: Duration = Duration::from_secs(6);
/// Between two counts of the open files.
const LOOK: Duration = Duration::from_millis(20);

/// Row 21: on one machine, the system itself keeps a second process out, by the lock or by the port.
#[tokio::test]
async fn a_second_process_of_a_node_ends_at_its_start_and_the_first_goes_on() {
    let mut watched = Watched::start(Plan::documented()).await;
    let leader = watched.settled().await;
    let term = watched.term().await;
    for (data_dir, code, word) in [("data", 78, "another process is this node"), ("elsewhere", 71, "cannot listen")] {
        let mut command = rollcall(watched.cluster.dir());
        command.args(["--config", "config.toml", "--this-node", &watched.cluster.name(leader)]);
        command.args(["--api-bind", "127.0.0.1", "--api-port", &free_port().to_string(), "--data-dir", data_dir]);
        let (out, log) = (watched.cluster.dir().join("second.out"), watched.cluster.dir().join("second.err"));
        let status = Process::start(command, &out, &log).wait().await;
        let said = std::fs::read_to_string(log).expect("it was written");
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(terms(&watched.watch_for(AFTER).await), [term]);
}

/// Row 23.
#[tokio::test]
async fn what_is_no_node_is_shown_out_in_time_and_neither_fills_memory_nor_disturbs_the_leader() {
    let mut watched = Watched::start(Plan::documented()).await;
    let leader = watched.settled().await;
    let term = watched.term().await;
    let memory = resident_kib(watched.cluster.id(leader));
    let most_open = open_files(watched.cluster.id(leader)) + MOST_OPEN;
    let mut strangers = JoinSet::new();
    for place in 0..SILENT {
        let port = watched.cluster.election(leader);
        strangers.spawn(async move {
            sleep(BETWEEN * place).await;
            shown_out(port, "silence", async |stream| stream).await;
        });
    }
    for _ in 0..OF_EACH {
        let port = watched.cluster.election(leader);
        strangers.spawn(shown_out(port, "garbage", async |mut stream| {
            let garbage: Vec<u8> = (0..8192).map(|_| rand::random()).collect();
            let _ = stream.write_all(&garbage).await;
            stream
        }));
        strangers.spawn(shown_out(port, "an endless frame", async |mut stream| {
            let _ = stream.write_all(&u32::MAX.to_be_bytes()).await;
            let piece = vec![b'x'; 1 << 16];
            for _ in 0..FLOOD_BYTES / piece.len() {
                if !matches!(timeout(SOON, stream.write_all(&piece)).await, Ok(Ok(()))) {
                    break;
                }
            }
            stream
        }));
        strangers.spawn(shown_out(port, "slow bytes", async |mut stream| {
            let _ = stream.write_all(&4096_u32.to_be_bytes()).await;
            while stream.write_all(b" ").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            stream
        }));
        strangers.spawn(shown_out(port, "silence", async |stream| stream));
    }
    let process = watched.cluster.id(leader);
    let counting = async move {
        let mut most = 0;
        for _ in 0..AFTER.as_millis() / LOOK.as_millis() {
            most = most.max(open_files(process));
            sleep(LOOK).await;
        }
        most
    };
    let (seen, most) = tokio::join!(watched.watch_for(AFTER), counting);
    assert_eq!(terms(&seen), [term], "the leader is undisturbed");
    assert!(most <= most_open, "{most} files were open at once, at most {most_open} may be");
    while let Some(ended) = strangers.join_next().await {
        ended.expect("shown out");
    }
    let grown = resident_kib(watched.cluster.id(leader)).saturating_sub(memory);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB more");
    assert_eq!(watched.agreed().await, leader);
}

/// Row 23.
#[tokio::test]
async fn http_on_the_election_port_is_answered_with_the_port_that_was_meant() {
    let cluster = Plan::quick().nodes(1).start().await;
    for request in
        ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /register HTTP/1.1\r\nhost: x\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(cluster.election(0)).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(&format!("port {}", cluster.api(0).1)), "{answer}");
    }
    until("the node to lead all the same", async || cluster.at(0).get("/leader").await.status == 200).await;
}

/// Connects, does this, and waits until the other end has ended the connection.
async fn shown_out(port: (&str, u16), what: &str, act: impl AsyncFnOnce(TcpStream) -> TcpStream) {
    let stream = TcpStream::connect(port).await.expect("it listens");
    let mut stream = timeout(SOON + SOON, act(stream)).await.unwrap_or_else(|_| panic!("{what} is heard for ever"));
    let mut buffer = [0; 1024];
    let ended = async { while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {} };
    timeout(SOON, ended).await.unwrap_or_else(|_| panic!("{what} is never shown out"));
}

/// How many files and sockets a process has open.
fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs, on Linux").count()
}

/// The memory of a process, as the system counts it.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs, on Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
