//! Client of a cluster, with one method for each request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::node_client::NodeClient;
use super::node_list::NodeList;
use super::request::{Idempotency, MAX_LIST_BYTES, RequestOptions};
use super::retry::{LeaderClient, PASSWORD_TIMEOUT};
use super::{
    ClientError, NewUser, NodeStatus, OnlineUpdate, TrustedAuthorities, Uploads, cluster_status, images, leader_search,
};
use rollcall_core::api::{
    Accepted, Cluster, CowStr, Discovered, Health, Heartbeat, Images, LoggedIn, PasswordChange, Registered,
    Registration, Users,
};
use rollcall_core::{AddrForm, ImageName, MetadataInput, Password, Token, Username};

/// Default time for the retries of a request. The slowest election with default timings is shorter.
pub const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a heartbeat. It is short, because the client must find a new leader within its TTL.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that a long poll may take in addition to the requested wait.
const POLL_SLACK: Duration = Duration::from_secs(4);

/// Client of a cluster.
///
/// Clones share the known nodes and the credentials. Each has its own retry timeout.
#[derive(Clone)]
pub struct Client {
    requests: LeaderClient,
}

impl Client {
    /// Creates a client that knows the nodes at these base URLs (`http://127.0.0.1:3000`), and
    /// trusts the certificate authorities of the system.
    ///
    /// It learns more nodes from their responses.
    ///
    /// # Errors
    /// [`ClientError::NoServers`] if there is no URL; [`ClientError::Setup`] if TLS cannot be set
    /// up.
    pub fn new<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        retry_timeout: Duration,
    ) -> Result<Self, ClientError> {
        Self::trusting(servers, retry_timeout, &TrustedAuthorities::default())
    }

    /// Like [`Self::new`], with these certificate authorities.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn trusting<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        retry_timeout: Duration,
        authorities: &TrustedAuthorities,
    ) -> Result<Self, ClientError> {
        let known = NodeList::new(servers.into_iter().map(Into::into)).ok_or(ClientError::NoServers)?;
        let nodes = NodeClient::new(authorities)?;
        Ok(Self { requests: LeaderClient { nodes, known: Arc::new(known), retry_timeout } })
    }

    /// A clone of the client with another retry timeout.
    #[must_use]
    pub fn with_retry_timeout(&self, retry_timeout: Duration) -> Self {
        Self { requests: LeaderClient { retry_timeout, ..self.requests.clone() } }
    }

    /// Sends this token with later requests.
    pub fn use_token(&self, token: Token) {
        self.requests.nodes.credentials.set_token(token);
    }

    /// Lets the client log in by itself if the registry rejects a request for a missing or invalid
    /// token. It does so at most once for each request.
    pub fn log_in_on_demand(&self, user: Username, password: Password) {
        self.requests.nodes.credentials.set_login_credentials(user, password);
    }

    /// The current token.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.requests.nodes.credentials.token()
    }

    /// Base URLs of all known nodes.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.requests.known.all()
    }

    /// Base URL of the last known leader.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.requests.known.leader()
    }

    /// Searches for the current leader, and returns its base URL; `None` if no node names one.
    pub async fn find_leader(&self) -> Option<String> {
        leader_search::find_leader(&self.requests.nodes, &self.requests.known).await.leader
    }

    /// Requests the list of nodes from the known nodes, and adds those of the first response.
    pub async fn learn_nodes(&self) {
        leader_search::learn_nodes(&self.requests.nodes, &self.requests.known).await;
    }

    /// Requests the status of all known nodes and of all nodes that they name, concurrently and
    /// once each.
    pub async fn cluster_status(&self) -> Vec<NodeStatus> {
        cluster_status::cluster_status(&self.requests.nodes, &self.requests.known).await
    }

    /// Requests the health of the node at `base`, without retries.
    ///
    /// # Errors
    /// [`ClientError`] if no response arrives, or if it is not the response of a node.
    pub async fn health(&self, base: &str) -> Result<Health, ClientError> {
        self.requests.nodes.health(base).await
    }

    /// Requests the list of all nodes from the node at `base`, without retries.
    ///
    /// # Errors
    /// [`ClientError`] if no response arrives, or if it is not the response of a node.
    pub async fn cluster(&self, base: &str) -> Result<Cluster, ClientError> {
        self.requests.nodes.cluster(base).await
    }

    /// Registers a user. The same registration again succeeds and returns the same id.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_exists` if the name is taken. Otherwise see
    /// [`ClientError`].
    pub async fn register(&self, user: &NewUser) -> Result<Registered, ClientError> {
        let body = Registration {
            username: text(&user.username),
            addr: user.addr.map(|addr| CowStr(addr.to_string().into())),
            password: user.password.clone(),
            metadata: user.metadata.clone().map(MetadataInput::Valid),
        };
        let options = RequestOptions::new(Idempotency::Idempotent).timeout(PASSWORD_TIMEOUT);
        let registered: Registered = self
            .requests
            .send(options, |http, base| http.post(format!("{base}/register")).json(&body))
            .await?
            .parse()?;
        if let Some(grant) = &registered.grant {
            self.use_token(grant.token.clone());
        }
        Ok(registered)
    }

    /// Logs in with the password, and sends the new token with later requests.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `wrong_password` or `too_many_attempts`. Otherwise see
    /// [`ClientError`].
    pub async fn log_in(&self, user: &Username, password: &Password) -> Result<LoggedIn, ClientError> {
        self.requests.log_in(user, password).await
    }

    /// Changes a password.
    ///
    /// If the response is lost, the client tries to log in with the new password. If the registry
    /// rejects the new password, the client sends the change again.
    ///
    /// # Errors
    /// As [`Self::log_in`].
    pub async fn change_password(
        &self,
        user: &Username,
        old: &Password,
        new: &Password,
    ) -> Result<LoggedIn, ClientError> {
        let body = PasswordChange { username: text(user), password: old.clone(), new_password: new.clone() };
        loop {
            let options = RequestOptions::new(Idempotency::NotIdempotent).timeout(PASSWORD_TIMEOUT);
            let response =
                self.requests.send(options, |http, base| http.post(format!("{base}/password")).json(&body)).await;
            match response {
                Ok(response) => {
                    let changed: LoggedIn = response.parse()?;
                    self.use_token(changed.grant.token.clone());
                    return Ok(changed);
                }
                Err(ClientError::OutcomeUnknown { .. }) => match self.log_in(user, new).await {
                    Err(ClientError::Rejected { status: 401, .. }) => {}
                    settled => return settled,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a heartbeat of a user. Without `addr`, the user keeps the last known address.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user. Otherwise see
    /// [`ClientError`].
    pub async fn heartbeat(&self, user: &Username, addr: Option<AddrForm>) -> Result<Accepted, ClientError> {
        let body = Heartbeat { username: text(user), addr: addr.map(|addr| CowStr(addr.to_string().into())) };
        let options = RequestOptions::new(Idempotency::Idempotent).authenticated().timeout(HEARTBEAT_TIMEOUT);
        self.requests.send(options, |http, base| http.post(format!("{base}/heartbeat")).json(&body)).await?.parse()
    }

    /// Lists all registered users.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn users(&self) -> Result<Users, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES);
        self.requests.send(options, |http, base| http.get(format!("{base}/users"))).await?.parse()
    }

    /// Lists all online clients.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online(&self) -> Result<Discovered, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES);
        self.requests.send(options, |http, base| http.get(format!("{base}/discover"))).await?.parse()
    }

    /// Requests the changes of the online clients since `cursor` (long poll).
    ///
    /// If nothing has changed, the node waits up to `wait` for a change, but at most 55 s.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online_changes(&self, cursor: &str, wait: Duration) -> Result<OnlineUpdate, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES).timeout(wait + POLL_SLACK);
        let query = [("since", cursor.to_owned()), ("wait", wait.as_secs().to_string())];
        self.requests.send(options, |http, base| http.get(format!("{base}/discover")).query(&query)).await?.parse()
    }

    /// Lists the names of a user's images, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user. Otherwise see
    /// [`ClientError`].
    pub async fn images(&self, user: &Username) -> Result<Images, ClientError> {
        images::images(&self.requests, user).await
    }

    /// Requests an image. `None` if its entity tag equals `known`: the caller already has the
    /// image.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `image_not_found`. Otherwise see [`ClientError`].
    pub async fn image(
        &self,
        user: &Username,
        image: &ImageName,
        known: Option<&str>,
    ) -> Result<Option<Bytes>, ClientError> {
        images::image(&self.requests, user, image, known).await
    }

    /// Starts a series of image uploads for one user.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user. Otherwise see
    /// [`ClientError`].
    pub async fn uploads(&self, user: &Username) -> Result<Uploads, ClientError> {
        Uploads::start(self.requests.clone(), user.clone()).await
    }
}

fn text(user: &Username) -> CowStr<'_> {
    CowStr(user.as_str().into())
}

#[cfg(test)]
mod tests;
