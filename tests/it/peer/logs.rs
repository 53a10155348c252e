//! Tests of the log of a real peer. Its standard error is a file or a pipe.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::foreign_peers::{ID, greet, message};
use super::json_process::JsonProcess;
use super::peer_process::PeerProcess;
use crate::cluster::{Process, rollcall, until};

/// Starts a peer that dials `peers` and has an unreachable registry.
fn start(dir: &Path, peers: &str, level: Option<&str>, format: &str) -> Process {
    let mut command = rollcall(dir);
    for variable in rollcall::config::chat::env_vars().chain(["RUST_LOG"]) {
        command.env_remove(variable);
    }
    command.args(["peer", "--name", "alice", "--no-lan", "--listen", "127.0.0.1:0"]);
    command.args(["--peers", peers, "--registry", "http://127.0.0.1:1"]);
    // The same heartbeats as at the other peer, which would time out with longer intervals.
    command.env("P2P_HEARTBEAT_INTERVAL", "1s").env("P2P_HEARTBEAT_TIMEOUT", "2s");
    // A flag sets the format, and a variable sets the level.
    command.args(["--log-format", format]);
    if let Some(level) = level {
        command.env("P2P_LOG_LEVEL", level);
    }
    Process::start_without_flag(command, &dir.join("out"), &dir.join("log"))
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

#[tokio::test]
async fn a_json_log_has_one_object_per_line_with_the_documented_fields() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let friend = PeerProcess::start(dir.path(), "friend", &["--no-lan", "--listen", "127.0.0.1:0"]).await;
    let (there, id) = (friend.mesh_addr(), friend.events()[0]["id"].clone());
    let mut peer = start(dir.path(), &format!("127.0.0.1:1,{there}"), None, "json");
    let lines = || -> Vec<Value> {
        let text = log(dir.path());
        // The last line may be incomplete.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    };
    let find =
        |message: &str| lines().into_iter().find(|line| line["message"].as_str().unwrap_or("").contains(message));
    until("both failures", async || find("dial failed").is_some() && find("registry cannot be used").is_some()).await;
    let failed = find("dial failed").expect("waited for");
    assert_eq!((&failed["level"], &failed["address"]), (&"INFO".into(), &"127.0.0.1:1".into()), "{failed}");
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("refused")), "{failed}");
    assert!(failed["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{failed}");
    let away = find("registry cannot be used").expect("waited for");
    assert!(away["level"] == "WARN" && away["reason"].as_str().is_some_and(|why| !why.is_empty()), "{away}");
    until("a link", async || find("linked").is_some()).await;
    let linked = find("linked").expect("waited for");
    assert_eq!((&linked["peer"], &linked["dialled"], linked["address"].as_str()), (&id, &true.into(), Some(&*there)));
    friend.quit().await;
    until("its end", async || find("unlinked").is_some()).await;
    let unlinked = find("unlinked").expect("waited for");
    assert_eq!((&unlinked["peer"], &unlinked["link"]), (&id, &linked["link"]));
    assert_eq!(unlinked["reason"], "the other end ended it");
    peer.signal(Signal::TERM);
    assert!(peer.wait().await.success());
}

#[tokio::test]
async fn the_log_level_limits_the_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peer = start(dir.path(), "127.0.0.1:1", Some("warn"), "text");
    until("a warning", async || log(dir.path()).contains(" WARN ")).await;
    peer.signal(Signal::TERM);
    assert!(peer.wait().await.success());
    let text = log(dir.path());
    assert!(!text.contains(" INFO ") && text.lines().count() == 1, "{text}");
    assert!(text.contains(" reason=\""), "{text}");
}

#[tokio::test]
async fn an_unread_log_does_not_block_the_peer_and_dropped_lines_are_reported() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut unread, stderr) = std::io::pipe().expect("a pipe");
    let mut command = rollcall(dir.path());
    for variable in rollcall::config::chat::env_vars() {
        command.env_remove(variable);
    }
    command.args(["peer", "--json", "--name", "alice", "--no-lan", "--listen", "127.0.0.1:0", "--log-level", "debug"]);
    command.stderr(stderr);
    let mut alice = JsonProcess::start("alice", command).await.expect("the program was built");
    let mut stream = TcpStream::connect(alice.ready_field("listen")).await.expect("it listens");
    greet(&mut stream, ID).await;
    // Each object causes one log line. All lines together are six times as large as the pipe and
    // the log queue.
    let noise = "{}\n".repeat(20_000) + &message(ID, 1, "chat", "still here");
    stream.write_all(noise.as_bytes()).await.expect("it reads");
    alice.wait_for_event("the message after the noise", |event| event["text"] == "still here").await;
    let read = Arc::<Mutex<Vec<u8>>>::default();
    let text = || String::from_utf8(read.lock().expect("no thread panics with the lock").clone()).expect("text");
    let sink = Arc::clone(&read);
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let length = unread.read(&mut buffer).expect("a pipe");
            if length == 0 {
                return;
            }
            sink.lock().expect("no thread panics with the lock").extend_from_slice(&buffer[..length]);
        }
    });
    // The pipe is read now, so no later line is dropped.
    until("the count of dropped lines", async || text().contains("lines of the log were lost")).await;
    alice.type_line("QUIT");
    assert!(alice.wait_for_exit().await.success());
    reader.join().expect("it only reads");
    let text = text();
    let lost = text.lines().filter(|line| line.contains("lines of the log were lost"));
    let counts = lost.map(|line| line.rsplit_once("lines=").and_then(|(_, count)| count.parse::<usize>().ok()));
    let counts: Vec<usize> = counts.map(|count| count.expect("a count")).collect();
    assert!(!counts.is_empty(), "it is reported");
    let kept = text.lines().filter(|line| line.contains("invalid message")).count();
    assert_eq!(kept + counts.iter().sum::<usize>(), 20_000, "{counts:?}");
    assert!(text.lines().last().is_some_and(|line| line.contains("unlinked") || line.contains("leaving")), "{text}");
}
