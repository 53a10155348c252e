//! Client of a cluster: the requests, one function each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::node_client::NodeClient;
use super::node_list::NodeList;
use super::request::{Idempotency, MAX_LIST_BYTES, RequestOptions};
use super::retry::{LeaderClient, PASSWORD_TIMEOUT};
use super::{ClientError, NewUser, NodeStatus, OnlineUpdate, Uploads, cluster_status, images, leader_search};
use rollcall_core::api::{
    Accepted, Cluster, CowStr, Discovered, Health, Heartbeat, Images, LoggedIn, PasswordChange, Registered,
    Registration, Users,
};
use rollcall_core::{AddrForm, ImageName, MetadataInput, Password, Token, Username};

/// How long a request is repeated: longer than the slowest election at the default timings.
pub const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// A leader that takes longer for a heartbeat is looked for again: clients have a time to live.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than it was asked to wait a node may take.
const POLL_SLACK: Duration = Duration::from_secs(4);

/// A client of a cluster. All clones are one, but for their retry_timeout.
#[derive(Clone)]
pub struct Client {
    requests: LeaderClient,
}

impl Client {
    /// A client that knows the nodes at these base URLs (`http://127.0.0.1:3000`). More are learned on the way.
    ///
    /// # Errors
    /// [`ClientError::NoServers`] if there is no URL; [`ClientError::Setup`] if TLS cannot be set up.
    pub fn new<S: Into<String>>(
        servers: impl IntoIterator<Item = S>,
        retry_timeout: Duration,
    ) -> Result<Self, ClientError> {
        let known = NodeList::new(servers.into_iter().map(Into::into)).ok_or(ClientError::NoServers)?;
        let nodes = NodeClient::new()?;
        Ok(Self { requests: LeaderClient { nodes, known: Arc::new(known), retry_timeout } })
    }

    /// The same client with another retry_timeout.
    #[must_use]
    pub fn with_retry_timeout(&self, retry_timeout: Duration) -> Self {
        Self { requests: LeaderClient { retry_timeout, ..self.requests.clone() } }
    }

    /// Proves itself with this token from now on.
    pub fn use_token(&self, token: Token) {
        self.requests.nodes.credentials.set_token(token);
    }

    /// Logs in by itself, once a request, when the registry wants proof and does not take the token, if there is one.
    pub fn log_in_on_demand(&self, user: Username, password: Password) {
        self.requests.nodes.credentials.set_login_credentials(user, password);
    }

    /// The token that it proves itself with.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.requests.nodes.credentials.token()
    }

    /// The base URLs of all nodes that it knows.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.requests.known.all()
    }

    /// The base URL of the node that answered last as the leader.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.requests.known.leader()
    }

    /// The base URL of the node that leads now, as far as the nodes say.
    pub async fn find_leader(&self) -> Option<String> {
        leader_search::find_leader(&self.requests.nodes, &self.requests.known).await.leader
    }

    /// Learns the other nodes from one that it knows.
    pub async fn learn_nodes(&self) {
        leader_search::learn_nodes(&self.requests.nodes, &self.requests.known).await;
    }

    /// Asks every node that is known, and those that they name, at the same time and once.
    pub async fn cluster_status(&self) -> Vec<NodeStatus> {
        cluster_status::cluster_status(&self.requests.nodes, &self.requests.known).await
    }

    /// What the node at `base` says of itself: asked once, of this node only.
    ///
    /// # Errors
    /// [`ClientError`] if it does not answer, or not as a node does.
    pub async fn health(&self, base: &str) -> Result<Health, ClientError> {
        self.requests.nodes.health(base).await
    }

    /// What the node at `base` knows of all nodes: asked once, of this node only.
    ///
    /// # Errors
    /// [`ClientError`] if it does not answer, or not as a node does.
    pub async fn cluster(&self, base: &str) -> Result<Cluster, ClientError> {
        self.requests.nodes.cluster(base).await
    }

    /// Registers a user. Doing it again with the same values is no error and gives the same id.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_exists` if the name is another's; else see [`ClientError`].
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

    /// Proves who the user is with the password, and with the token it gets for that from then on.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `wrong_password`, or `too_many_attempts`; else see [`ClientError`].
    pub async fn log_in(&self, user: &Username, password: &Password) -> Result<LoggedIn, ClientError> {
        self.requests.log_in(user, password).await
    }

    /// Changes a password. If the answer to the change is lost, the new password is tried before it is sent again.
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
            let answer =
                self.requests.send(options, |http, base| http.post(format!("{base}/password")).json(&body)).await;
            match answer {
                Ok(answer) => {
                    let changed: LoggedIn = answer.parse()?;
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

    /// Says that a user is online, at this address or the last known one.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn heartbeat(&self, user: &Username, addr: Option<AddrForm>) -> Result<Accepted, ClientError> {
        let body = Heartbeat { username: text(user), addr: addr.map(|addr| CowStr(addr.to_string().into())) };
        let options = RequestOptions::new(Idempotency::Idempotent).authenticated().timeout(HEARTBEAT_TIMEOUT);
        self.requests.send(options, |http, base| http.post(format!("{base}/heartbeat")).json(&body)).await?.parse()
    }

    /// Everybody who is registered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn users(&self) -> Result<Users, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES);
        self.requests.send(options, |http, base| http.get(format!("{base}/users"))).await?.parse()
    }

    /// Everybody who is online.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online(&self) -> Result<Discovered, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES);
        self.requests.send(options, |http, base| http.get(format!("{base}/discover"))).await?.parse()
    }

    /// What changed since `cursor` in who is online; waits so long for it if nothing did.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online_changes(&self, cursor: &str, wait: Duration) -> Result<OnlineUpdate, ClientError> {
        let options = RequestOptions::new(Idempotency::Idempotent).max_bytes(MAX_LIST_BYTES).timeout(wait + POLL_SLACK);
        let query = [("since", cursor.to_owned()), ("wait", wait.as_secs().to_string())];
        self.requests.send(options, |http, base| http.get(format!("{base}/discover")).query(&query)).await?.parse()
    }

    /// The names of a user's pictures, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn images(&self, user: &Username) -> Result<Images, ClientError> {
        images::images(&self.requests, user).await
    }

    /// A picture; `None` if it is the one that has the entity tag `known`.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `image_not_found`; else see [`ClientError`].
    pub async fn image(
        &self,
        user: &Username,
        image: &ImageName,
        known: Option<&str>,
    ) -> Result<Option<Bytes>, ClientError> {
        images::image(&self.requests, user, image, known).await
    }

    /// Uploads of pictures of one user.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn uploads(&self, user: &Username) -> Result<Uploads, ClientError> {
        Uploads::begin(self.requests.clone(), user.clone()).await
    }
}

fn text(user: &Username) -> CowStr<'_> {
    CowStr(user.as_str().into())
}

#[cfg(test)]
mod tests;
