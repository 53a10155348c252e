//! The configuration of a cluster before its start.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tokio::sync::Semaphore;

use super::log;
use super::{Cluster, Node, Ports, http_client, https_client, until};
use crate::certificates::TestAuthority;

/// Limit on clusters that run at once. With more, the nodes would delay each other on a machine
/// with two cores.
static RUNNING_CLUSTERS: Semaphore = Semaphore::const_new(3);

/// Attempts to start a cluster. Another program may take a port between the check and the start.
const MAX_START_ATTEMPTS: usize = 5;

/// Exit code of a node whose port is taken.
const EXIT_CANNOT_BIND: i32 = 71;

/// The configuration file of the distribution.
const DOCUMENTED_CONFIG: &str = include_str!("../../../../config.toml");

/// Which election timings the nodes use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ElectionSpeed {
    /// The timings of the documented `config.toml`.
    Documented,
    /// About a fifth of the documented timings.
    Quick,
}

/// Fills the data directory of a cluster before its first start. Its arguments are the directory
/// and the names of the nodes.
pub type Seed = fn(&Path, &[String]);

/// The configuration of a cluster.
pub struct Plan {
    count: usize,
    speed: ElectionSpeed,
    seed: Option<Seed>,
    variables: Vec<(Option<usize>, (String, String))>,
    open_files: Option<u64>,
    has_tls: bool,
}

impl Plan {
    /// A cluster of three nodes with the documented timings.
    pub fn documented() -> Self {
        Self {
            count: 3,
            speed: ElectionSpeed::Documented,
            seed: None,
            variables: Vec::new(),
            open_files: None,
            has_tls: false,
        }
    }

    /// A cluster of three nodes with quick elections.
    pub fn quick() -> Self {
        Self { speed: ElectionSpeed::Quick, ..Self::documented() }
    }

    /// Sets the number of nodes.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Gives the API of all nodes TLS. Their certificate is in `node.pem` and `node-key.pem`, that
    /// of its authority in `ca.pem`.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.has_tls = true;
        self.env("ROLLCALL_TLS_CERT", "node.pem").env("ROLLCALL_TLS_KEY", "node-key.pem")
    }

    /// Adds data before the first start.
    #[must_use]
    pub fn seeded(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Removes the limit on new users of one address, for a test that registers more than the
    /// burst.
    #[must_use]
    pub fn unlimited_registrations(self) -> Self {
        self.env("ROLLCALL_REGISTRATION_RATE", "0")
    }

    /// Sets the number of files that each node may open.
    #[must_use]
    pub fn with_open_files(mut self, files: u64) -> Self {
        self.open_files = Some(files);
        self
    }

    pub(super) fn open_files(&self) -> Option<u64> {
        self.open_files
    }

    /// Sets an environment variable of all nodes.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((None, (name.to_owned(), value.to_owned())));
        self
    }

    /// Sets an environment variable of one node.
    #[must_use]
    pub fn env_of(mut self, index: usize, name: &str, value: &str) -> Self {
        self.set_env(index, name, value);
        self
    }

    /// Sets an environment variable of one node.
    pub(super) fn set_env(&mut self, index: usize, name: &str, value: &str) {
        self.variables.push((Some(index), (name.to_owned(), value.to_owned())));
    }

    pub(super) fn variables(&self, index: usize) -> impl Iterator<Item = &(String, String)> {
        self.variables.iter().filter(move |(only, _)| only.is_none_or(|only| only == index)).map(|(_, pair)| pair)
    }

    /// Starts the nodes and waits until each is ready. Does not wait for a leader.
    pub async fn start(self) -> Cluster {
        let permit = RUNNING_CLUSTERS.acquire().await.expect("never closed");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let authority = self.has_tls.then(|| TestAuthority::new("authority of the tests"));
        if let Some(authority) = &authority {
            fs::write(dir.path().join("ca.pem"), &authority.cert).expect("the directory is ours");
            authority.issue(|_| ()).write(dir.path(), "node");
        }
        let mut cluster = Cluster {
            dir,
            nodes: Vec::new(),
            http: authority.as_ref().map_or_else(http_client, https_client),
            authority,
            plan: self,
            _permit: permit,
        };
        for _ in 0..MAX_START_ATTEMPTS {
            if cluster.try_start().await {
                return cluster;
            }
        }
        panic!("in every attempt another program took one of the free ports");
    }
}

impl Cluster {
    /// Starts all nodes on new ports. Returns false if a port was taken meanwhile.
    async fn try_start(&mut self) -> bool {
        self.nodes = (0..self.plan.count).map(|_| Node { ports: Ports::free(), process: None }).collect();
        fs::write(self.dir().join("config.toml"), self.config()).expect("the directory is ours");
        if let Some(seed) = self.plan.seed {
            // An earlier attempt may have left data under other names.
            let data = self.dir().join("data");
            let _ = fs::remove_dir_all(&data);
            let names: Vec<String> = self.nodes.iter().map(|node| node.ports.name()).collect();
            seed(&data, &names);
        }
        for index in 0..self.nodes.len() {
            self.start(index);
        }
        for index in 0..self.nodes.len() {
            if !self.wait_until_ready(index).await {
                for index in 0..self.nodes.len() {
                    let _ = fs::remove_file(self.log(index, "out"));
                    let _ = fs::remove_file(self.log(index, "err"));
                }
                return false;
            }
        }
        true
    }

    /// Waits until a started node is ready. Returns false if its port was taken.
    async fn wait_until_ready(&mut self, index: usize) -> bool {
        let mut ended = None;
        let out = self.log(index, "out");
        let process = self.nodes[index].process.as_mut().expect("the node was just started");
        until("the start of a node", async || {
            ended = process.try_wait();
            ended.is_some() || log::read(&out).contains("All systems operational!")
        })
        .await;
        match ended {
            None => true,
            Some(status) if status.code() == Some(EXIT_CANNOT_BIND) => false,
            Some(status) => panic!("node {index} ended at its start: {status}\n{}", self.stderr(index)),
        }
    }

    /// The documented configuration with the ports and the timings of this cluster.
    fn config(&self) -> String {
        let peers: Vec<String> = self.nodes.iter().map(|node| format!("\"{}\"", node.ports.name())).collect();
        let mut config = String::new();
        for line in DOCUMENTED_CONFIG.lines() {
            let key = line.split(" =").next().unwrap_or_default();
            let quick = match key {
                "heartbeat_interval_ms" | "cpu_refresh_ms" => 100,
                "election_timeout_min_ms" => 600,
                "election_timeout_max_ms" => 900,
                "leader_term_ms" => 2000,
                "net_timeout_ms" => 500,
                "election_retry_ms" => 30,
                _ => 0,
            };
            match key {
                "this_node" => writeln!(config, "this_node = {}", peers[0]),
                "peers" => writeln!(config, "peers = [{}]", peers.join(", ")),
                _ if quick > 0 && self.plan.speed == ElectionSpeed::Quick => writeln!(config, "{key} = {quick}"),
                _ => writeln!(config, "{line}"),
            }
            .expect("writing to a String cannot fail");
        }
        config
    }
}
