//! Tests of the terminal interface: a real peer process on a pseudo-terminal.

mod pty;
mod screen;

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use tokio::net::TcpStream;

use super::foreign_peers::{ID, greet, read_posts};
use super::peer_process::PeerProcess;
use crate::cluster::until;
use pty::TerminalUser;

const MESH: [&str; 3] = ["--no-lan", "--listen", "127.0.0.1:0"];

const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";
const CTRL_A: &str = "\x01";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_E: &str = "\x05";
const CTRL_K: &str = "\x0b";
const CTRL_R: &str = "\x12";
const CTRL_U: &str = "\x15";
const CTRL_W: &str = "\x17";

/// Whether this process ignores SIGHUP (the lowest bit of `SigIgn`), as under `nohup`. Child
/// processes inherit this.
fn is_under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line SigIgn");
    u64::from_str_radix(ignored.trim(), 16).expect("hex digits") & 1 == 1
}

/// Starts the second peer bob, linked to the peer on the terminal.
async fn bob(dir: &std::path::Path, user: &TerminalUser) -> PeerProcess {
    let first = user.mesh_addr();
    let flags: Vec<&str> = MESH.iter().copied().chain(["--peers", &first]).collect();
    let mut bob = PeerProcess::start(dir, "bob", &flags).await;
    bob.wait_for_peers(1).await;
    bob
}

#[tokio::test]
async fn the_input_line_survives_messages_that_arrive() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.press_keys("hello wrld");
    al.press_keys(&LEFT.repeat(3));
    al.wait_for_screen("the cursor", |screen| screen.typed() == ("> hello w".into(), "rld".into())).await;
    bob.type_line("how are you?");
    al.wait_for_screen("a message", |screen| screen.has(": how are you?")).await;
    let screen = al.screen();
    assert_eq!(screen.typed(), ("> hello w".into(), "rld".into()));
    assert!(screen.lines().iter().any(|line| line.starts_with("bob@") && line.ends_with(": how are you?")));
    al.press_keys("o\r");
    bob.wait_for_post("hello world").await;

    // Hundreds of messages arrive while a line longer than the terminal is typed, key by key.
    let long = (0..40).map(|number| format!("{number:04}")).collect::<Vec<_>>().join("-");
    for (number, key) in long.chars().enumerate() {
        bob.type_line(&format!("a message {number:03}."));
        al.press_keys(&key.to_string());
    }
    let last = format!("a message {:03}.", long.len() - 1);
    al.wait_for_screen("the last message", |screen| screen.has(&last)).await;
    let whole = format!("> {long}");
    al.wait_for_screen("the whole line", |screen| {
        let lines = screen.lines();
        lines.len() > 3 && lines[lines.len() - 3..].concat().starts_with(&whole)
    })
    .await;
    let lines = al.screen().lines();
    let shown: Vec<&str> = lines.iter().filter_map(|line| line.split("a message ").nth(1)).collect();
    let expected: Vec<String> = (0..long.len()).map(|number| format!("{number:03}.")).collect();
    assert_eq!(shown, expected, "each message is shown once, in order, on its own line");
    al.press_keys("\r");
    bob.wait_for_post(&long).await;
}

#[tokio::test]
async fn keys_edit_the_line_and_tab_completes_commands_and_names() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let bob = bob(dir.path(), &al).await;
    al.press_keys(&format!("two three{CTRL_A}one {CTRL_E} four"));
    al.wait_for_line("> one two three four").await;
    al.press_keys(CTRL_W);
    al.wait_for_line("> one two three ").await;
    al.press_keys(&format!("{LEFT}{LEFT}{CTRL_K}"));
    al.wait_for_line("> one two thre").await;
    al.press_keys(CTRL_U);
    al.wait_for_line("> ").await;
    al.press_keys("DM\t");
    al.wait_for_line("> DM ").await;
    al.press_keys("b\t");
    al.wait_for_line("> DM bob ").await;
    al.press_keys("psst\r");
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "psst") == 1)
        .await;
    // Two commands match: the input line gets their common prefix, and both are shown above it.
    al.press_keys("P\t");
    al.wait_for_screen("both commands", |screen| {
        screen.has("POST") && screen.has("PROFILE") && screen.typed().0 == "> P"
    })
    .await;
    al.press_keys(&format!("{CTRL_U}DM\r"));
    al.wait_for_line("To: ").await;
    al.press_keys("bo\t");
    al.wait_for_line("To: bob").await;
    al.press_keys("\r");
    al.wait_for_line("Message: ").await;
    al.press_keys("asked\r");
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "asked") == 1)
        .await;
    al.wait_for_line("> ").await;
}

#[tokio::test]
async fn each_line_of_a_paste_is_handled_as_if_it_had_been_typed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let bob = bob(dir.path(), &al).await;
    let mut foreign = TcpStream::connect(al.mesh_addr()).await.expect("it listens");
    greet(&mut foreign, ID).await;
    al.press_keys("LIST\r");
    al.wait_for_screen("both peers", |screen| screen.has("(2 peers)")).await;
    let lines: Vec<String> = (0..200).map(|number| format!("pasted line {number:03}")).collect();
    al.press_keys(&format!("pasted {LEFT}{LEFT}{LEFT}{LEFT}{LEFT}{LEFT}{LEFT}"));
    al.wait_for_screen("the cursor", |screen| screen.typed() == ("> ".into(), "pasted ".into())).await;
    al.press_keys(&format!("\x1b[200~{}\r\ndm bob psst\nand the\x1b[201~", lines.join("\r")));
    assert_eq!(read_posts(&mut foreign, lines.len()).await, lines);
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "psst") == 1)
        .await;
    assert!(lines.iter().all(|line| bob.post_count(line) == 1));
    // The text after the last line break can be edited, as can a paste without a line break.
    al.wait_for_line("> and thepasted ").await;
    al.press_keys("\x1b[200~ rest\x1b[201~\r");
    bob.wait_for_post("and thepasted  rest").await;
}

#[tokio::test]
async fn commands_are_taken_in_any_case_and_a_wrong_picture_is_asked_for_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let bob = bob(dir.path(), &al).await;
    al.press_keys("list\r");
    al.wait_for_screen("the list", |screen| screen.has("[KNOWN PEERS] (1 peers):") && screen.has("s ago")).await;
    al.press_keys("dm me later\r");
    al.wait_for_screen("the peers", |screen| screen.has("no peer is called \"me\"") && screen.has("bob@")).await;
    al.press_keys("dm bob psst\r");
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "psst") == 1)
        .await;
    let picture = dir.path().join("al.png");
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n").expect("room for it");
    al.press_keys("profile\r");
    for (question, answer, reply) in [
        ("Display name: ", "Al", ""),
        ("Status: ", "here", ""),
        ("Picture (y, n or a file): ", "maybe", "! cannot read maybe"),
        ("Picture (y, n or a file): ", "y", ""),
        ("Picture file: ", "none.png", "! cannot read none.png"),
        ("Picture (y, n or a file): ", picture.to_str().expect("a path"), ""),
    ] {
        al.wait_for_line(question).await;
        al.press_keys(&format!("{answer}\r"));
        al.wait_for_screen(reply, |screen| screen.has(reply)).await;
    }
    al.wait_for_line("> ").await;
    until("the profile", async || {
        bob.count(|event| {
            let profile = &event["profile"];
            event["event"] == "profile"
                && profile["display_name"] == "Al"
                && profile["status"] == "here"
                && profile["avatar"].is_object()
        }) == 1
    })
    .await;
    al.press_keys("quit it\r");
    bob.wait_for_post("quit it").await;
    al.press_keys("Quit\r");
    assert_eq!(al.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_input_history_survives_a_restart_and_only_the_owner_can_read_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data_dir = dir.path().join("al");
    let data_dir = data_dir.to_str().expect("a path");
    let flags: Vec<&str> = MESH.iter().copied().chain(["--dir", data_dir]).collect();
    let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
    al.press_keys("the first thing\r");
    al.wait_for_screen("the next line", |screen| screen.has("> the first thing") && screen.typed().0 == "> ").await;
    al.press_keys("another\r");
    al.wait_for_screen("the next line", |screen| screen.has("> another") && screen.typed().0 == "> ").await;
    // An answer to a question of the program is not added to the history.
    al.press_keys("POST\r");
    al.wait_for_line("Message: ").await;
    al.press_keys("not this\r");
    al.wait_for_line("> ").await;
    al.press_keys(CTRL_D);
    assert!(al.wait_for_exit().await.success());
    let file = std::fs::metadata(dir.path().join("al/typed")).expect("it was stored");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
    al.press_keys(UP);
    al.wait_for_line("> POST").await;
    al.press_keys(UP);
    al.wait_for_line("> another").await;
    al.press_keys(&format!("{CTRL_U}{CTRL_R}first"));
    al.wait_for_screen("the line that the search found", |screen| screen.has("': the first thing")).await;
    al.press_keys("\r");
    al.wait_for_screen("the line", |screen| screen.has("> the first thing") && screen.typed().0 == "> ").await;
}

#[tokio::test]
async fn texts_and_names_of_other_peers_cannot_send_escapes_to_the_terminal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.press_keys("careful");
    al.wait_for_line("> careful").await;
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{8}\u{8}";
    bob.type_line(&format!("POST {evil}said"));
    bob.type_line(&format!("PROFILE {evil}{} | {evil}status", "x".repeat(5000)));
    bob.type_line(&format!("{} end", "long ".repeat(1600)));
    al.wait_for_screen("all three texts", |screen| {
        let all = screen.lines().concat().replace(' ', "");
        all.contains("said") && all.contains("status") && all.contains("longend")
    })
    .await;
    al.wait_for_line("> careful").await;
    // A real terminal would execute these sequences, so none of them may be in the output.
    let bytes = al.bytes();
    for sequence in ["\u{1b}[2J", "\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}", "\u{8}"] {
        let bad = sequence.as_bytes();
        assert!(!bytes.windows(bad.len()).any(|found| found == bad), "{sequence:?}");
    }
    // Control characters that the user pastes or types are replaced too.
    al.press_keys("\x1b[200~\u{9b}2J\u{202e}\x1b[201~\x16\x1b");
    al.wait_for_screen("the paste", |screen| screen.has("> careful\u{fffd}2J\u{fffd}\u{fffd}")).await;
}

#[tokio::test]
async fn ctrl_d_and_ctrl_c_end_the_chat_and_restore_the_terminal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.press_keys(CTRL_D);
    assert_eq!(al.wait_for_exit().await.code(), Some(0));

    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.press_keys("never said");
    al.wait_for_line("> never said").await;
    al.press_keys(CTRL_C);
    al.wait_for_line("> ").await;
    al.press_keys("DM\r");
    al.wait_for_line("To: ").await;
    al.press_keys(CTRL_C);
    al.wait_for_line("> ").await;
    al.press_keys(CTRL_C);
    assert_eq!(al.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_ends_the_peer_during_line_editing_without_a_key_press() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let flags = [&MESH[..], &["--log-level", "info"]].concat();
        let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
        al.press_keys("half a li");
        al.wait_for_line("> half a li").await;
        al.signal(signal);
        if signal == Signal::HUP && is_under_nohup() {
            // Under `nohup` the peer ignores SIGHUP and continues.
            al.press_keys("n");
            al.wait_for_line("> half a lin").await;
            al.press_keys("\x7f");
            al.wait_for_line("> half a li").await;
            al.signal(Signal::TERM);
        }
        assert_eq!(al.wait_for_exit().await.code(), Some(0), "{signal:?}");
        let lines = al.screen().lines();
        assert!(lines.iter().any(|line| line == "> half a li"), "{lines:?}");
        assert!(
            lines.last().is_some_and(|line| line.ends_with("leaving")),
            "the log is below the input line: {lines:?}"
        );
    }
}

#[tokio::test]
async fn a_signal_ends_the_peer_even_if_the_terminal_output_is_blocked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.stop_output();
    al.signal(Signal::TERM);
    assert_eq!(al.wait_for_any_exit().await.code(), Some(143), "as after a second signal");
    assert!(al.has_modes_from_before());
}

#[tokio::test]
async fn a_stopped_peer_restores_its_terminal_modes_when_it_continues() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.press_keys("half a");
    al.wait_for_line("> half a").await;
    al.signal(Signal::STOP);
    // A shell that gets the terminal in the meantime sets its own modes.
    al.set_shell_modes();
    al.signal(Signal::CONT);
    until("the editor's modes", async || !al.has_modes_from_before()).await;
    al.press_keys(&format!(" line{LEFT}{LEFT}"));
    al.wait_for_screen("the rest", |screen| screen.typed() == ("> half a li".into(), "ne".into())).await;
    bob.type_line("welcome back");
    al.wait_for_screen("a message", |screen| screen.has(": welcome back")).await;
    al.press_keys("\r");
    bob.wait_for_post("half a line").await;
    al.press_keys(CTRL_D);
    assert_eq!(al.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_terminal_that_cannot_move_its_cursor_is_read_line_by_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start_on("dumb", dir.path(), "al", &MESH);
    al.wait_for_screen("its start", |screen| screen.has("listening at")).await;
    al.press_keys("HELP\r");
    al.wait_for_screen("the help", |screen| screen.has("send a message to all peers")).await;
    al.press_keys("QUIT\r");
    assert_eq!(al.wait_for_exit().await.code(), Some(0));
}
