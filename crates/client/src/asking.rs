//! One request to whoever leads, until there is an answer, the client's patience ends, or another try could do harm.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::answer::{self, Verdict};
use super::leader;
use super::pauses::Pauses;
use super::{Client, ClientError, HEALTH_TIMEOUT, REQUEST_TIMEOUT};

/// The longest answer that is read if nothing else is said.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The longest list: some 100,000 users with metadata.
pub(super) const MAX_LIST_BYTES: usize = 256 * 1024 * 1024;
/// The longest picture, which is more than the registry takes.
pub(super) const MAX_IMAGE_BYTES: usize = 1024 * 1024;
/// Nobody at all has answered for so long: that is no election, and what was typed is wrong or everything is down.
const SILENCE: Duration = Duration::from_secs(5);

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeat {
    /// Twice is as good as once.
    Safe,
    /// Only if no connection came about; anything else that is no clear answer is [`ClientError::Unsure`].
    OnlyIfRefusedAtTheDoor,
}

/// How a request is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    repeat: Repeat,
    timeout: Duration,
    max_bytes: usize,
    is_proven: bool,
}

impl Ask {
    pub(super) fn new(repeat: Repeat) -> Self {
        Self { repeat, timeout: REQUEST_TIMEOUT, max_bytes: MAX_ANSWER_BYTES, is_proven: false }
    }

    /// How long the answer may take.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long the answer may be.
    pub(super) fn up_to(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// With what the client proves itself with, if it has anything.
    pub(super) fn proven(self) -> Self {
        Self { is_proven: true, ..self }
    }
}

/// An answer that says that it was done.
#[derive(Debug)]
pub(super) struct Answer {
    base: String,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::Unexpected { base: self.base.clone(), what: error.to_string() })
    }
}

/// What a look at all nodes found.
struct Look {
    leader: Option<String>,
    /// Who answered anything.
    healthy: Vec<String>,
    /// Why others did not.
    failures: Vec<ClientError>,
}

impl Client {
    /// The base URL of the node that leads now, as far as the nodes say.
    pub async fn find_leader(&self) -> Option<String> {
        self.look().await.leader
    }

    /// Learns the other nodes from one that it knows.
    pub async fn learn_nodes(&self) {
        let all = self.servers.all();
        let mut asked: FuturesUnordered<_> = all.iter().map(|base| self.cluster(base)).collect();
        while let Some(cluster) = asked.next().await {
            let Ok(cluster) = cluster else { continue };
            for url in cluster.nodes.into_iter().filter_map(|node| node.api_url) {
                self.servers.learn(&url);
            }
            return;
        }
    }

    async fn look(&self) -> Look {
        let servers = self.servers.all();
        let asked = servers.into_iter().map(|base| async move { (self.health(&base).await, base) });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let (mut healthy, mut failures) = (Vec::new(), Vec::new());
        while let Some((health, base)) = asked.next().await {
            match health {
                Ok(health) => {
                    let is_leader = health.is_leader;
                    healthy.push((base, health));
                    // A node that hangs must not keep the client from one that serves.
                    if is_leader {
                        break;
                    }
                }
                Err(error) => failures.push(error),
            }
        }
        let names = healthy.iter().map(|(base, _)| base.clone()).collect();
        let leader = leader::choose(healthy);
        if let Some(leader) = &leader {
            self.servers.follow(leader);
        }
        Look { leader, healthy: names, failures }
    }

    /// Sends a request to the leader until one answers it.
    pub(super) async fn ask_leader(
        &self,
        ask: Ask,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let started_at = Instant::now();
        let mut heard_at = started_at;
        let mut pauses = Pauses::new();
        let mut may_log_in = ask.is_proven;
        loop {
            let leader = match self.servers.leader() {
                Some(leader) => Ok(leader),
                None => self.seek(&mut heard_at).await,
            };
            let failure = match leader {
                Err(nobody) => nobody,
                Ok(base) => match self.ask(&base, ask, &request).await {
                    Ok(answer) => return Ok(answer),
                    Err(ClientError::Refused { status: 401, .. }) if may_log_in && self.proof.login().is_some() => {
                        may_log_in = false;
                        self.log_in_again().await?;
                        continue;
                    }
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => {
                        if !matches!(error, ClientError::Unreachable { .. }) {
                            heard_at = Instant::now();
                        }
                        match &error {
                            ClientError::NotLeader { leader_url: Some(leader), .. } => self.servers.follow(leader),
                            _ => self.servers.forget(),
                        }
                        if ask.repeat == Repeat::OnlyIfRefusedAtTheDoor && !error.is_refused_at_the_door() {
                            return Err(ClientError::Unsure { cause: Box::new(error) });
                        }
                        error
                    }
                },
            };
            let pause = pauses.next(rand::random());
            // One that would sleep past the end of its patience stops now and says why.
            let then = Instant::now() + pause;
            let ends = [(started_at, self.patience), (heard_at, SILENCE)];
            if let Some((_, patience)) = ends.into_iter().find(|(since, patience)| then >= *since + *patience) {
                return Err(ClientError::GaveUp { patience_ms: patience.as_millis(), last: Box::new(failure) });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks for the leader; learns more nodes if those that are known do not know it.
    async fn seek(&self, heard_at: &mut Instant) -> Result<String, ClientError> {
        let look = self.look().await;
        if !look.healthy.is_empty() {
            *heard_at = Instant::now();
        }
        match (look.leader, look.healthy.is_empty()) {
            (Some(leader), _) => Ok(leader),
            (None, true) => Err(ClientError::nobody(look.failures, self.servers.all())),
            (None, false) => {
                self.learn_nodes().await;
                Err(ClientError::NoLeader { servers: self.servers.all() })
            }
        }
    }

    /// Boxed, since logging in is a request to the leader, too.
    async fn log_in_again(&self) -> Result<(), ClientError> {
        let Some((user, password)) = self.proof.login() else { return Ok(()) };
        Box::pin(self.log_in(&user, &password)).await.map(drop)
    }

    /// Asks one node, once, for something that is small and needs no proof.
    pub(super) async fn ask_node(&self, base: &str, path: &str, timeout: Duration) -> Result<Answer, ClientError> {
        let ask = Ask::new(Repeat::Safe).timeout(timeout.max(HEALTH_TIMEOUT));
        self.ask(base, ask, |http, base| http.get(format!("{base}{path}"))).await
    }

    async fn ask(
        &self,
        base: &str,
        ask: Ask,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let mut request = request(&self.http, base).timeout(ask.timeout);
        if let Some(token) = self.proof.token().filter(|_| ask.is_proven) {
            request = request.bearer_auth(token.reveal());
        }
        let (status, body) = read(base, ask.max_bytes, request.send().await).await?;
        match answer::judge(status, &body) {
            Verdict::Done => Ok(Answer { base: base.to_owned(), status, body }),
            verdict => Err(verdict.into_error(base)),
        }
    }
}

/// Reads an answer to its end, or to the limit.
async fn read(
    base: &str,
    max_bytes: usize,
    response: reqwest::Result<Response>,
) -> Result<(StatusCode, Bytes), ClientError> {
    let unreachable = |cause: reqwest::Error| ClientError::Unreachable { base: base.to_owned(), cause };
    let mut response = response.map_err(unreachable)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > max_bytes {
            let what = format!("more than {max_bytes} bytes");
            return Err(ClientError::Unexpected { base: base.to_owned(), what });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body.freeze()))
}
