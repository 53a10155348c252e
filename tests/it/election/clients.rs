//! Simple client: it asks any node, follows `leader_url`, and retries through elections.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cluster::{Cluster, http_client};

/// Pause between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// Timeout of one attempt. A frozen or killed node does not answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Result of a registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// 200 or 201: the client has the name, with this id.
    Registered(String),
    /// 409: another client has the name.
    Taken,
}

/// A client that has the URLs of all nodes.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    urls: Arc<[String]>,
    next: usize,
}

impl Client {
    /// A client that first asks the node with index `first`.
    pub(crate) fn new(cluster: &Cluster, nodes: usize, first: usize) -> Self {
        Self { http: http_client(), urls: (0..nodes).map(|index| cluster.url(index)).collect(), next: first }
    }

    /// Retries until it is certain which client has the name.
    pub(crate) async fn register(&mut self, username: &str, addr: &str) -> Outcome {
        let body = json!({"username": username, "addr": addr});
        loop {
            let url = format!("{}/register", self.urls[self.next % self.urls.len()]);
            let sent = self.http.post(url).timeout(REQUEST_TIMEOUT).body(body.to_string()).send().await;
            let (status, json) = match sent {
                Ok(response) => (response.status().as_u16(), response.json().await.unwrap_or(Value::Null)),
                Err(_) => (0, Value::Null),
            };
            match status {
                200 | 201 if json["user_id"].is_string() => {
                    return Outcome::Registered(json["user_id"].as_str().unwrap_or_default().to_owned());
                }
                409 => return Outcome::Taken,
                400..=402 | 404..=499 => panic!("a valid registration was refused: {json}"),
                _ => {}
            }
            let named = self.urls.iter().position(|url| json["leader_url"] == **url);
            self.next = named.unwrap_or(self.next + 1);
            sleep(RETRY_DELAY).await;
        }
    }
}
