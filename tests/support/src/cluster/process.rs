//! A process of the program. Dropping the value ends it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// A process of the program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// A node started with `--exit-with-stdin` ends when this pipe closes. The pipe closes even if
    /// the test process is killed.
    _stdin: Option<ChildStdin>,
}

/// Beginnings of the names of variables that would change the behaviour of the program.
const FOREIGN_VARIABLES: [&str; 17] = [
    "ROLLCALL_",
    "API_PORT",
    "HEARTBEAT_TTL_SECONDS",
    "FIREBASE_",
    "GOOGLE_",
    "SHARED_DRIVE_",
    "REGISTERED_USERS_",
    "DRIVE_",
    "STORAGE_",
    "S3_",
    "AWS_",
    "AZURE_",
    "IDENTITY_",
    "RUST_LOG",
    "NO_COLOR",
    "HTTP",
    "ALL_PROXY",
];

/// Whether a variable would change the behaviour of the program.
pub fn is_foreign_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    FOREIGN_VARIABLES.iter().any(|start| name.starts_with(start))
}

/// The program, as the build of the tests made it.
pub fn program() -> PathBuf {
    // The program of a test is in the folder `deps` below the folder of the programs.
    let test = std::env::current_exe().expect("the system names it");
    let folder = test.ancestors().nth(2).expect("it is in a folder");
    let program = folder.join("rollcall");
    assert!(program.is_file(), "{} is missing; build it with: cargo build --bin rollcall", program.display());
    program
}

/// A command that runs the program in `dir`, without inherited variables that would change its
/// behaviour.
pub fn rollcall(dir: &Path) -> Command {
    without_foreign_variables(Command::new(program()), dir)
}

/// Like [`rollcall`], for a process that may open this many files.
pub fn rollcall_with_open_files(dir: &Path, files: u64) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {files} && exec \"$0\" \"$@\"")).arg(program());
    without_foreign_variables(shell, dir)
}

fn without_foreign_variables(mut command: Command, dir: &Path) -> Command {
    command.current_dir(dir);
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(is_foreign_variable) {
            command.env_remove(variable);
        }
    }
    // For debugging a failed test.
    if let Some(filter) = std::env::var_os("ROLLCALL_TEST_LOG") {
        command.env("RUST_LOG", filter);
    }
    command
}

impl Process {
    /// Starts a node. Its output is appended to these files.
    pub fn start(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        command.arg("--exit-with-stdin");
        Self::start_without_flag(command, stdout, stderr)
    }

    /// Like [`Self::start`], but without the flag `--exit-with-stdin`, for other commands.
    pub fn start_without_flag(mut command: Command, stdout: &Path, stderr: &Path) -> Self {
        let append = |path| File::options().create(true).append(true).open(path).expect("the directory is ours");
        command.stdin(Stdio::piped()).stdout(append(stdout)).stderr(append(stderr));
        let mut child = command.spawn().expect("the program was built");
        Self { _stdin: child.stdin.take(), child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // The child has not been reaped, so its id cannot belong to another process.
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("no process is number 0");
        kill_process(pid, signal).expect("it is our child");
    }

    /// The exit status, if it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of a process", async || {
            status = self.try_wait();
            status.is_some()
        })
        .await;
        status.expect("the process has ended")
    }

    /// Kills it (SIGKILL).
    pub fn kill(self) {
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
