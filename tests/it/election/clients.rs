//! A client as users write them: it asks any node, follows the leader that is named, and goes on through elections.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cluster::{Cluster, http_client};

/// Between two tries.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// The longest that one try may take; a frozen or killed node gives no answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How a registration ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// 201 or 200: the name is ours, under this id.
    Registered(String),
    /// 409: it is another's.
    Taken,
}

/// The client. Knows all nodes from the start.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    urls: Arc<[String]>,
    next: usize,
}

impl Client {
    /// One that asks the node at place `first` first.
    pub(crate) fn new(cluster: &Cluster, nodes: usize, first: usize) -> Self {
        Self { http: http_client(), urls: (0..nodes).map(|index| cluster.url(index)).collect(), next: first }
    }

    /// Tries until it is certain who has the name.
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
                400..=402 | 404..=499 => panic!("a right registration was refused: {json}"),
                _ => {}
            }
            let named = self.urls.iter().position(|url| json["leader_url"] == **url);
            self.next = named.unwrap_or(self.next + 1);
            sleep(RETRY_DELAY).await;
        }
    }
}
