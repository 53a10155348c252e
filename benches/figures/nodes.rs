//! The nodes: real processes in a directory of their own, which end with this process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::builds::Build;
use crate::comparison::now;
use crate::http_client::{HttpConnection, request};
use crate::process::Process;
use crate::tls::Certificate;

/// First argument of a process that runs a node.
pub(crate) const COMMAND: &str = "node";

/// Ports of the nodes. They are below those that the system uses for outgoing connections.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Longest wait for a node to be ready. Enough to read a list of 100,000 users.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// Pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    pub(crate) api: SocketAddr,
    /// TLS of its clients. `None` for plain HTTP.
    tls: Option<Arc<ClientConfig>>,
    pub(crate) process: Process,
}

/// The nodes, and the directory with all their files.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    // The last field: the nodes are killed before their directory is deleted.
    dir: TempDir,
}

impl Nodes {
    /// Starts nodes of a build, with a TTL of `ttl_seconds`. `fill` may put files into the bucket
    /// first.
    pub(crate) fn start(
        build: &Build,
        count: usize,
        ttl_seconds: u64,
        fill: impl FnOnce(&std::path::Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        Self::start_with(build, count, ttl_seconds, &[], fill)
    }

    /// Like [`Self::start`], with environment variables.
    pub(crate) fn start_with(
        build: &Build,
        count: usize,
        ttl_seconds: u64,
        variables: &[(&str, &str)],
        fill: impl FnOnce(&std::path::Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        Self::start_with_tls(build, count, ttl_seconds, variables, None, fill)
    }

    /// Like [`Self::start_with`], over TLS if there is a certificate.
    pub(crate) fn start_with_tls(
        build: &Build,
        count: usize,
        ttl_seconds: u64,
        variables: &[(&str, &str)],
        tls: Option<&Certificate>,
        fill: impl FnOnce(&std::path::Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("no temporary directory")?;
        let mut nodes = Self { all: Vec::new(), dir };
        fs::create_dir_all(nodes.bucket())?;
        fill(&nodes.bucket())?;
        let names =
            (0..count).map(|_| Ok(format!("127.0.0.1:{}", free_port()?))).collect::<anyhow::Result<Vec<_>>>()?;
        for name in &names {
            let node = nodes.spawn(build, name, &names.join(","), ttl_seconds, variables, tls)?;
            nodes.all.push(node);
        }
        Ok(nodes)
    }

    /// The local bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.dir.path().join("data/bucket")
    }

    fn spawn(
        &self,
        build: &Build,
        name: &str,
        peers: &str,
        ttl_seconds: u64,
        variables: &[(&str, &str)],
        tls: Option<&Certificate>,
    ) -> anyhow::Result<Node> {
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
        // The benchmarks register thousands of users from one address.
        command.env("ROLLCALL_REGISTRATION_RATE", "0");
        if let Some(Certificate { cert, key, .. }) = tls {
            command.env("ROLLCALL_TLS_CERT", cert).env("ROLLCALL_TLS_KEY", key);
        }
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let tls = tls.map(|certificate| Arc::clone(&certificate.client));
        Ok(Node { name: name.to_owned(), api, tls, process: Process::start(&mut command)? })
    }

    /// Waits until a node serves with the complete list of users. Returns its index.
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        let deadline = now() + START_TIMEOUT;
        while now() < deadline {
            if let Some(leader) = (0..self.all.len()).find(|index| self.all[*index].serves_users()) {
                return Ok(leader);
            }
            sleep(POLL_INTERVAL);
        }
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        anyhow::bail!("no node serves within {START_TIMEOUT:?}:\n{log}")
    }
}

impl Node {
    /// A new connection to its API.
    pub(crate) fn connect(&self) -> anyhow::Result<HttpConnection> {
        match &self.tls {
            Some(tls) => HttpConnection::connect_with_tls(self.api, tls),
            None => HttpConnection::connect(self.api),
        }
    }

    /// Whether it serves the list of users.
    fn serves_users(&self) -> bool {
        let ask = || Ok::<_, anyhow::Error>(self.connect()?.send(&request("GET", "/users?limit=1", "", ""))?.status);
        ask().is_ok_and(|status| status == 200)
    }

    /// The node's name, for the output.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn free_port() -> anyhow::Result<u16> {
    let mut drawn = (0..1000).map(|_| rand::random_range(PORTS));
    drawn.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no free port")
}
