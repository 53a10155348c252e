//! An HTTP client of the registry: it is given some nodes, finds the one that leads and follows it when it changes.
//!
//! It decides whom to ask and when to ask again, and refuses to know what its callers do with the answers. A request
//! rides out an election: it is repeated until a leader answers it or the client's patience ends.

mod answer;
mod discover;
mod error;
mod leader;

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::api::{Accepted, Health, Heartbeat, Registered, Registration, Text, Uploaded};
use crate::domain::{Addr, ImageKind, Username};

pub use error::ClientError;

use answer::Verdict;
use leader::Servers;

/// How long a request is repeated: longer than the slowest election at the default timings.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read; every answer that this client asks for is far shorter.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that is silent for longer is looked for again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// The first pause before a request is repeated: a leader's death is noticed within milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest; the pauses between double.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// A client of a cluster.
pub struct Client {
    http: reqwest::Client,
    servers: Servers,
    patience: Duration,
}

impl Client {
    /// A client that knows the nodes at these base URLs (`http://127.0.0.1:3000`). More are learned on the way.
    ///
    /// # Errors
    /// [`ClientError::NoServers`] if there is no URL; [`ClientError::Setup`] if TLS cannot be set up.
    pub fn new(servers: impl IntoIterator<Item = String>, patience: Duration) -> Result<Self, ClientError> {
        let servers = Servers::new(servers).ok_or(ClientError::NoServers)?;
        // reqwest asks for a process-wide provider even for plain http; an error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                // A proxy would answer in place of a node that is dead, and a redirect is the client's own business.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
        };
        // A machine without root certificates can still speak plain http.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(ClientError::Setup)?;
        Ok(Self { http, servers, patience })
    }

    /// What the node at `base` says of itself: asked once, of this node only.
    ///
    /// # Errors
    /// [`ClientError`] if it does not answer, or not as a node does.
    pub async fn health(&self, base: &str) -> Result<Health, ClientError> {
        let response = self.http.get(format!("{base}/")).timeout(HEALTH_TIMEOUT).send().await;
        let (status, body) = read(base, response).await?;
        match answer::judge(status, &body) {
            Verdict::Done => parse(base, &body),
            verdict => Err(verdict.into_error(base)),
        }
    }

    /// Registers a user. Doing it again with the same address is no error and gives the same id.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_exists` if the name is another's; else see [`ClientError`].
    pub async fn register(&self, user: &Username, addr: Option<Addr>) -> Result<Registered, ClientError> {
        let addr = addr.map(|addr| Text(addr.to_string().into()));
        let body = Registration { username: Text(user.as_str().into()), addr, password: None, metadata: None };
        self.ask_leader(|http, base| http.post(format!("{base}/register")).json(&body)).await
    }

    /// Says that a user is online, at this address or the last known one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn heartbeat(&self, user: &Username, addr: Option<Addr>) -> Result<Accepted, ClientError> {
        let addr = addr.map(|addr| Text(addr.to_string().into()));
        let body = Heartbeat { username: Text(user.as_str().into()), addr };
        self.ask_leader(|http, base| http.post(format!("{base}/heartbeat")).json(&body)).await
    }

    /// Stores a picture of a user. If an answer is lost and the upload repeated, it may be stored twice.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the server does not take the picture; else see [`ClientError`].
    pub async fn upload_image(&self, user: &Username, kind: ImageKind, image: Bytes) -> Result<Uploaded, ClientError> {
        let form = || {
            let length = u64::try_from(image.len()).unwrap_or(u64::MAX);
            let file = Part::stream_with_length(image.clone(), length).file_name(format!("image.{}", kind.extension()));
            Form::new().part("image", file)
        };
        self.ask_leader(|http, base| http.post(format!("{base}/upload_image/{user}")).multipart(form())).await
    }

    /// The base URL of the node that leads now, as far as the nodes say.
    pub async fn find_leader(&self) -> Option<String> {
        let servers = self.servers.all();
        let asked = servers.into_iter().map(|base| async move { (self.health(&base).await, base) });
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut healthy = Vec::new();
        while let Some((health, base)) = asked.next().await {
            let Ok(health) = health else { continue };
            let is_leader = health.is_leader;
            healthy.push((base, health));
            // A node that hangs must not keep the client from one that serves.
            if is_leader {
                break;
            }
        }
        let leader = leader::choose(healthy);
        if let Some(leader) = &leader {
            self.servers.follow(leader);
        }
        leader
    }

    /// Sends a request to the leader until one answers it. Every request that comes here may be sent twice.
    async fn ask_leader<T: DeserializeOwned>(
        &self,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let known = self.servers.leader();
            let leader = if known.is_some() { known } else { self.find_leader().await };
            let failure = match leader {
                None => ClientError::NoLeader { servers: self.servers.all() },
                Some(base) => match self.ask(&base, &request).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => {
                        match &error {
                            ClientError::NotLeader { leader_url: Some(leader), .. } => self.servers.follow(leader),
                            _ => self.servers.forget(),
                        }
                        error
                    }
                },
            };
            // One that would sleep past the end of its patience stops now and says why.
            if Instant::now() + pause >= deadline {
                return Err(ClientError::GaveUp { patience_ms: self.patience.as_millis(), last: Box::new(failure) });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        base: &str,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let (status, body) = read(base, request(&self.http, base).send().await).await?;
        match answer::judge(status, &body) {
            Verdict::Done => parse(base, &body),
            verdict => Err(verdict.into_error(base)),
        }
    }
}

/// Reads an answer to its end, or to the limit.
async fn read(base: &str, response: reqwest::Result<Response>) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let unreachable = |cause: reqwest::Error| ClientError::Unreachable { base: base.to_owned(), cause };
    let mut response = response.map_err(unreachable)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(ClientError::Unexpected {
                base: base.to_owned(),
                what: format!("more than {MAX_ANSWER_BYTES} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

fn parse<T: DeserializeOwned>(base: &str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body)
        .map_err(|error| ClientError::Unexpected { base: base.to_owned(), what: error.to_string() })
}

#[cfg(test)]
mod tests;
