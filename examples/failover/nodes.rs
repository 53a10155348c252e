//! Nodes as real processes. They end when this process ends, also when it is killed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::hosts::Host;

/// First argument that makes a process of this program a node.
pub(crate) const COMMAND: &str = "node";

/// Number of nodes: the fewest that survive the loss of one.
pub(crate) const COUNT: usize = 3;

/// Ports for the nodes. They are below the system's ephemeral ports, so that a port is still free
/// after a restart.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Timeout for the end of a node. A node drains its connections for up to 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    api: SocketAddrV4,
    /// Host of the node. `None` if it runs on this host.
    pub(crate) host: Option<Host>,
    child: Option<Child>,
    /// Time at which its process was started.
    pub(crate) since: Instant,
}

/// The nodes, and the directory with all their files.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    program: PathBuf,
    // This is the last field, so the nodes end before their directory is deleted.
    dir: TempDir,
}

impl Nodes {
    /// Starts the nodes with the default timings. `more` is added to their configuration file. If
    /// `hosts` is not empty, each node runs on its own host.
    pub(crate) fn start(more: &str, hosts: &[Host]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("cannot create a temporary directory")?;
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut all = Vec::new();
        for index in 0..COUNT {
            let host = hosts.get(index).cloned();
            let (cluster, clients) =
                host.as_ref().map_or((Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), |host| (host.cluster, host.clients));
            let (name, api) = (format!("{cluster}:{}", free_port()?), SocketAddrV4::new(clients, free_port()?));
            all.push(Node { name, api, host, child: None, since: Instant::now() });
        }
        let names: Vec<String> = all.iter().map(|node| format!("{:?}", node.name)).collect();
        fs::write(dir.path().join("config.toml"), format!("peers = [{}]\n{more}", names.join(", ")))?;
        let mut nodes = Self { all, program, dir };
        for index in 0..COUNT {
            nodes.set_load(index, 0.1)?;
            nodes.spawn(index)?;
        }
        Ok(nodes)
    }

    /// Base URLs of the nodes' APIs.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.all.iter().map(|node| format!("http://{}", node.api)).collect()
    }

    /// Starts a node that has ended.
    pub(crate) fn spawn(&mut self, index: usize) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.file(index, "log"))?;
        let node = &mut self.all[index];
        let mut command = Command::new(if node.host.is_some() { "ip".as_ref() } else { self.program.as_path() });
        if let Some(host) = &node.host {
            // `ip netns exec` replaces itself with the node (exec), so the child is the node.
            command.args(["netns", "exec", &host.namespace]).arg(&self.program);
        }
        command.current_dir(self.dir.path());
        for variable in rollcall::config::env_vars() {
            command.env_remove(variable);
        }
        command.args([COMMAND, "--config", "config.toml", "--exit-with-stdin", "--this-node", &node.name]);
        command.args(["--api-port", &node.api.port().to_string(), "--api-bind", &node.api.ip().to_string()]);
        command.args(["--api-url", &format!("http://{}", node.api)]);
        command.env("ROLLCALL_LOAD_SOURCE", format!("file:load-{index}"));
        // The load registers hundreds of users from one address.
        command.env("ROLLCALL_REGISTRATION_RATE", "0");
        // A separate process group, so that Ctrl-C reaches only this process.
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        node.child = Some(command.spawn().context("cannot start a node")?);
        node.since = Instant::now();
        Ok(())
    }

    /// Sends a signal to a node.
    pub(crate) fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.all[index].child.as_ref().context("the node has ended")?;
        // The child is not reaped yet, so no other process can have its id.
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the node has ended")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until a node that got a signal has ended.
    pub(crate) async fn end(&mut self, index: usize) -> anyhow::Result<ExitStatus> {
        let mut child = self.all[index].child.take().context("the node has ended")?;
        Ok(timeout(STOP_TIMEOUT, child.wait()).await.context("the node does not end")??)
    }

    /// Sets the load that a node measures.
    pub(crate) fn set_load(&self, index: usize, share: f64) -> anyhow::Result<()> {
        // The file is replaced by a rename, because a node may read it at any moment.
        let new = self.file(index, "load.new");
        fs::write(&new, share.to_string())?;
        Ok(fs::rename(new, self.dir.path().join(format!("load-{index}")))?)
    }

    /// Makes a new key pair for the links between the nodes, as an operator does.
    pub(crate) async fn rotate_node_key(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path()).kill_on_drop(true).stdin(Stdio::null());
        for variable in rollcall::config::env_vars() {
            command.env_remove(variable);
        }
        command.args([COMMAND, "admin", "rotate-node-key", "--config", "config.toml", "--data-dir", "data"]);
        let output = timeout(STOP_TIMEOUT, command.output()).await.context("the command does not end")??;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Deletes a key pair from the bucket.
    pub(crate) fn delete_node_key(&self, number: u32) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.dir.path().join(format!("data/bucket/secrets/node-key-{number}.json")))?)
    }

    /// The log of a node.
    pub(crate) fn log(&self, index: usize) -> String {
        fs::read_to_string(self.file(index, "log")).unwrap_or_default()
    }

    /// The last lines of all logs, to diagnose a failure.
    pub(crate) fn log_tails(&self) -> String {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        let tails = (0..COUNT)
            .map(|index| format!("--- node {index}, {}\n{}\n", self.all[index].name, tail(&self.file(index, "log"))));
        tails.collect()
    }

    fn file(&self, index: usize, kind: &str) -> PathBuf {
        self.dir.path().join(format!("node-{index}.{kind}"))
    }
}

fn free_port() -> anyhow::Result<u16> {
    let mut drawn = (0..1000).map(|_| rand::random_range(PORTS));
    drawn.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no free port")
}
