//! One request to whoever leads, until there is an answer, the client's patience ends, or another try could do harm.

use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use tokio::time::Instant;

use super::ClientError;
use super::ask::{Answer, Ask, Repeat};
use super::leader::Servers;
use super::node_client::NodeClient;
use super::pauses::Pauses;
use super::search::{learn_nodes, look};
use rollcall_core::api::{CowStr, LoggedIn, Login};
use rollcall_core::{Password, Username};

/// A password is slow to check, and waits for its turn.
pub(super) const PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody at all has answered for so long: that is no election, and what was typed is wrong or everything is down.
const SILENCE: Duration = Duration::from_secs(5);

/// Client of the leader. Finds it, follows it, and logs in again when a token is not taken.
#[derive(Clone)]
pub(super) struct LeaderClient {
    pub(super) nodes: NodeClient,
    pub(super) servers: Arc<Servers>,
    /// How long a request is repeated.
    pub(super) patience: Duration,
}

impl LeaderClient {
    /// Sends a request to the leader until one answers it.
    pub(super) async fn ask(
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
                Ok(base) => match self.nodes.send(&base, ask, &request).await {
                    Ok(answer) => return Ok(answer),
                    Err(ClientError::Refused { status: 401, .. })
                        if may_log_in && self.nodes.proof.login().is_some() =>
                    {
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

    /// Gets a token for the password, and uses it from then on.
    pub(super) async fn log_in(&self, user: &Username, password: &Password) -> Result<LoggedIn, ClientError> {
        let body = Login { username: CowStr(user.as_str().into()), password: password.clone() };
        let ask = Ask::new(Repeat::Safe).timeout(PASSWORD_TIMEOUT);
        let logged_in: LoggedIn =
            self.ask(ask, |http, base| http.post(format!("{base}/login")).json(&body)).await?.parse()?;
        self.nodes.proof.set_token(logged_in.grant.token.clone());
        Ok(logged_in)
    }

    /// Looks for the leader; learns more nodes if those that are known do not know it.
    async fn seek(&self, heard_at: &mut Instant) -> Result<String, ClientError> {
        let look = look(&self.nodes, &self.servers).await;
        if !look.healthy.is_empty() {
            *heard_at = Instant::now();
        }
        match (look.leader, look.healthy.is_empty()) {
            (Some(leader), _) => Ok(leader),
            (None, true) => Err(ClientError::nobody(look.failures, self.servers.all())),
            (None, false) => {
                learn_nodes(&self.nodes, &self.servers).await;
                Err(ClientError::NoLeader { servers: self.servers.all() })
            }
        }
    }

    /// Boxed, since logging in is a request to the leader, too.
    async fn log_in_again(&self) -> Result<(), ClientError> {
        let Some((user, password)) = self.nodes.proof.login() else { return Ok(()) };
        Box::pin(self.log_in(&user, &password)).await.map(drop)
    }
}
