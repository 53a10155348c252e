//! Tests with peers of other programs, and with clients that are not peers, at the mesh port of a
//! real process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::json_process::JsonProcess;
use super::peer_process::PeerProcess;
use crate::cluster::{SOON, rollcall, until};

pub(super) const ID: &str = "000000000000000000000000000000aa";

async fn start(dir: &tempfile::TempDir) -> PeerProcess {
    PeerProcess::start(dir.path(), "alice", &["--no-lan", "--listen", "127.0.0.1:0"]).await
}

/// Connects and exchanges greetings.
async fn connect_and_greet(peer: &PeerProcess, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(peer.mesh_addr()).await.expect("it listens");
    greet(&mut stream, id).await;
    stream
}

pub(super) async fn greet(stream: &mut TcpStream, id: &str) {
    stream.write_all(format!("{id}\n").as_bytes()).await.expect("it reads");
    let mut line = [0; 33];
    stream.read_exact(&mut line).await.expect("a greeting");
    assert!(line[..32].iter().all(u8::is_ascii_hexdigit) && line[32] == b'\n', "{line:?}");
}

pub(super) fn message(id: &str, number: u64, kind: &str, payload: &str) -> String {
    json!({"sender_id": id, "sequence_no": number, "type": kind, "payload": payload, "timestamp": 1_728_938_500})
        .to_string()
}

/// Reads until a message matches. Each read must return only whole messages.
async fn read_until(stream: &mut TcpStream, mut is_wanted: impl FnMut(&Value) -> bool) -> Value {
    let mut buffer = [0; 4096];
    let reading = async {
        loop {
            let length = stream.read(&mut buffer).await.expect("it writes");
            assert!(length > 0, "the connection ended");
            for message in serde_json::Deserializer::from_slice(&buffer[..length]).into_iter::<Value>() {
                let message = message.expect("whole messages");
                for field in ["sender_id", "sequence_no", "type", "payload", "timestamp"] {
                    assert!(!message[field].is_null(), "{field} is missing in {message}");
                }
                if is_wanted(&message) {
                    return message;
                }
            }
        }
    };
    timeout(SOON, reading).await.expect("soon")
}

/// Reads the texts of the first `count` chat messages.
pub(super) async fn read_posts(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    read_until(stream, |message| {
        texts.extend(message["payload"].as_str().filter(|_| message["type"] == "chat").map(str::to_owned));
        texts.len() == count
    })
    .await;
    texts
}

#[tokio::test]
async fn a_peer_of_another_program_can_chat_in_both_directions() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let mut stream = connect_and_greet(&alice, ID).await;
    // The messages have no delimiter. Two are in one write, one is in two writes, and one has an
    // unknown type.
    let (first, second, third) =
        (message(ID, 1, "chat", "one"), message(ID, 2, "chat", "two }{"), message(ID, 3, "chat", "three"));
    let (head, tail) = third.split_at(20);
    for part in [format!("{first}{second}{}{head}", message(ID, 9, "dance", "")), tail.to_owned()] {
        stream.write_all(part.as_bytes()).await.expect("it reads");
        stream.flush().await.expect("it reads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for text in ["one", "two }{", "three"] {
        assert_eq!(alice.wait_for_post(text).await["uid"], ID);
    }
    stream.write_all(first.as_bytes()).await.expect("it reads");
    alice.type_line("hello stranger");
    let chat = read_until(&mut stream, |message| message["type"] == "chat").await;
    assert_eq!(chat["payload"], "hello stranger");
    read_until(&mut stream, |message| message["type"] == "heartbeat").await;
    read_until(&mut stream, |message| message["type"] == "heartbeat").await;
    assert_eq!(alice.post_count("one"), 1, "the repeated message is not shown");
    // The other peer sends no heartbeats, so it is not timed out after the interval and the
    // timeout.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(alice.count(|event| event["event"] == "lost"), 0);
}

#[tokio::test]
async fn chat_that_a_peer_of_another_program_has_sent_itself_is_removed_from_its_queue() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let mut stream = connect_and_greet(&alice, ID).await;
    alice.wait_for_peers(1).await;
    // The pauses between the writes to this peer take two seconds.
    for line in 0..100 {
        alice.type_line(&format!("line {line}"));
    }
    let first = read_until(&mut stream, |message| message["payload"] == "line 0").await;
    let (author, number) = (&first["sender_id"], first["sequence_no"].as_u64().expect("a number"));
    // It has got the last lines from somebody else, and forwards them as it received them.
    for line in 90..100 {
        let number = number + line;
        let chat = format!(r#"{{"sender_id":{author},"sequence_no":{number},"type":"chat","payload":"line {line}"}}"#);
        stream.write_all(chat.as_bytes()).await.expect("it reads");
    }
    alice.type_line("the end");
    let mut texts = Vec::new();
    read_until(&mut stream, |message| {
        texts.extend((message["type"] == "chat").then(|| message["payload"].to_string()));
        message["payload"] == "the end"
    })
    .await;
    let expected: Vec<String> =
        (1..90).map(|line| format!("\"line {line}\"")).chain(["\"the end\"".to_owned()]).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn all_lines_before_quit_reach_a_peer_of_another_program() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let mut stream = connect_and_greet(&alice, ID).await;
    alice.wait_for_peers(1).await;
    let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    for line in &lines {
        alice.type_line(line);
    }
    let (events, texts) = tokio::join!(alice.quit(), read_posts(&mut stream, lines.len()));
    assert_eq!(texts, lines);
    assert!(events.iter().any(|event| event["event"] == "sending"), "the user is told about the wait");
    assert!(!events.iter().any(|event| event["event"] == "not_sent"));
}

#[tokio::test]
async fn the_end_tells_how_many_messages_were_not_sent_and_to_whom() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let mut stream = connect_and_greet(&alice, ID).await;
    alice.wait_for_peers(1).await;
    for number in 0..600 {
        alice.type_line(&format!("line {number}"));
    }
    let reading = async {
        let mut count = 0;
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            count += usize::from(String::from_utf8_lossy(&buffer[..length]).contains("\"line "));
        }
        count
    };
    let (events, received) = tokio::join!(alice.quit(), reading);
    let not_sent = events.iter().find(|event| event["event"] == "not_sent").expect("a notice");
    assert_eq!(not_sent["to"]["uid"], ID);
    let messages = not_sent["messages"].as_u64().expect("a number");
    let total = messages + received as u64;
    // The message that waits for its pause is not counted.
    assert!((599..=600).contains(&total), "{received} and {messages}");
}

#[tokio::test]
async fn lines_before_the_end_of_the_input_reach_a_configured_peer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = start(&dir).await;
    let foreign = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let foreign_addr = foreign.local_addr().expect("bound").to_string();
    let start = |name: &str, peer: &str, lines: &[String]| {
        let input = dir.path().join(name);
        fs::write(&input, lines.join("\n")).expect("room for it");
        let mut command = rollcall(dir.path());
        for variable in rollcall::config::chat::env_vars() {
            command.env_remove(variable);
        }
        command.args(["peer", "--no-lan", "--listen", "127.0.0.1:0", "--name", name, "--peers", peer]);
        command.stdin(File::open(input).expect("written")).stdout(Stdio::null()).spawn().expect("it was built")
    };
    let lines: Vec<String> = (0..150).map(|number| format!("line {number}")).collect();
    let mut bob = start("bob", &foreign_addr, &lines);
    let (mut stream, _) = timeout(SOON, foreign.accept()).await.expect("soon").expect("a connection");
    greet(&mut stream, ID).await;
    assert_eq!(read_posts(&mut stream, lines.len()).await, lines);
    let mut carol = start("carol", &ours.mesh_addr(), &["hello".to_owned()]);
    ours.wait_for_post("hello").await;
    for peer in [&mut bob, &mut carol] {
        until("the end", async || peer.try_wait().expect("our child").is_some()).await;
    }
}

#[tokio::test]
async fn two_names_of_one_peer_of_another_program_make_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let flags = ["--no-lan", "--listen", "127.0.0.1:0"];
    let names = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let flags = [&flags[..], &["--peers", &names[0], "--peer", &names[1]]].concat();
    let _alice = PeerProcess::start(dir.path(), "alice", &flags).await;
    // Both are accepted before either gets a greeting.
    let mut streams = Vec::new();
    while streams.len() < 2 {
        streams.push(timeout(SOON, listener.accept()).await.expect("soon").expect("a connection").0);
    }
    let mut greeted = 0;
    for stream in &mut streams {
        stream.write_all(format!("{ID}\n").as_bytes()).await.expect("it reads");
    }
    for stream in &mut streams {
        let mut line = [0; 33];
        greeted += usize::from(timeout(SOON, stream.read_exact(&mut line)).await.expect("soon").is_ok());
    }
    assert_eq!(greeted, 1);
    let later = timeout(Duration::from_secs(2), listener.accept()).await;
    assert!(later.is_err(), "another connection: {later:?}");
}

#[tokio::test]
async fn a_mistyped_name_at_a_question_does_not_make_the_next_answer_public() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let flags = ["--no-lan", "--listen", "127.0.0.1:0", "--peers", &alice.mesh_addr()];
    let bob = PeerProcess::start(dir.path(), "bob", &flags).await;
    let is_bob = |event: &Value| event["peer"]["uid"].as_str().is_some_and(|uid| uid.starts_with("bob@"));
    until("its name", async || alice.count(is_bob) == 1).await;
    for line in ["DM", "bbo", "bob", "the secret", "DM", "bbo", "", "DM", "", "PROFILE", "", "the end"] {
        alice.type_line(line);
    }
    bob.wait_for_post("the end").await;
    assert_eq!(bob.count(|event| event["event"] == "post"), 1);
    let is_secret = |event: &Value| event["event"] == "direct" && event["text"] == "the secret";
    until("the direct message", async || bob.count(is_secret) == 1).await;
    let refused = |why: &str| alice.count(|event| event["why"].as_str().is_some_and(|text| text.contains(why)));
    assert_eq!((refused("no peer is called \"bbo\""), refused("the answer was empty")), (2, 3));
}

#[tokio::test]
async fn a_file_of_another_program_is_accepted_and_the_log_names_its_unknown_keys() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let friends = [start(&dir).await, start(&dir).await, start(&dir).await];
    let config = dir.path().join("theirs.yaml");
    fs::write(&config, "listen_addr: \":0\"\nlog_level: WARN\nmax_peers: 5\n").expect("written");
    let log = dir.path().join("log");
    let mut command = rollcall(dir.path());
    for variable in rollcall::config::chat::env_vars().chain(["RUST_LOG"]) {
        command.env_remove(variable);
    }
    command.args(["peer", "--json", "--no-lan", "--name", "bob", "--config"]).arg(&config);
    command.args(["--peers", &friends[0].mesh_addr()]);
    command.args(["--peer", &friends[1].mesh_addr(), "--peer", &friends[2].mesh_addr()]);
    command.stderr(File::create(&log).expect("a file"));
    let bob = JsonProcess::start("bob", command).await.expect("the program was built");
    assert!(bob.ready_field("listen").starts_with("0.0.0.0:"));
    // A peer that is found again after a lost connection counts once.
    let found = || {
        let found = bob.events().into_iter().filter(|event| event["event"] == "found");
        found.map(|event| event["peer"]["uid"].to_string()).collect::<BTreeSet<String>>()
    };
    until("all three friends", async || found().len() == 3).await;
    let warning = r#"theirs.yaml:3: there is no setting "max_peers", so it has no effect"#;
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains(" WARN ") && text.contains(warning), "{text}");
}

#[test]
fn the_peer_command_tells_the_version() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let told = rollcall(dir.path()).args(["peer", "--version"]).output().expect("it was built");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && text.trim().ends_with(env!("CARGO_PKG_VERSION")), "{text}");
}

#[tokio::test]
async fn clients_that_are_not_peers_are_disconnected_without_effect_on_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let mut friend = connect_and_greet(&alice, ID).await;
    let other = "000000000000000000000000000000bb";
    let endless = format!("{other}\n{{\"a\":\"{}", "x".repeat(80_000));
    for noise in ["GET / HTTP/1.1\r\n\r\n".to_owned(), "x".repeat(1000), format!("{other}\nhello"), endless] {
        let mut stream = TcpStream::connect(alice.mesh_addr()).await.expect("it listens");
        let _ = stream.write_all(noise.as_bytes()).await;
        let mut rest = Vec::new();
        let ended = timeout(SOON, stream.read_to_end(&mut rest)).await;
        // The connection is closed or reset. The system resets a connection that is closed with
        // unread bytes.
        assert!(ended.is_ok(), "the connection with {:?} stays open", &noise[..20.min(noise.len())]);
    }
    // A silent connection is closed after the greeting timeout.
    let mut silent = TcpStream::connect(alice.mesh_addr()).await.expect("it listens");
    let _ = timeout(SOON, silent.read_to_end(&mut Vec::new())).await.expect("it is closed");
    alice.type_line("still here");
    read_until(&mut friend, |message| message["payload"] == "still here").await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_disconnected_without_effect_on_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut alice = start(&dir).await;
    let bob =
        PeerProcess::start(dir.path(), "bob", &["--no-lan", "--listen", "127.0.0.1:0", "--peers", &alice.mesh_addr()])
            .await;
    alice.wait_for_peers(1).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    let mut slow = socket.connect(alice.mesh_addr().parse().expect("an address")).await.expect("it listens");
    greet(&mut slow, ID).await;
    let beat =
        json!({"sender_id": ID, "sequence_no": 1, "type": "heartbeat", "payload": "", "timestamp": 1, "rollcall": 1});
    slow.write_all(beat.to_string().as_bytes()).await.expect("it reads");
    alice.wait_for_peers(2).await;
    let long = "x".repeat(8_000);
    let is_dropped = |alice: &PeerProcess| {
        alice.count(|event| event["event"] == "lost" && event["why"] == "it reads too slowly") == 1
    };
    for round in 0..2_000 {
        alice.type_line(&format!("{round} {long}"));
        if round % 50 == 0 && is_dropped(&alice) {
            break;
        }
    }
    until("the end of the slow link", async || is_dropped(&alice)).await;
    alice.type_line("the last");
    bob.wait_for_post("the last").await;
    assert_eq!(bob.count(|event| event["event"] == "lost"), 0);
    drop(slow);
}

#[tokio::test]
async fn dialling_an_address_that_accepts_no_connection_times_out() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    // The listener accepts nothing. When its backlog is full, the system does not answer further
    // connections.
    let listener = socket.listen(1).expect("it listens");
    let full = listener.local_addr().expect("bound");
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(full)).await {
        queued.push(stream.expect("queued"));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let flags = ["--no-lan", "--listen", "127.0.0.1:0", "--peers", &full.to_string()];
    let alice = PeerProcess::start(dir.path(), "alice", &flags).await;
    let is_timeout = |event: &Value| event["event"] == "unreachable" && event["why"] == "connecting timed out";
    until("the end of the dial", async || alice.count(is_timeout) == 1).await;
}
