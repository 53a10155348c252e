//! Runs commands of the program in a temporary directory, as a user does in a shell.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::{Cluster, Process, rollcall, until};

/// Timeout of a command. Some commands wait 15 s for a leader, and the machine may be busy.
const COMMAND_TIME: Duration = Duration::from_mins(1);

/// Temporary working directory in which commands run.
pub(super) struct Shell {
    dir: TempDir,
}

/// Result of a command that has ended.
pub(super) struct CommandResult(Output);

/// Command that keeps running, such as `watch`.
pub(super) struct RunningCommand {
    pub(super) process: Process,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
}

impl Shell {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command and waits for its end.
    pub(super) async fn run(&self, arguments: &[&str]) -> CommandResult {
        self.run_with_env(arguments, &[]).await
    }

    /// Runs a command with environment variables and waits for its end.
    pub(super) async fn run_with_env(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandResult {
        let mut command = Command::from(rollcall(self.path()));
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(COMMAND_TIME, command.output()).await.expect("it ends").expect("the program was built");
        CommandResult(output)
    }

    /// Starts a command that keeps running.
    pub(super) fn start(&self, name: &str, arguments: &[&str]) -> RunningCommand {
        let (out, err) = (self.path().join(format!("{name}.out")), self.path().join(format!("{name}.err")));
        let mut command = rollcall(self.path());
        command.args(arguments);
        RunningCommand { process: Process::start_without_flag(command, &out, &err), out, err }
    }
}

impl CommandResult {
    pub(super) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Checks the exit code.
    #[track_caller]
    pub(super) fn code(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.stdout(), self.stderr());
        assert!(!self.stderr().contains("panicked"), "{}", self.stderr());
        self
    }

    /// Checks that there is one error line, and returns it.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        let stderr = self.stderr();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        errors[0].to_owned()
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout()))
    }
}

impl RunningCommand {
    pub(super) fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// JSON of each complete line that the command has printed.
    pub(super) fn events(&self) -> Vec<Value> {
        let text = self.stdout();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits until the command has printed an event that matches.
    pub(super) async fn wait_for_event(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) {
        until(what, async || self.events().iter().any(&is_wanted)).await;
    }
}

/// Waits until every running node lists this user as online.
///
/// A killed leader loses the changes of its last 100 ms, because they are not replicated yet.
pub(super) async fn wait_until_replicated(cluster: &Cluster, user: &str) {
    until("the replication to every node", async || {
        for index in cluster.running() {
            let answer = cluster.at(index).get("/discovery/online?stale=true").await;
            let is_listed = |names: &Vec<Value>| names.iter().any(|name| name == user);
            if answer.status != 200 || !answer.json()["online"].as_array().is_some_and(is_listed) {
                return false;
            }
        }
        true
    })
    .await;
}

/// Flag `--server` with the URL of a node, as two arguments.
pub(super) fn server_flag(cluster: &Cluster, index: usize) -> [String; 2] {
    ["--server".to_owned(), cluster.url(index)]
}
