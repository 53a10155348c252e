//! One process of the program, which ends with the value.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A process of the program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// A node started with `--exit-with-stdin` ends when this closes, which it does even if this process is killed.
    _stdin: Option<ChildStdin>,
}

/// A command that runs the program in `dir`, with nothing inherited that would change what it does.
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
    // For whoever looks for the cause of a failure.
    if let Some(filter) = std::env::var_os("ROLLCALL_TEST_LOG") {
        command.env("RUST_LOG", filter);
    }
    command
}

impl Process {
    /// Starts a node, whose output is added to these files.
    pub(crate) fn start(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        command.arg("--exit-with-stdin");
        Self::start_plain(command, stdout, stderr)
    }

    /// The same for what takes no such flag.
    pub(crate) fn start_plain(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        let append = |path| File::options().create(true).append(true).open(path).expect("the directory is ours");
        command.stdin(Stdio::piped()).stdout(append(stdout)).stderr(append(stderr));
        let mut child = command.spawn().expect("the program was built");
        Self { _stdin: child.stdin.take(), child }
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It has not been waited for, so its number cannot be another's by now.
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("no process is number 0");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of a process", async || {
            status = self.ended();
            status.is_some()
        })
        .await;
        status.expect("waited for")
    }

    /// Ends it at once.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
