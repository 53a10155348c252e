//! Client of a cluster: the requests, one function each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ask::{Ask, MAX_LIST_BYTES, Repeat};
use super::leader::Servers;
use super::node_client::NodeClient;
use super::retry::{LeaderClient, PASSWORD_TIMEOUT};
use super::{ClientError, NewUser, News, Surveyed, Uploads, images, search, survey};
use rollcall_core::api::{
    Accepted, Cluster, CowStr, Discovered, Health, Heartbeat, Images, LoggedIn, PasswordChange, Registered,
    Registration, Users,
};
use rollcall_core::{AddrForm, ImageName, MetadataInput, Password, Token, Username};

/// How long a request is repeated: longer than the slowest election at the default timings.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
/// A leader that takes longer for a heartbeat is looked for again: clients have a time to live.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How much longer than it was asked to wait a node may take.
const POLL_SLACK: Duration = Duration::from_secs(4);

/// A client of a cluster. All clones are one, but for their patience.
#[derive(Clone)]
pub struct Client {
    requests: LeaderClient,
}

impl Client {
    /// A client that knows the nodes at these base URLs (`http://127.0.0.1:3000`). More are learned on the way.
    ///
    /// # Errors
    /// [`ClientError::NoServers`] if there is no URL; [`ClientError::Setup`] if TLS cannot be set up.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, patience: Duration) -> Result<Self, ClientError> {
        let servers = Servers::new(servers.into_iter().map(Into::into)).ok_or(ClientError::NoServers)?;
        let nodes = NodeClient::new()?;
        Ok(Self { requests: LeaderClient { nodes, servers: Arc::new(servers), patience } })
    }

    /// The same client with another patience.
    #[must_use]
    pub fn patient_for(&self, patience: Duration) -> Self {
        Self { requests: LeaderClient { patience, ..self.requests.clone() } }
    }

    /// Proves itself with this token from now on.
    pub fn use_token(&self, token: Token) {
        self.requests.nodes.proof.set_token(token);
    }

    /// Logs in by itself, once a request, when the registry wants proof and does not take the token, if there is one.
    pub fn log_in_when_asked(&self, user: Username, password: Password) {
        self.requests.nodes.proof.set_login(user, password);
    }

    /// The token that it proves itself with.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.requests.nodes.proof.token()
    }

    /// The base URLs of all nodes that it knows.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.requests.servers.all()
    }

    /// The base URL of the node that answered last as the leader.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.requests.servers.leader()
    }

    /// The base URL of the node that leads now, as far as the nodes say.
    pub async fn find_leader(&self) -> Option<String> {
        search::look(&self.requests.nodes, &self.requests.servers).await.leader
    }

    /// Learns the other nodes from one that it knows.
    pub async fn learn_nodes(&self) {
        search::learn_nodes(&self.requests.nodes, &self.requests.servers).await;
    }

    /// Asks every node that is known, and those that they name, at the same time and once.
    pub async fn survey(&self) -> Vec<Surveyed> {
        survey::survey(&self.requests.nodes, &self.requests.servers).await
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
    /// [`ClientError::Refused`] with code `user_exists` if the name is another's; else see [`ClientError`].
    pub async fn register(&self, user: &NewUser) -> Result<Registered, ClientError> {
        let body = Registration {
            username: text(&user.username),
            addr: user.addr.map(|addr| CowStr(addr.to_string().into())),
            password: user.password.clone(),
            metadata: user.metadata.clone().map(MetadataInput::Valid),
        };
        let ask = Ask::new(Repeat::Safe).timeout(PASSWORD_TIMEOUT);
        let registered: Registered =
            self.requests.ask(ask, |http, base| http.post(format!("{base}/register")).json(&body)).await?.parse()?;
        if let Some(grant) = &registered.grant {
            self.use_token(grant.token.clone());
        }
        Ok(registered)
    }

    /// Proves who the user is with the password, and with the token it gets for that from then on.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `wrong_password`, or `too_many_attempts`; else see [`ClientError`].
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
            let ask = Ask::new(Repeat::OnlyIfRefusedAtTheDoor).timeout(PASSWORD_TIMEOUT);
            let answer = self.requests.ask(ask, |http, base| http.post(format!("{base}/password")).json(&body)).await;
            match answer {
                Ok(answer) => {
                    let changed: LoggedIn = answer.parse()?;
                    self.use_token(changed.grant.token.clone());
                    return Ok(changed);
                }
                Err(ClientError::Unsure { .. }) => match self.log_in(user, new).await {
                    Err(ClientError::Refused { status: 401, .. }) => {}
                    settled => return settled,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that a user is online, at this address or the last known one.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn heartbeat(&self, user: &Username, addr: Option<AddrForm>) -> Result<Accepted, ClientError> {
        let body = Heartbeat { username: text(user), addr: addr.map(|addr| CowStr(addr.to_string().into())) };
        let ask = Ask::new(Repeat::Safe).proven().timeout(HEARTBEAT_TIMEOUT);
        self.requests.ask(ask, |http, base| http.post(format!("{base}/heartbeat")).json(&body)).await?.parse()
    }

    /// Everybody who is registered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn users(&self) -> Result<Users, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES);
        self.requests.ask(ask, |http, base| http.get(format!("{base}/users"))).await?.parse()
    }

    /// Everybody who is online.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online(&self) -> Result<Discovered, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES);
        self.requests.ask(ask, |http, base| http.get(format!("{base}/discover"))).await?.parse()
    }

    /// What changed since `cursor` in who is online; waits so long for it if nothing did.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn news(&self, cursor: &str, wait: Duration) -> Result<News, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES).timeout(wait + POLL_SLACK);
        let query = [("since", cursor.to_owned()), ("wait", wait.as_secs().to_string())];
        self.requests.ask(ask, |http, base| http.get(format!("{base}/discover")).query(&query)).await?.parse()
    }

    /// The names of a user's pictures, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn images(&self, user: &Username) -> Result<Images, ClientError> {
        images::images(&self.requests, user).await
    }

    /// A picture; `None` if it is the one that has the entity tag `known`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `image_not_found`; else see [`ClientError`].
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
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn uploads(&self, user: &Username) -> Result<Uploads, ClientError> {
        Uploads::begin(self.requests.clone(), user.clone()).await
    }
}

fn text(user: &Username) -> CowStr<'_> {
    CowStr(user.as_str().into())
}

#[cfg(test)]
mod tests;
