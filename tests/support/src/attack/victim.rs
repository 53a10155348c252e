//! The victim: a client that works while another address attacks.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use super::VICTIM;
use crate::cluster::http_client_from;

/// A client at [`VICTIM`] with two users. One of them has a password.
pub struct Victim {
    node: SocketAddr,
    http: reqwest::Client,
}

/// The user that sends heartbeats.
const OPEN: &str = r#"{"username":"victim","addr":"10.0.0.1:9000"}"#;

/// The user that logs in.
const LOGIN: &str = r#"{"username":"victim-with-password","password":"secret word"}"#;

/// The results of one kind of request.
#[derive(Debug)]
pub struct Results {
    /// The kind of the request.
    pub kind: &'static str,
    /// The time of each request that succeeded, in order of their lengths.
    times: Vec<Duration>,
    failures: Vec<String>,
}

/// The requests of a victim.
#[derive(Debug)]
pub struct Report {
    /// Each kind of request.
    pub kinds: Vec<Results>,
}

impl Results {
    /// The share of requests that succeeded within `limit`, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests")]
    pub fn percent_within(&self, limit: Duration) -> f64 {
        let good = self.times.iter().filter(|time| **time <= limit).count();
        100.0 * good as f64 / (self.times.len() + self.failures.len()) as f64
    }

    /// The time within which this share of the successful requests ended.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.times.get((self.times.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl Report {
    /// The number of requests, and of those that succeeded.
    pub fn counts(&self) -> (usize, usize) {
        let succeeded: usize = self.kinds.iter().map(|results| results.times.len()).sum();
        (succeeded + self.failures().count(), succeeded)
    }

    /// The results of the requests that failed.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().flat_map(|results| results.failures.iter().map(String::as_str))
    }
}

impl Victim {
    /// Registers the two users. To be called before the attack.
    pub async fn register(node: SocketAddr) -> Self {
        let victim = Self { node, http: http_client_from(VICTIM) };
        for user in [OPEN, LOGIN] {
            victim.send(Method::POST, "/register", user.to_owned()).await.expect("no attack yet");
        }
        victim
    }

    /// Sends `rounds` of a registration, a heartbeat, a list and a login, each on a connection of
    /// its own. `name` is the beginning of the names that it registers.
    pub async fn work(&self, name: &str, rounds: usize) -> Report {
        let kinds = ["registration", "heartbeat", "list", "login"];
        let mut report =
            Report { kinds: kinds.map(|kind| Results { kind, times: Vec::new(), failures: Vec::new() }).into() };
        for round in 0..rounds {
            let new_user = format!(r#"{{"username":"{name}-{round}","addr":"10.0.0.1:9000"}}"#);
            let requests = [
                (Method::POST, "/register", new_user),
                (Method::POST, "/heartbeat", OPEN.to_owned()),
                (Method::GET, "/discover", String::new()),
                (Method::POST, "/login", LOGIN.to_owned()),
            ];
            for (results, (method, path, body)) in report.kinds.iter_mut().zip(requests) {
                let started = Instant::now();
                match self.send(method, path, body).await {
                    Ok(()) => results.times.push(started.elapsed()),
                    Err(failure) => results.failures.push(format!("{path} after {:?}: {failure}", started.elapsed())),
                }
            }
        }
        report.kinds.iter_mut().for_each(|results| results.times.sort_unstable());
        report
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<(), String> {
        let url = format!("http://{}{path}", self.node);
        let answer = self.http.request(method, url).body(body).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status.is_success() { Ok(()) } else { Err(format!("{status} {text}")) }
    }
}
