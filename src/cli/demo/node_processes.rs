//! Node processes of the demo. They run this program, and they stop when the demo ends, even if it
//! is killed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::demo_certificates::DemoCertificates;
use super::ports::Ports;
use crate::config;
use rollcall_core::private_files;

/// Time after SIGTERM until a node is killed. A node drains its connections for up to 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);
/// Number of bytes at the end of a log that are searched for its last line.
const LOG_TAIL_BYTES: usize = 4096;

/// Node of the demo: the values that the instructions show.
#[derive(Clone, Debug)]
pub(super) struct DemoNode {
    /// Election address, which is the node's name.
    pub(super) name: String,
    /// Base URL of its HTTP API.
    pub(super) url: String,
    pub(super) pid: u32,
    /// Path of its log file.
    pub(super) log: PathBuf,
    /// Command line, for a restart by hand.
    pub(super) command: Vec<OsString>,
}

/// Running node processes, each with a task that supervises it.
pub(super) struct NodeProcesses {
    supervisors: JoinSet<(usize, io::Result<ExitStatus>)>,
    stop: CancellationToken,
    kill: CancellationToken,
    /// Write ends of the nodes' standard input. A node stops when its standard input is closed, and
    /// the system closes it even if the demo is killed.
    _stdin_pipes: Vec<ChildStdin>,
}

impl NodeProcesses {
    /// Starts one node for each pair of ports, with all files in `folder`. The nodes have TLS if
    /// there are certificates.
    pub(super) fn start(
        folder: &Path,
        ports: &[Ports],
        certificates: Option<&DemoCertificates>,
    ) -> io::Result<(Vec<DemoNode>, Self)> {
        let program = std::env::current_exe()?;
        let file = folder.join("config.toml");
        let mut config = private_files::options().write(true).create(true).truncate(true).open(&file)?;
        config.write_all(configuration(ports, certificates).as_bytes())?;
        drop(config);
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (mut nodes, mut supervisors, mut stdin_pipes) = (Vec::new(), JoinSet::new(), Vec::new());
        for (index, ports) in ports.iter().enumerate() {
            let log = folder.join(format!("node-{}.log", ports.election));
            let command = command(&program, &file, folder, *ports);
            let mut child = spawn(&command, &log)?;
            nodes.push(DemoNode {
                name: name(*ports),
                url: format!("{scheme}://127.0.0.1:{}", ports.api),
                pid: child.id().unwrap_or_default(),
                log,
                command,
            });
            stdin_pipes.extend(child.stdin.take());
            let (stop, kill) = (stop.clone(), kill.clone());
            supervisors.spawn(async move { (index, supervise(child, stop, kill).await) });
        }
        Ok((nodes, Self { supervisors, stop, kill, _stdin_pipes: stdin_pipes }))
    }

    /// Waits until a node exits; returns its index, and its exit status or the error of waiting for
    /// it. Never returns if no node is left.
    pub(super) async fn next_exit(&mut self) -> (usize, String) {
        loop {
            match self.supervisors.join_next().await {
                Some(Ok((index, Ok(status)))) => return (index, status.to_string()),
                Some(Ok((index, Err(error)))) => return (index, error.to_string()),
                // A supervisor task neither panics nor is aborted while the demo runs.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Sends SIGTERM to all nodes and waits for their exit. Kills a node that takes too long.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        while self.supervisors.join_next().await.is_some() {}
    }

    /// Kills all nodes and waits for their exit.
    pub(super) async fn kill(&mut self) {
        self.kill.cancel();
        while self.supervisors.join_next().await.is_some() {}
    }
}

/// Waits for the exit of a process. Sends it SIGTERM when `stop` is cancelled. Kills it when `kill`
/// is cancelled or [`STOP_TIMEOUT`] has passed since.
async fn supervise(mut child: Child, stop: CancellationToken, kill: CancellationToken) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = stop.cancelled() => {}
        () = kill.cancelled() => {}
    }
    // The exit status was not collected yet, so no other process can have this process id.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // The signal fails only if the process has just exited.
        let _ = kill_process(pid, Signal::TERM);
    }
    tokio::select! {
        status = child.wait() => return status,
        () = tokio::time::sleep(STOP_TIMEOUT) => {}
        () = kill.cancelled() => {}
    }
    child.kill().await?;
    child.wait().await
}

/// Starts a process whose output is appended to the file `log`.
fn spawn(command: &[OsString], log: &Path) -> io::Result<Child> {
    let log = private_files::options().create(true).append(true).open(log)?;
    let mut process = process(command).ok_or(io::ErrorKind::InvalidInput)?;
    process.stdout(log.try_clone()?).stderr(log).spawn()
}

/// The process for a command line; `None` for an empty command line.
fn process(command: &[OsString]) -> Option<Command> {
    let (program, arguments) = command.split_first()?;
    let mut process = Command::new(program);
    process.args(arguments).arg("--exit-with-stdin").stdin(Stdio::piped());
    // The environment variables of this shell configure other nodes, not the nodes of the demo.
    for variable in config::env_vars() {
        process.env_remove(variable);
    }
    // The node gets its own process group, because Ctrl-C must reach the demo only. A node that
    // received Ctrl-C and SIGTERM would exit at once.
    process.process_group(0).kill_on_drop(true);
    Some(process)
}

/// Command line of a node, with the program as its first word.
fn command(program: &Path, file: &Path, folder: &Path, ports: Ports) -> Vec<OsString> {
    let data = folder.join("data");
    let api_port = ports.api.to_string();
    let name = name(ports);
    // The API listens on the loopback address: a demo must not be reachable from the network.
    let pairs: [(&str, &std::ffi::OsStr); 5] = [
        ("--config", file.as_os_str()),
        ("--this-node", name.as_ref()),
        ("--api-port", api_port.as_ref()),
        ("--api-bind", "127.0.0.1".as_ref()),
        ("--data-dir", data.as_os_str()),
    ];
    let arguments = pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value.to_owned()]);
    std::iter::once(program.as_os_str().to_owned()).chain(arguments).collect()
}

/// Election address of a node, which is its name.
fn name(ports: Ports) -> String {
    format!("127.0.0.1:{}", ports.election)
}

/// Configuration file that all nodes share. Other settings are on their command lines.
fn configuration(ports: &[Ports], certificates: Option<&DemoCertificates>) -> String {
    let peers: Vec<String> = ports.iter().map(|ports| format!("{:?}", name(*ports))).collect();
    let tls = certificates.map_or_else(String::new, |DemoCertificates { cert, key, .. }| {
        let (cert, key) = (cert.to_string_lossy(), key.to_string_lossy());
        format!("tls_cert = {cert:?}\ntls_key = {key:?}\n")
    });
    format!(
        "# Written by `rollcall demo`. The rest is on the command lines of the nodes.\npeers = [{}]\n{tls}",
        peers.join(", ")
    )
}

/// Last line of a node's log that is not empty.
pub(super) fn last_log_line(log: &Path) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    #[test]
    fn the_configuration_of_the_nodes_is_valid() {
        let ports = [
            Ports { election: 8080, api: 3000 },
            Ports { election: 8081, api: 3001 },
            Ports { election: 8082, api: 3002 },
        ];
        let load = |certificates: Option<&DemoCertificates>| {
            let text = configuration(&ports, certificates);
            let flags = Flags { this_node: Some("127.0.0.1:8081".into()), ..Flags::default() };
            Config::load(Some(("config.toml", &text)), &|_| None, &flags).unwrap()
        };
        let plain = load(None);
        assert_eq!((plain.peers.len(), plain.warnings.len(), plain.api.scheme()), (3, 0, "http"));
        let file = |name: &str| PathBuf::from("/tmp/a \"demo\"").join(name);
        let certificates = DemoCertificates { ca: file("ca"), cert: file("cert"), key: file("key") };
        let tls = load(Some(&certificates)).api.tls.unwrap();
        assert_eq!((tls.cert, tls.key), (certificates.cert, certificates.key));
    }

    #[test]
    fn a_node_inherits_no_configuration_variables() {
        let process = process(&["rollcall".into()]).unwrap();
        let removed: Vec<_> =
            process.as_std().get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for variable in ["API_PORT", "FIREBASE_BUCKET", "ROLLCALL_PEERS", "HEARTBEAT_TTL_SECONDS"] {
            assert!(removed.contains(&std::ffi::OsStr::new(variable)), "{variable}");
        }
    }

    #[test]
    fn the_last_log_line_is_the_last_one_that_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_log_line(&log), None);
        fs::write(&log, "one\nerror: two\n\n").unwrap();
        assert_eq!(last_log_line(&log).as_deref(), Some("error: two"));
        fs::write(&log, "x".repeat(3 * LOG_TAIL_BYTES)).unwrap();
        assert_eq!(last_log_line(&log).unwrap().len(), LOG_TAIL_BYTES);
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_by_the_second_request() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let command = ["sh", "-c", script].map(OsString::from);
        let log = folder.path().join("log");
        let child = spawn(&command, &log).unwrap();
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let mut supervisors = JoinSet::new();
        supervisors.spawn(supervise(child, stop.clone(), kill.clone()));
        while last_log_line(&log).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        let early = tokio::time::timeout(Duration::from_millis(100), supervisors.join_next()).await;
        assert!(early.is_err(), "the process ignores SIGTERM");
        kill.cancel();
        let status = supervisors.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
    }
}
