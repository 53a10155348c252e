//! Retries of one request to the leader.
//!
//! A node that limits a rate says when to try again, and the client waits that long. The retries
//! end when a response is final, after the retry timeout, after [`SILENCE_TIMEOUT`], or when
//! another attempt could execute a request twice.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use tokio::time::Instant;

use super::ClientError;
use super::backoff::Backoff;
use super::leader_search::{find_leader, learn_nodes, set_leader};
use super::node_client::NodeClient;
use super::node_list::NodeList;
use super::request::{Idempotency, NodeResponse, RequestOptions};
use rollcall_core::api::{CowStr, LoggedIn, Login};
use rollcall_core::{Password, Username};

/// Timeout of a request with a password. Checking a password is slow, and checks wait in a queue.
pub(super) const PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time without a response of any node. Nodes respond during an election too, so either the
/// URLs are wrong or the whole cluster is down.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// Client of the leader. It finds the leader, follows it, and logs in again when a token is
/// rejected.
#[derive(Clone)]
pub(super) struct LeaderClient {
    pub(super) nodes: NodeClient,
    pub(super) known: Arc<NodeList>,
    /// Time after which a request is no longer retried.
    pub(super) retry_timeout: Duration,
}

impl LeaderClient {
    /// Sends a request to the leader, and retries it.
    ///
    /// # Errors
    /// [`ClientError::DeadlineExceeded`] after the retry timeout, [`ClientError::OutcomeUnknown`]
    /// for a lost response to a request that is not idempotent, and each error that a retry cannot
    /// fix.
    pub(super) async fn send(
        &self,
        options: RequestOptions,
        request: impl Fn(&reqwest::Client, &str) -> RequestBuilder,
    ) -> Result<NodeResponse, ClientError> {
        let started_at = Instant::now();
        let mut last_response_at = started_at;
        let mut backoff = Backoff::new();
        let mut may_log_in = options.is_authenticated;
        loop {
            let leader = match self.known.leader() {
                Some(leader) => Ok(leader),
                None => self.find_leader(&mut last_response_at).await,
            };
            let failure = match leader {
                Err(error) if error.is_wrong_connection() => return Err(error),
                Err(error) => error,
                Ok(base) => match self.nodes.send(&base, options, &request).await {
                    Ok(response) => return Ok(response),
                    Err(ClientError::Rejected { status: 401, .. })
                        if may_log_in && self.nodes.credentials.login_credentials().is_some() =>
                    {
                        may_log_in = false;
                        self.log_in_again().await?;
                        continue;
                    }
                    Err(error) if error.is_final() => return Err(error),
                    // The node rejected the request, so nothing happened, and it is still the
                    // leader.
                    Err(ClientError::RateLimited { retry_after, message }) => {
                        last_response_at = Instant::now();
                        // The random share spreads the clients behind one address.
                        let delay = retry_after.mul_f64(1.0 + rand::random::<f64>());
                        if Instant::now() + delay >= started_at + self.retry_timeout {
                            return Err(ClientError::RateLimited { retry_after, message });
                        }
                        tokio::time::sleep(delay).await;
                        continue;
                    }
                    Err(error) => {
                        if !matches!(error, ClientError::Unreachable { .. }) {
                            last_response_at = Instant::now();
                        }
                        match &error {
                            ClientError::NotLeader { leader_url: Some(leader), .. } => {
                                set_leader(leader, &self.nodes, &self.known).await;
                            }
                            _ => self.known.clear_leader(),
                        }
                        if options.idempotency == Idempotency::NotIdempotent && !error.was_not_sent() {
                            return Err(ClientError::OutcomeUnknown { cause: Box::new(error) });
                        }
                        error
                    }
                },
            };
            let delay = backoff.next_delay(rand::random());
            // Do not sleep past a timeout: stop now, with the last error.
            let wake_at = Instant::now() + delay;
            let deadlines = [(started_at, self.retry_timeout), (last_response_at, SILENCE_TIMEOUT)];
            if let Some((_, timeout)) = deadlines.into_iter().find(|(since, timeout)| wake_at >= *since + *timeout) {
                return Err(ClientError::DeadlineExceeded {
                    retry_timeout_ms: timeout.as_millis(),
                    last: Box::new(failure),
                });
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Logs in with the password, and uses the new token from then on.
    pub(super) async fn log_in(&self, user: &Username, password: &Password) -> Result<LoggedIn, ClientError> {
        let body = Login { username: CowStr(user.as_str().into()), password: password.clone() };
        let options = RequestOptions::new(Idempotency::Idempotent).timeout(PASSWORD_TIMEOUT);
        let logged_in: LoggedIn =
            self.send(options, |http, base| http.post(format!("{base}/login")).json(&body)).await?.parse()?;
        self.nodes.credentials.set_token(logged_in.grant.token.clone());
        Ok(logged_in)
    }

    /// Searches for the leader. If the known nodes do not know it, adds the nodes that they name.
    async fn find_leader(&self, last_response_at: &mut Instant) -> Result<String, ClientError> {
        let search = find_leader(&self.nodes, &self.known).await;
        if !search.healthy.is_empty() {
            *last_response_at = Instant::now();
        }
        if let Some(leader) = search.unknown_leader {
            return Err(ClientError::UnknownLeader { leader });
        }
        match (search.leader, search.healthy.is_empty()) {
            (Some(leader), _) => Ok(leader),
            (None, true) => Err(ClientError::none_reachable(search.failures, self.known.all())),
            (None, false) => {
                learn_nodes(&self.nodes, &self.known).await;
                Err(ClientError::NoLeader { servers: self.known.all() })
            }
        }
    }

    /// Logs in with the stored password. The future is boxed, because a login uses `send` itself.
    async fn log_in_again(&self) -> Result<(), ClientError> {
        let Some((user, password)) = self.nodes.credentials.login_credentials() else { return Ok(()) };
        Box::pin(self.log_in(&user, &password)).await.map(drop)
    }
}
