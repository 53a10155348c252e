//! The nodes: real processes in a directory of their own, which end when this one does.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::builds::Build;
use crate::processes::Process;
use crate::rounds::now;
use crate::wire::{Wire, request};

/// The first argument of a process of this program that is to be a node.
pub(crate) const COMMAND: &str = "node";

/// Below the ports that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// The longest wait for a node to be ready: long enough for a list of a hundred thousand users to be read.
const START_TIME: Duration = Duration::from_mins(2);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    pub(crate) api: SocketAddr,
    pub(crate) process: Process,
}

/// The nodes, and the directory with everything that they write.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    // The last field, so that the nodes are dead before their directory goes.
    dir: TempDir,
}

impl Nodes {
    /// Starts nodes of a build, whose clients stay online for `ttl_seconds`, on a bucket that `fill` may put something in first.
    pub(crate) fn start(
        build: &Build,
        count: usize,
        ttl_seconds: u64,
        fill: impl FnOnce(&std::path::Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let mut nodes = Self { all: Vec::new(), dir };
        fs::create_dir_all(nodes.bucket())?;
        fill(&nodes.bucket())?;
        let names =
            (0..count).map(|_| Ok(format!("127.0.0.1:{}", free_port()?))).collect::<anyhow::Result<Vec<_>>>()?;
        for name in &names {
            let node = nodes.spawn(build, name, &names.join(","), ttl_seconds)?;
            nodes.all.push(node);
        }
        Ok(nodes)
    }

    /// The local bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.dir.path().join("data/bucket")
    }

    fn spawn(&self, build: &Build, name: &str, peers: &str, ttl_seconds: u64) -> anyhow::Result<Node> {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(&build.program);
        command.current_dir(self.dir.path());
        for variable in rollcall::config::env_vars() {
            command.env_remove(variable);
        }
        command.env_remove("RUST_LOG");
        command.args([COMMAND, "--exit-with-stdin", "--this-node", name, "--peers", peers, "--api-bind", "127.0.0.1"]);
        command.args(["--api-port", &api.port().to_string()]);
        command.env("HEARTBEAT_TTL_SECONDS", ttl_seconds.to_string());
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(Node { name: name.to_owned(), api, process: Process::start(&mut command)? })
    }

    /// Waits until one of the nodes serves and its list of users is whole; its place.
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        let deadline = now() + START_TIME;
        while now() < deadline {
            if let Some(leader) = (0..self.all.len()).find(|index| self.all[*index].is_whole()) {
                return Ok(leader);
            }
            sleep(LOOK);
        }
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        anyhow::bail!("no node serves within {START_TIME:?}:\n{log}")
    }
}

impl Node {
    /// Whether it serves the list of users.
    fn is_whole(&self) -> bool {
        let ask =
            || Ok::<_, anyhow::Error>(Wire::connect(self.api)?.ask(&request("GET", "/users?limit=1", "", ""))?.status);
        ask().is_ok_and(|status| status == 200)
    }

    /// The node's name, for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn free_port() -> anyhow::Result<u16> {
    let mut drawn = (0..1000).map(|_| rand::random_range(PORTS));
    drawn.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no free port")
}
