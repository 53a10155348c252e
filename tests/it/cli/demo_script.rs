//! Test of `tools/run_demo.sh`, with a short TTL so that it ends soon.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::rollcall;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/run_demo.sh");
/// Timeout of the script. It is longer than the script's own timeouts, for a busy machine.
const SCRIPT_TIME: Duration = Duration::from_mins(2);

#[tokio::test]
async fn the_demo_of_requirement_000_shows_three_users_and_then_two() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Only the environment of this command is used. It contains no Rollcall variables.
    let clean = rollcall(dir.path());
    let mut command = Command::new("bash");
    for (name, value) in clean.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.arg(SCRIPT).current_dir(dir.path()).env("TMPDIR", dir.path());
    command.env("ROLLCALL_BIN", env!("CARGO_BIN_EXE_rollcall"));
    command.env("HEARTBEAT_TTL_SECONDS", "6").env("DEMO_QUERY_SECONDS", "1");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(SCRIPT_TIME, command.output()).await.expect("it ends").expect("bash is there");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    for words in ["alice, bob, charlie", "alice, bob\n", "expired"] {
        assert!(stdout.contains(words), "no {words:?} in:\n{stdout}{stderr}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the directory is ours").count(), 0, "nothing is left behind");
}
