//! A client of each node that asks the same thing again and again and notes when it was served.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

/// Between an answer and the next request: the resolution of everything that is measured.
const PACE: Duration = Duration::from_millis(5);

/// A frozen node gives no answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Answers that were not looked at yet; beyond these, the clients wait.
const QUEUE: usize = 4096;

/// What the clients ask.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Whether this node leads.
    Leader,
    /// A heartbeat of this user.
    Heartbeat(String),
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    /// The node's number.
    pub(crate) node: usize,
    pub(crate) sent: Instant,
    pub(crate) received: Instant,
    /// 0 if no answer came.
    pub(crate) status: u16,
    /// The node's term.
    pub(crate) term: u64,
}

impl Sighting {
    /// Whether the node did what only a leader may.
    pub(crate) fn is_served(&self) -> bool {
        self.status == 200
    }
}

/// The clients.
pub(crate) struct Probes {
    sightings: mpsc::Receiver<Sighting>,
    referee: Referee,
    _tasks: JoinSet<()>,
}

impl Probes {
    /// Starts a client for each URL.
    pub(crate) fn start(urls: &[String], request: &Request) -> anyhow::Result<Self> {
        let (found, sightings) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        for (node, url) in urls.iter().enumerate() {
            let http = http_client()?;
            let (url, request, found) = (url.clone(), request.clone(), found.clone());
            tasks.spawn(async move {
                loop {
                    let sighting = look(&http, &url, &request, node).await;
                    if found.send(sighting).await.is_err() {
                        return;
                    }
                    sleep(PACE).await;
                }
            });
        }
        Ok(Self { sightings, referee: Referee::default(), _tasks: tasks })
    }

    /// The next answer of any node, by `deadline`.
    pub(crate) async fn next(&mut self, deadline: Instant) -> anyhow::Result<Sighting> {
        let next = timeout_at(deadline, self.sightings.recv()).await.context("waited in vain")?;
        let sighting = next.context("the clients have ended")?;
        self.referee.judge(sighting)?;
        Ok(sighting)
    }
}

/// Knows when a served request proves that two nodes served at once.
#[derive(Debug, Default)]
pub(crate) struct Referee {
    /// The newest term in which a request was served, and when the first such answer had arrived.
    newest: Option<(u64, Instant)>,
}

impl Referee {
    /// Takes one answer. An old leader may have served a request that was sent before its successor's first answer came;
    /// a request that was sent later was served by two at once.
    pub(crate) fn judge(&mut self, sighting: Sighting) -> anyhow::Result<()> {
        if !sighting.is_served() {
            return Ok(());
        }
        match self.newest {
            Some((term, since)) if sighting.term < term => anyhow::ensure!(
                sighting.sent <= since,
                "node {} served in term {}, {:?} after term {term} had begun to serve",
                sighting.node,
                sighting.term,
                sighting.sent - since
            ),
            Some((term, _)) if sighting.term == term => {}
            Some(_) | None => self.newest = Some((sighting.term, sighting.received)),
        }
        Ok(())
    }
}

/// A client of HTTP that speaks to the nodes only.
pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    // Fails only if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    Ok(builder.tls_certs_only([]).timeout(ANSWER_TIME).build()?)
}

async fn look(http: &reqwest::Client, url: &str, request: &Request, node: usize) -> Sighting {
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
    Sighting { node, sent, received: Instant::now(), status, term }
}
