//! Clusters of real processes of the real program, for the tests that need one.
//!
//! Each cluster has a directory, ports and a bucket of its own, and listens on 127.0.0.1 only. It ends with the value, also when a test
//! panics; its nodes end even when the test run is killed, since each watches its standard input. What the nodes wrote is shown when a
//! test fails.

mod log;
mod plan;
mod ports;
mod process;
mod request;
mod response;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep};

pub(crate) use plan::Plan;
pub(crate) use ports::{Ports, free_port};
pub(crate) use process::{Process, rollcall};
pub(crate) use request::{Request, http_client};
pub(crate) use response::Response;

/// The longest that anything in a test may take which should happen soon: generous, because the machine may be busy with other work.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Between two looks at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// Running nodes.
pub(crate) struct Cluster {
    plan: Plan,
    dir: TempDir,
    nodes: Vec<Node>,
    http: reqwest::Client,
    _permit: SemaphorePermit<'static>,
}

/// One node: its names, and its process while it has one.
struct Node {
    ports: Ports,
    process: Option<Process>,
}

impl Cluster {
    /// The place of the node that serves now. Waits until exactly one says so.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_among(|_| true).await
    }

    /// The place of the node that serves, once it is another than `old`.
    pub(crate) async fn leader_after(&self, old: usize) -> usize {
        self.leader_among(|index| index != old).await
    }

    /// A running node that does not lead, and the leader that it names.
    pub(crate) async fn follower(&self) -> (usize, usize) {
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
            // Two may say so when the old one was asked before a change and the new one after it; then it is asked again.
            found = match leaders[..] {
                [leader] if may_lead(leader) => Some(leader),
                _ => None,
            };
            found.is_some()
        })
        .await;
        found.expect("waited for")
    }

    /// The nodes whose processes were started and not ended by the test.
    pub(crate) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].process.is_some())
    }

    /// What a node says of itself; `None` if it does not answer soon.
    pub(crate) async fn health(&self, index: usize) -> Option<Value> {
        let answer = self.http.get(self.url(index)).timeout(Duration::from_millis(700)).send().await.ok()?;
        answer.json().await.ok()
    }

    /// The node's name: its election address.
    pub(crate) fn name(&self, index: usize) -> String {
        self.nodes[index].ports.name()
    }

    /// Where its API is, without a slash at the end.
    pub(crate) fn url(&self, index: usize) -> String {
        self.nodes[index].ports.url()
    }

    /// The address of its API, for tests that speak to the socket.
    pub(crate) fn api(&self, index: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.nodes[index].ports.api)
    }

    /// The directory in which the nodes were started.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The local bucket.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.dir().join("data/bucket")
    }

    /// The paths of all files in the local bucket that clients asked to store, sorted; without what the nodes write for themselves.
    pub(crate) fn stored(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.bucket(), "", &mut found);
        found.retain(|path| !is_internal_path(path));
        found.sort_unstable();
        found
    }

    /// The directory that belongs to one node alone.
    pub(crate) fn node_dir(&self, index: usize) -> PathBuf {
        self.dir().join("data").join(self.name(index))
    }

    /// The number of a node's process, while it runs.
    pub(crate) fn id(&self, index: usize) -> u32 {
        self.nodes[index].process.as_ref().expect("it runs").id()
    }

    /// The address of its election port, for tests that speak to the socket.
    pub(crate) fn election(&self, index: usize) -> (&'static str, u16) {
        ("127.0.0.1", self.nodes[index].ports.election)
    }

    /// What the node wrote for people, from its first start on.
    pub(crate) fn stdout(&self, index: usize) -> String {
        log::read(&self.log(index, "out"))
    }

    /// The node's log, from its first start on.
    pub(crate) fn stderr(&self, index: usize) -> String {
        log::read(&self.log(index, "err"))
    }

    /// Ends a node at once, without a chance to say anything.
    pub(crate) fn kill9(&mut self, index: usize) {
        self.nodes[index].process.take().expect("it runs").kill();
    }

    /// Asks a node to end and waits until it has.
    pub(crate) async fn sigterm(&mut self, index: usize) -> ExitStatus {
        self.terminate(index);
        self.end(index).await
    }

    /// Asks a node to end.
    pub(crate) fn terminate(&self, index: usize) {
        self.signal(index, Signal::TERM);
    }

    /// Waits until a node has ended.
    pub(crate) async fn end(&mut self, index: usize) -> ExitStatus {
        let mut process = self.nodes[index].process.take().expect("it runs");
        process.wait().await
    }

    /// Freezes a node.
    pub(crate) fn freeze(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Wakes a frozen node.
    pub(crate) fn resume(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        self.nodes[index].process.as_ref().expect("it runs").signal(signal);
    }

    /// Starts a node that has ended, as it was started before. Does not wait until it answers.
    pub(crate) fn start(&mut self, index: usize) {
        assert!(self.nodes[index].process.is_none(), "node {index} runs already");
        self.nodes[index].process = Some(self.spawn(index));
    }

    /// Gives a node an environment variable from its next start on.
    pub(crate) fn set_env(&mut self, index: usize, name: &str, value: &str) {
        self.plan.set_env(index, name, value);
    }

    fn spawn(&self, index: usize) -> Process {
        let mut command = rollcall(self.dir());
        command.args(["--config", "config.toml", "--this-node", &self.name(index)]);
        command.env("API_PORT", self.nodes[index].ports.api.to_string());
        command.env("ROLLCALL_API_BIND", "127.0.0.1");
        command.envs(self.plan.variables(index).map(|(name, value)| (name.as_str(), value.as_str())));
        Process::start(command, &self.log(index, "out"), &self.log(index, "err"))
    }

    fn log(&self, index: usize, kind: &str) -> PathBuf {
        self.dir().join(format!("node-{index}.{kind}"))
    }

    /// A request to one node, whatever it is.
    pub(crate) fn at(&self, index: usize) -> Request<'_> {
        Request::new(self, Some(index))
    }

    /// A request to whoever leads, repeated through elections.
    pub(crate) fn lead(&self) -> Request<'_> {
        Request::new(self, None)
    }

    /// Registers a user and gives the id.
    pub(crate) async fn register(&self, username: &str, addr: &str) -> String {
        let body = serde_json::json!({"username": username, "addr": addr}).to_string();
        let answer = self.lead().post("/register", body).await;
        // 200 if the first answer was lost in an election.
        assert!(matches!(answer.status, 200 | 201), "{answer}");
        answer.json()["user_id"].as_str().expect("an id").to_owned()
    }

    /// Sends a heartbeat.
    pub(crate) async fn heartbeat(&self, username: &str) {
        let answer = self.lead().post("/heartbeat", format!(r#"{{"username":"{username}"}}"#)).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Uploads a picture and gives its name.
    pub(crate) async fn upload(&self, username: &str, picture: &[u8]) -> String {
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

/// Looks again and again until it is so.
///
/// # Panics
/// If it is not so after [`SOON`].
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited {SOON:?} for {what}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether the nodes write this path in a bucket for themselves. Anything else was a client's wish.
pub(crate) fn is_internal_path(path: &str) -> bool {
    path == "cluster.json" || path.starts_with("nodes/") || path.starts_with("secrets/") || path.starts_with(".tmp/")
}

fn collect(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("the bucket is there") {
        let entry = entry.expect("readable");
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("readable").is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
        } else {
            found.push(name);
        }
    }
}
