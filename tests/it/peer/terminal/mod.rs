//! A person at a terminal: a real peer process on a pseudo-terminal, and what it shows there.

mod pty;
mod screen;

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

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

/// Whether these tests, and so what they start, were started to outlive a terminal: SIGHUP, the lowest bit, is ignored.
fn is_under_nohup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it tells");
    u64::from_str_radix(ignored.trim(), 16).expect("hex digits") & 1 == 1
}

/// Somebody else, linked to the one at the terminal.
async fn bob(dir: &std::path::Path, typist: &TerminalUser) -> PeerProcess {
    let first = typist.listens_at();
    let flags: Vec<&str> = MESH.iter().copied().chain(["--peers", &first]).collect();
    let mut bob = PeerProcess::start(dir, "bob", &flags).await;
    bob.sees(1).await;
    bob
}

#[tokio::test]
async fn a_line_that_is_being_typed_survives_whatever_arrives() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.types("hello wrld");
    al.types(&LEFT.repeat(3));
    al.waits_for("the cursor", |screen| screen.typed() == ("> hello w".into(), "rld".into())).await;
    bob.types("how are you?");
    al.waits_for("a message", |screen| screen.has(": how are you?")).await;
    let screen = al.screen();
    assert_eq!(screen.typed(), ("> hello w".into(), "rld".into()));
    assert!(screen.lines().iter().any(|line| line.starts_with("bob@") && line.ends_with(": how are you?")));
    al.types("o\r");
    bob.hears("hello world").await;

    // Hundreds arrive while a line of more than the terminal's width is typed, key by key.
    let long = (0..40).map(|number| format!("{number:04}")).collect::<Vec<_>>().join("-");
    for (number, key) in long.chars().enumerate() {
        bob.types(&format!("a message {number:03}."));
        al.types(&key.to_string());
    }
    let last = format!("a message {:03}.", long.len() - 1);
    al.waits_for("the last message", |screen| screen.has(&last)).await;
    let whole = format!("> {long}");
    al.waits_for("the whole line", |screen| {
        let lines = screen.lines();
        lines.len() > 3 && lines[lines.len() - 3..].concat().starts_with(&whole)
    })
    .await;
    let lines = al.screen().lines();
    let shown: Vec<&str> = lines.iter().filter_map(|line| line.split("a message ").nth(1)).collect();
    let expected: Vec<String> = (0..long.len()).map(|number| format!("{number:03}.")).collect();
    assert_eq!(shown, expected, "each once, in order, and each on a line of its own");
    al.types("\r");
    bob.hears(&long).await;
}

#[tokio::test]
async fn keys_edit_the_line_and_tab_completes_commands_and_names() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let bob = bob(dir.path(), &al).await;
    al.types(&format!("two three{CTRL_A}one {CTRL_E} four"));
    al.has_typed("> one two three four").await;
    al.types(CTRL_W);
    al.has_typed("> one two three ").await;
    al.types(&format!("{LEFT}{LEFT}{CTRL_K}"));
    al.has_typed("> one two thre").await;
    al.types(CTRL_U);
    al.has_typed("> ").await;
    al.types("DM\t");
    al.has_typed("> DM ").await;
    al.types("b\t");
    al.has_typed("> DM bob ").await;
    al.types("psst\r");
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "psst") == 1)
        .await;
    // Of two commands the line gets what they have in common, and both are shown.
    al.types("P\t");
    al.waits_for("both", |screen| screen.has("POST") && screen.has("PROFILE") && screen.typed().0 == "> P").await;
    al.types(&format!("{CTRL_U}DM\r"));
    al.has_typed("To: ").await;
    al.types("bo\t");
    al.has_typed("To: bob").await;
    al.types("\r");
    al.has_typed("Message: ").await;
    al.types("asked\r");
    until("a direct message", async || bob.count(|event| event["event"] == "direct" && event["text"] == "asked") == 1)
        .await;
    al.has_typed("> ").await;
}

#[tokio::test]
async fn what_was_typed_is_there_after_a_restart_and_nobody_else_can_read_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kept = dir.path().join("al");
    let kept = kept.to_str().expect("a path");
    let flags: Vec<&str> = MESH.iter().copied().chain(["--dir", kept]).collect();
    let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
    al.types("the first thing\r");
    al.waits_for("the next line", |screen| screen.has("> the first thing") && screen.typed().0 == "> ").await;
    al.types("another\r");
    al.waits_for("the next line", |screen| screen.has("> another") && screen.typed().0 == "> ").await;
    // The answer to a question is not.
    al.types("POST\r");
    al.has_typed("Message: ").await;
    al.types("not this\r");
    al.has_typed("> ").await;
    al.types(CTRL_D);
    assert!(al.ends().await.success());
    let file = std::fs::metadata(dir.path().join("al/typed")).expect("it was kept");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
    al.types(UP);
    al.has_typed("> POST").await;
    al.types(UP);
    al.has_typed("> another").await;
    al.types(&format!("{CTRL_U}{CTRL_R}first"));
    al.waits_for("what was looked for", |screen| screen.has("': the first thing")).await;
    al.types("\r");
    al.waits_for("the line", |screen| screen.has("> the first thing") && screen.typed().0 == "> ").await;
}

#[tokio::test]
async fn nothing_that_others_write_or_call_themselves_harms_the_terminal_or_the_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.types("careful");
    al.has_typed("> careful").await;
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{8}\u{8}";
    bob.types(&format!("POST {evil}said"));
    bob.types(&format!("PROFILE {evil}{} | {evil}status", "x".repeat(5000)));
    bob.types(&format!("{} end", "long ".repeat(1600)));
    al.waits_for("all of it", |screen| {
        let all = screen.lines().concat().replace(' ', "");
        all.contains("said") && all.contains("status") && all.contains("longend")
    })
    .await;
    al.has_typed("> careful").await;
    // The screen itself refuses what it does not know; these are what it would have to obey.
    let bytes = al.bytes();
    for sequence in ["\u{1b}[2J", "\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}", "\u{8}"] {
        let bad = sequence.as_bytes();
        assert!(!bytes.windows(bad.len()).any(|found| found == bad), "{sequence:?}");
    }
    // Nor does what is pasted or typed.
    al.types("\x1b[200~\u{9b}2J\u{202e}\x1b[201~\x16\x1b");
    al.waits_for("the paste", |screen| screen.has("> careful\u{fffd}2J\u{fffd}\u{fffd}")).await;
}

#[tokio::test]
async fn ctrl_d_and_ctrl_c_leave_in_order_and_the_terminal_is_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.types(CTRL_D);
    assert_eq!(al.ends().await.code(), Some(0));

    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.types("never said");
    al.has_typed("> never said").await;
    al.types(CTRL_C);
    al.has_typed("> ").await;
    al.types("DM\r");
    al.has_typed("To: ").await;
    al.types(CTRL_C);
    al.has_typed("> ").await;
    al.types(CTRL_C);
    assert_eq!(al.ends().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_ends_it_in_the_middle_of_a_line_without_waiting_for_a_key() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let flags = [&MESH[..], &["--log-level", "info"]].concat();
        let mut al = TerminalUser::start(dir.path(), "al", &flags).await;
        al.types("half a li");
        al.has_typed("> half a li").await;
        al.signal(signal);
        if signal == Signal::HUP && is_under_nohup() {
            // Then the peer outlives its terminal, as what started it wanted.
            al.types("n");
            al.has_typed("> half a lin").await;
            al.types("\x7f");
            al.has_typed("> half a li").await;
            al.signal(Signal::TERM);
        }
        assert_eq!(al.ends().await.code(), Some(0), "{signal:?}");
        let lines = al.screen().lines();
        assert!(lines.iter().any(|line| line == "> half a li"), "{lines:?}");
        assert!(lines.last().is_some_and(|line| line.ends_with("leaving")), "the log is below the line: {lines:?}");
    }
}

#[tokio::test]
async fn a_signal_ends_it_though_the_terminal_takes_in_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    al.stops_output();
    al.signal(Signal::TERM);
    assert_eq!(al.ends_somehow().await.code(), Some(143), "as after a second signal");
    assert!(al.is_as_before());
}

#[tokio::test]
async fn a_program_that_was_stopped_takes_the_terminal_over_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start(dir.path(), "al", &MESH).await;
    let mut bob = bob(dir.path(), &al).await;
    al.types("half a");
    al.has_typed("> half a").await;
    al.signal(Signal::STOP);
    // As a shell does that was given the terminal meanwhile.
    al.has_modes_of_a_shell();
    al.signal(Signal::CONT);
    until("the editor's modes", async || !al.is_as_before()).await;
    al.types(&format!(" line{LEFT}{LEFT}"));
    al.waits_for("the rest", |screen| screen.typed() == ("> half a li".into(), "ne".into())).await;
    bob.types("welcome back");
    al.waits_for("a message", |screen| screen.has(": welcome back")).await;
    al.types("\r");
    bob.hears("half a line").await;
    al.types(CTRL_D);
    assert_eq!(al.ends().await.code(), Some(0));
}

#[tokio::test]
async fn a_terminal_that_cannot_move_its_cursor_is_read_line_by_line() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut al = TerminalUser::start_on("dumb", dir.path(), "al", &MESH);
    al.waits_for("its start", |screen| screen.has("listening at")).await;
    al.types("HELP\r");
    al.waits_for("the help", |screen| screen.has("say something to everybody")).await;
    al.types("QUIT\r");
    assert_eq!(al.ends().await.code(), Some(0));
}
