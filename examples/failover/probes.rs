//! Probes: one client per node repeats the same request and records when it was served.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Pause between an answer and the next request. It is the resolution of all measurements.
const PACE: Duration = Duration::from_millis(5);

/// Timeout of a request. A frozen node does not answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest number of results that wait to be read. If the queue is full, the clients wait.
const MAX_QUEUED_RESULTS: usize = 4096;

/// The request of the clients.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Asks whether the node leads.
    Leader,
    /// Sends a heartbeat of this user.
    Heartbeat(String),
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeResult {
    /// Index of the node.
    pub(crate) node: usize,
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
    /// HTTP status, 0 if no answer arrived.
    pub(crate) status: u16,
    /// Term of the node.
    pub(crate) term: u64,
}

impl ProbeResult {
    /// Whether the node served a request that only a leader may serve.
    pub(crate) fn is_served(&self) -> bool {
        self.status == 200
    }
}

/// The clients and their results.
pub(crate) struct Probes {
    results: mpsc::Receiver<ProbeResult>,
    single_leader: SingleLeaderCheck,
    _tasks: JoinSet<()>,
}

impl Probes {
    /// Starts a client for each URL.
    pub(crate) fn start(urls: &[String], request: &Request) -> anyhow::Result<Self> {
        let (sender, results) = mpsc::channel(MAX_QUEUED_RESULTS);
        let mut tasks = JoinSet::new();
        for (node, url) in urls.iter().enumerate() {
            let http = http_client()?;
            let (url, request, sender) = (url.clone(), request.clone(), sender.clone());
            tasks.spawn(async move {
                loop {
                    let result = probe(&http, &url, &request, node).await;
                    if sender.send(result).await.is_err() {
                        return;
                    }
                    sleep(PACE).await;
                }
            });
        }
        Ok(Self { results, single_leader: SingleLeaderCheck::default(), _tasks: tasks })
    }

    /// The next answer of any node, until `deadline`.
    pub(crate) async fn next(&mut self, deadline: Instant) -> anyhow::Result<ProbeResult> {
        let next = timeout_at(deadline, self.results.recv()).await.context("no answer in time")?;
        let result = next.context("the clients have ended")?;
        self.single_leader.check(result)?;
        Ok(result)
    }
}

/// Detects two nodes that serve at once.
#[derive(Debug, Default)]
pub(crate) struct SingleLeaderCheck {
    /// The newest term in which a request was served, and when its first answer arrived.
    newest: Option<(u64, Instant)>,
}

impl SingleLeaderCheck {
    /// Checks one answer. An old leader may serve a request that was sent before the first answer
    /// of its successor arrived. If it serves a request that was sent later, two nodes served at
    /// once.
    pub(crate) fn check(&mut self, result: ProbeResult) -> anyhow::Result<()> {
        if !result.is_served() {
            return Ok(());
        }
        match self.newest {
            Some((term, since)) if result.term < term => anyhow::ensure!(
                result.sent <= since,
                "node {} served in term {}, {:?} after term {term} had begun to serve",
                result.node,
                result.term,
                result.sent - since
            ),
            Some((term, _)) if result.term == term => {}
            Some(_) | None => self.newest = Some((result.term, result.received)),
        }
        Ok(())
    }
}

/// An HTTP client for the nodes: no proxy and no redirects.
pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    // This fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(builder.tls_certs_only([]).timeout(REQUEST_TIMEOUT).build()?)
}

async fn probe(http: &reqwest::Client, url: &str, request: &Request, node: usize) -> ProbeResult {
    let sent = Instant::now();
    let request = match request {
        Request::Leader => http.get(format!("{url}/leader")),
        Request::Heartbeat(user) => http.post(format!("{url}/heartbeat")).body(format!(r#"{{"username":"{user}"}}"#)),
    };
    let (status, term) = match request.send().await {
        Ok(response) => {
            let term = response.headers().get("rollcall-term").and_then(|term| term.to_str().ok()?.parse().ok());
            (response.status().as_u16(), term.unwrap_or(0))
        }
        Err(_) => (0, 0),
    };
    ProbeResult { node, sent, received: Instant::now(), status, term }
}
