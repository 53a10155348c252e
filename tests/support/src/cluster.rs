//! Test harness: clusters of real processes.
//!
//! Each cluster has its own directory, ports and bucket, and listens on 127.0.0.1 only. Dropping it
//! ends its nodes, even when a test panics. Each node ends when its standard input is closed, so it
//! also ends if the test run is killed. The logs of the nodes are printed when a test fails.

mod log;
mod plan;
mod ports;
mod process;
mod request;
mod response;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::certificates::TestAuthority;
pub use plan::{Plan, Seed};
pub use ports::{Ports, free_port};
pub use process::{Process, is_foreign_variable, program, rollcall, rollcall_with_open_files};
pub use request::{Request, http_client, http_client_from, https_client};
pub use response::Response;

/// Longest wait for an expected event. Much longer than needed, because the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// A cluster of running nodes.
pub struct Cluster {
    plan: Plan,
    dir: TempDir,
    nodes: Vec<Node>,
    http: reqwest::Client,
    /// The authority of the nodes' certificate, if their API has TLS.
    authority: Option<TestAuthority>,
    /// Counts this cluster against the limit on running clusters.
    _permit: SemaphorePermit<'static>,
}

/// One node, with its process while it runs.
struct Node {
    ports: Ports,
    process: Option<Process>,
}

impl Cluster {
    /// Index of the leader. Waits until exactly one node reports that it leads.
    pub async fn leader(&self) -> usize {
        self.leader_among(|_| true).await
    }

    /// Index of the leader. Waits until it is another node than `old`.
    pub async fn leader_after(&self, old: usize) -> usize {
        self.leader_among(|index| index != old).await
    }

    /// Indices of a running follower and of the leader that it names.
    pub async fn follower(&self) -> (usize, usize) {
        let leader = self.leader().await;
        let name = self.name(leader);
        let mut found = None;
        until("a follower that knows the leader", async || {
            for index in self.running() {
                let health = self.health(index).await;
                if health.is_some_and(|health| health["current_leader"] == name && health["is_leader"] == false) {
                    found = Some(index);
                }
            }
            found.is_some()
        })
        .await;
        (found.expect("waited for"), leader)
    }

    async fn leader_among(&self, may_lead: impl Fn(usize) -> bool) -> usize {
        let mut found = None;
        until("a leader", async || {
            let mut leaders = Vec::new();
            for index in self.running() {
                if self.health(index).await.is_some_and(|health| health["is_leader"] == true) {
                    leaders.push(index);
                }
            }
            // Two nodes may report that they lead, if the leadership changed between the two
            // requests. Then the check is repeated.
            found = match leaders[..] {
                [leader] if may_lead(leader) => Some(leader),
                _ => None,
            };
            found.is_some()
        })
        .await;
        found.expect("waited for")
    }

    /// Indices of the nodes that the test has started and not stopped.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some())
    }

    /// The node's health, from `GET /`. `None` without a response within 700 ms.
    pub async fn health(&self, index: usize) -> Option<Value> {
        let answer = self.http.get(self.url(index)).timeout(Duration::from_millis(700)).send().await.ok()?;
        answer.json().await.ok()
    }

    /// The node's name: its election address.
    pub fn name(&self, index: usize) -> String {
        self.nodes[index].ports.name()
    }

    /// URL of the node's API, without a trailing slash.
    pub fn url(&self, index: usize) -> String {
        let url = self.nodes[index].ports.url();
        if self.authority.is_some() { url.replacen("http", "https", 1) } else { url }
    }

    /// Address of the node's API, for tests that connect to it directly.
    pub fn api(&self, index: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.nodes[index].ports.api)
    }

    /// The authority of the nodes' certificate.
    pub fn authority(&self) -> &TestAuthority {
        self.authority.as_ref().expect("the cluster has TLS")
    }

    /// The working directory of the nodes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of the local bucket.
    pub fn bucket(&self) -> PathBuf {
        self.dir().join("data/bucket")
    }

    /// Sorted paths of all files in the local bucket that belong to users.
    pub fn stored(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_files(&self.bucket(), "", &mut found);
        found.retain(|path| !is_internal_path(path));
        found.sort_unstable();
        found
    }

    /// The private directory of one node.
    pub fn node_dir(&self, index: usize) -> PathBuf {
        self.dir().join("data").join(self.name(index))
    }

    /// Process id of a running node.
    pub fn id(&self, index: usize) -> u32 {
        self.nodes[index].process.as_ref().expect("it runs").id()
    }

    /// Address of the node's election port, for tests that connect to it directly.
    pub fn election(&self, index: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.nodes[index].ports.election)
    }

    /// The standard output of a node since its first start.
    pub fn stdout(&self, index: usize) -> String {
        log::read(&self.log(index, "out"))
    }

    /// The log of a node since its first start.
    pub fn stderr(&self, index: usize) -> String {
        log::read(&self.log(index, "err"))
    }

    /// Kills a node without warning (SIGKILL).
    pub fn kill9(&mut self, index: usize) {
        self.nodes[index].process.take().expect("it runs").kill();
    }

    /// Stops a node (SIGTERM) and waits until it has ended.
    pub async fn sigterm(&mut self, index: usize) -> ExitStatus {
        self.terminate(index);
        self.end(index).await
    }

    /// Interrupts a node, as Ctrl-C does (SIGINT), and waits until it has ended.
    pub async fn ctrl_c(&mut self, index: usize) -> ExitStatus {
        self.signal(index, Signal::INT);
        self.end(index).await
    }

    /// Asks a node to stop (SIGTERM).
    pub fn terminate(&self, index: usize) {
        self.signal(index, Signal::TERM);
    }

    /// Waits until a node has ended.
    pub async fn end(&mut self, index: usize) -> ExitStatus {
        let mut process = self.nodes[index].process.take().expect("it runs");
        process.wait().await
    }

    /// Suspends a node (SIGSTOP).
    pub fn freeze(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Resumes a suspended node (SIGCONT).
    pub fn resume(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        self.nodes[index].process.as_ref().expect("it runs").signal(signal);
    }

    /// Starts a node again, with the same arguments. Does not wait until it answers.
    pub fn start(&mut self, index: usize) {
        assert!(self.nodes[index].process.is_none(), "node {index} runs already");
        self.nodes[index].process = Some(self.spawn(index));
    }

    /// Sets an environment variable of a node, from its next start on.
    pub fn set_env(&mut self, index: usize, name: &str, value: &str) {
        self.plan.set_env(index, name, value);
    }

    fn spawn(&self, index: usize) -> Process {
        let mut command = match self.plan.open_files() {
            Some(files) => rollcall_with_open_files(self.dir(), files),
            None => rollcall(self.dir()),
        };
        command.args(["--config", "config.toml", "--this-node", &self.name(index)]);
        command.env("API_PORT", self.nodes[index].ports.api.to_string());
        command.env("ROLLCALL_API_BIND", "127.0.0.1");
        command.envs(self.plan.variables(index).map(|(name, value)| (name.as_str(), value.as_str())));
        Process::start(command, &self.log(index, "out"), &self.log(index, "err"))
    }

    fn log(&self, index: usize, kind: &str) -> PathBuf {
        self.dir().join(format!("node-{index}.{kind}"))
    }

    /// A request to one node, in any role.
    pub fn at(&self, index: usize) -> Request<'_> {
        Request::new(self, Some(index))
    }

    /// A request to the leader. It is repeated while there is no leader.
    pub fn lead(&self) -> Request<'_> {
        Request::new(self, None)
    }

    /// Registers a user. Returns the user's id.
    pub async fn register(&self, username: &str, addr: &str) -> String {
        let body = serde_json::json!({"username": username, "addr": addr}).to_string();
        let answer = self.lead().post("/register", body).await;
        // 200 if the first response was lost in an election and the request was repeated.
        assert!(matches!(answer.status, 200 | 201), "{answer}");
        answer.json()["user_id"].as_str().expect("an id").to_owned()
    }

    /// Sends a heartbeat.
    pub async fn heartbeat(&self, username: &str) {
        let answer = self.lead().post("/heartbeat", format!(r#"{{"username":"{username}"}}"#)).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Uploads an image. Returns the name under which it is stored.
    pub async fn upload(&self, username: &str, picture: &[u8]) -> String {
        let answer = self.lead().upload(username, picture).await;
        assert_eq!(answer.status, 201, "{answer}");
        answer.json()["filename"].as_str().expect("a name").to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = node.process.take() {
                process.kill();
            }
        }
        if thread::panicking() {
            for index in 0..self.nodes.len() {
                log::print_tail(&format!("node {index}, {}", self.name(index)), &self.log(index, "err"));
            }
        }
    }
}

/// Copies a directory of fixtures. Files get the usual permissions, also if the fixtures are
/// read-only.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory is ours");
    for entry in fs::read_dir(from).expect("the fixtures are there") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::write(to, fs::read(entry.path()).expect("readable")).expect("the directory is ours");
        }
    }
}

/// Checks a condition repeatedly until it is true. `event` names the condition in the panic
/// message.
///
/// # Panics
/// If it is not true after [`SOON`].
pub async fn until(event: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {SOON:?} for {event}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether the file at this path in a bucket belongs to the nodes. All other files belong to users.
pub fn is_internal_path(path: &str) -> bool {
    path == "cluster.json"
        || ["nodes/", "probes/", "secrets/", ".tmp/", ".lock"].iter().any(|folder| path.starts_with(folder))
}

fn collect_files(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("the bucket is there") {
        let entry = entry.expect("readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("readable").is_dir() {
            collect_files(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}
