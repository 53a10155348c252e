//! Runs the program's client commands as a person types them.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cluster::{Cluster, Process, rollcall, until};

/// The longest that a command may take: some wait 15 s for a leader, and the machine may be busy.
const COMMAND_TIME: Duration = Duration::from_mins(1);

/// A directory in which commands are typed.
pub(super) struct Desk {
    dir: TempDir,
}

/// What a command left behind.
pub(super) struct Typed(Output);

/// A command that goes on, as `watch` does.
pub(super) struct Running {
    pub(super) process: Process,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Types a command and waits for its end.
    pub(super) async fn types(&self, arguments: &[&str]) -> Typed {
        self.types_with(arguments, &[]).await
    }

    /// The same with environment variables.
    pub(super) async fn types_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Typed {
        let mut command = Command::from(rollcall(self.path()));
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(COMMAND_TIME, command.output()).await.expect("it ends").expect("the program was built");
        Typed(output)
    }

    /// Types a command that goes on.
    pub(super) fn starts(&self, name: &str, arguments: &[&str]) -> Running {
        let (out, err) = (self.path().join(format!("{name}.out")), self.path().join(format!("{name}.err")));
        let mut command = rollcall(self.path());
        command.args(arguments);
        Running { process: Process::start_without_flag(command, &out, &err), out, err }
    }
}

impl Typed {
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

    /// Checks that there is one line that says what is wrong, and gives it.
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

impl Running {
    pub(super) fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// The JSON of each line so far.
    pub(super) fn events(&self) -> Vec<Value> {
        let text = self.stdout();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits until there is such an event.
    pub(super) async fn tells(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        until(what, async || self.events().iter().any(&is_it)).await;
    }
}

/// Waits until every running node has it that this user is online: a leader that is killed takes what happened in its last
/// tenth of a second with it.
pub(super) async fn is_known_to_all(cluster: &Cluster, user: &str) {
    until("the news at every node", async || {
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

/// `--server` for one node.
pub(super) fn server(cluster: &Cluster, index: usize) -> [String; 2] {
    ["--server".to_owned(), cluster.url(index)]
}
