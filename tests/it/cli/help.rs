//! Tests of the help, the shell completions and the manual pages of the commands.

use super::shell::Shell;

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
    let shell = Shell::new();
    let all = shell.run(&["--help"]).await.code(0).stdout();
    for command in COMMANDS.into_iter().chain(["completions", "man"]) {
        assert!(all.contains(&format!("  {command} ")), "{command} is not in:\n{all}");
        let help = shell.run(&[command, "--help"]).await.code(0).stdout();
        for part in ["Usage: rollcall", "Examples:\n  rollcall ", "Exit codes:\n  0   done"] {
            assert!(help.contains(part), "no {part:?} in the help of {command}:\n{help}");
        }
    }
    for command in COMMANDS {
        let help = shell.run(&[command, "--help"]).await.code(0).stdout();
        assert!(help.contains("--json") && help.contains("--server") && help.contains("5   partly done"), "{help}");
    }
}

#[tokio::test]
async fn completion_scripts_and_manual_pages_are_printed_and_written() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish"] {
        let script = shell.run(&["completions", name]).await.code(0).stdout();
        assert!(script.contains("start-heartbeat") && script.contains("rollcall"), "{name}");
    }
    let page = shell.run(&["man", "download"]).await.code(0).stdout();
    assert!(page.contains(".TH") && page.contains("download"), "{page}");
    shell.run(&["man", "--out", "pages"]).await.code(0);
    for page in ["rollcall.1", "rollcall-start-heartbeat.1", "rollcall-demo.1"] {
        assert!(shell.path().join("pages").join(page).is_file(), "{page}");
    }
    shell.run(&["man", "nonsense"]).await.code(2).error();
}
