//! What the program says of its own commands.

use super::typed::Desk;

const COMMANDS: [&str; 11] = [
    "register",
    "login",
    "passwd",
    "start-heartbeat",
    "list-online",
    "users",
    "upload",
    "images",
    "download",
    "status",
    "watch",
];

#[tokio::test]
async fn every_command_has_help_with_examples_and_exit_codes() {
    let desk = Desk::new();
    let all = desk.types(&["--help"]).await.code(0).stdout();
    for command in COMMANDS.into_iter().chain(["completions", "man"]) {
        assert!(all.contains(&format!("  {command} ")), "{command} is not in:\n{all}");
        let help = desk.types(&[command, "--help"]).await.code(0).stdout();
        for part in ["Usage: rollcall", "Examples:\n  rollcall ", "Exit codes:\n  0   done"] {
            assert!(help.contains(part), "no {part:?} in the help of {command}:\n{help}");
        }
    }
    for command in COMMANDS {
        let help = desk.types(&[command, "--help"]).await.code(0).stdout();
        assert!(help.contains("--json") && help.contains("--server") && help.contains("5   partly done"), "{help}");
    }
}

#[tokio::test]
async fn shells_get_completions_and_readers_a_manual() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.types(&["completions", shell]).await.code(0).stdout();
        assert!(script.contains("start-heartbeat") && script.contains("rollcall"), "{shell}");
    }
    let page = desk.types(&["man", "download"]).await.code(0).stdout();
    assert!(page.contains(".TH") && page.contains("download"), "{page}");
    desk.types(&["man", "--out", "pages"]).await.code(0);
    for page in ["rollcall.1", "rollcall-start-heartbeat.1", "rollcall-demo.1"] {
        assert!(desk.path().join("pages").join(page).is_file(), "{page}");
    }
    desk.types(&["man", "nonsense"]).await.code(2).error();
}
