//! Flood of a real peer with long messages of forged senders: its memory stays bounded, and what
//! others said stays in its history.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use super::foreign_peers::{greet, message};
use super::peer_process::PeerProcess;
use crate::cluster::{SOON, http_client, rollcall, until};

/// Bound on the private memory of the peer, in bytes. The history has 16 MiB, and each queue to or
/// from the peer at most as much.
const MAX_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// Largest history file, in bytes: appended texts between two compactions, and a full history.
const MAX_FILE_BYTES: u64 = 100 * 1024 * 1024;
/// Number of forged senders. The author table has as many authors.
const FORGED_SENDERS: u64 = 500;
/// Number of forged messages. Their texts have 123 MB together.
const FORGED_MESSAGES: u64 = 15_000;
const HONEST_MESSAGES: usize = 20;

/// Peer whose events are not kept: they would take more memory than the peer itself.
struct FloodedPeer {
    child: Child,
    stdin: ChildStdin,
    ready: Value,
}

impl FloodedPeer {
    fn start(dir: &std::path::Path) -> Self {
        let mut command = rollcall(dir);
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        let flags = ["--no-lan", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--dir", "kept"];
        command.args(["peer", "--json", "--name", "alice"]).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program was built");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let (ready, first_line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            out.read_line(&mut line).expect("it writes");
            ready.send(line).expect("the test waits");
            io::copy(&mut out, &mut io::sink()).expect("it writes");
        });
        let line = first_line.recv_timeout(SOON).expect("it is ready");
        let stdin = child.stdin.take().expect("piped");
        Self { child, stdin, ready: serde_json::from_str(&line).expect("a line of JSON") }
    }

    fn field(&self, name: &str) -> &str {
        self.ready[name].as_str().expect("a text")
    }

    /// Number of messages that it has received.
    async fn received(&self) -> u64 {
        let url = format!("http://{}/metrics", self.field("metrics"));
        let answer = http_client().get(url).send().await.expect("it serves");
        let text = answer.text().await.expect("a text");
        let line = text.lines().find_map(|line| line.strip_prefix("rollcall_peer_posts_received_total "));
        line.expect("the metric").parse().expect("a number")
    }

    /// Private memory, in bytes (`proc_pid_smaps(5)`).
    fn memory_bytes(&self) -> u64 {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("readable");
        let line = smaps.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("the line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for FloodedPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_senders_neither_exhaust_the_memory_nor_displace_what_others_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = FloodedPeer::start(dir.path());
    let addr = alice.field("listen").to_owned();
    let mut bob =
        PeerProcess::start(dir.path(), "bob", &["--no-lan", "--listen", "127.0.0.1:0", "--peers", &addr]).await;
    bob.wait_for_peers(1).await;
    for number in 0..HONEST_MESSAGES {
        bob.type_line(&format!("honest {number}"));
    }
    until("the honest messages", async || alice.received().await == HONEST_MESSAGES as u64).await;
    bob.quit().await;
    let before = alice.memory_bytes();

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.66:0".parse().expect("an address")).expect("a free port");
    let mut forger = socket.connect(addr.parse().expect("an address")).await.expect("it listens");
    greet(&mut forger, "000000000000000000000000000000ee").await;
    let text = "x".repeat(8192);
    let mut most = 0;
    for number in 0..FORGED_MESSAGES {
        let sender = format!("{:032x}", 0xf0_0000 + number % FORGED_SENDERS);
        let flood = message(&sender, 1 + number / FORGED_SENDERS, "chat", &text);
        forger.write_all(flood.as_bytes()).await.expect("it reads");
        if number % 500 == 0 {
            most = most.max(alice.memory_bytes());
        }
    }
    let all = HONEST_MESSAGES as u64 + FORGED_MESSAGES;
    let mut received = 0;
    while received < all {
        let earlier = received;
        until("more forged messages", async || {
            received = alice.received().await;
            most = most.max(alice.memory_bytes());
            received > earlier
        })
        .await;
    }
    println!("private memory: {} kB before the flood, at most {} kB during it", before / 1024, most / 1024);
    assert!(most < MAX_MEMORY_BYTES, "{most} bytes");
    writeln!(alice.stdin, "QUIT").expect("it reads");
    assert!(alice.child.wait().expect("it is our child").success());
    let file = dir.path().join("kept/history.jsonl");
    let length = fs::metadata(&file).expect("it exists").len();
    assert!(length < MAX_FILE_BYTES, "{length}");
    let kept = fs::read_to_string(file).expect("readable");
    assert_eq!(kept.matches(r#""text":"honest "#).count(), HONEST_MESSAGES);
}
