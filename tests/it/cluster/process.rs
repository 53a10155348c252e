//! A process of the program. Dropping the value ends it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A process of the program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// A node started with `--exit-with-stdin` ends when this pipe closes. The pipe closes even if
    /// the test process is killed.
    _stdin: Option<ChildStdin>,
}

/// A command that runs the program in `dir`, without inherited variables that would change its
/// behaviour.
pub(crate) fn rollcall(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command.current_dir(dir);
    let others = [
        "RUST_LOG",
        "NO_COLOR",
        "ROLLCALL_SERVER",
        "ROLLCALL_PASSWORD",
        "ROLLCALL_NEW_PASSWORD",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    for variable in rollcall::config::env_vars().chain(others) {
        command.env_remove(variable);
    }
    // For debugging a failed test.
    if let Some(filter) = std::env::var_os("ROLLCALL_TEST_LOG") {
        command.env("RUST_LOG", filter);
    }
    command
}

impl Process {
    /// Starts a node. Its output is appended to these files.
    pub(crate) fn start(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        command.arg("--exit-with-stdin");
        Self::start_without_flag(command, stdout, stderr)
    }

    /// Like [`Self::start`], but without the flag `--exit-with-stdin`, for other commands.
    pub(crate) fn start_without_flag(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        let append = |path| File::options().create(true).append(true).open(path).expect("the directory is ours");
        command.stdin(Stdio::piped()).stdout(append(stdout)).stderr(append(stderr));
        let mut child = command.spawn().expect("the program was built");
        Self { _stdin: child.stdin.take(), child }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // The child has not been reaped, so its id cannot belong to another process.
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("no process is number 0");
        kill_process(pid, signal).expect("it is our child");
    }

    /// The exit status, if it has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of a process", async || {
            status = self.try_wait();
            status.is_some()
        })
        .await;
        status.expect("the process has ended")
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The kill fails only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
