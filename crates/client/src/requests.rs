//! The requests, one function each.

use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::IF_NONE_MATCH;

use super::asking::{Ask, MAX_IMAGE_BYTES, MAX_LIST_BYTES, Repeat};
use super::{Client, ClientError, HEALTH_TIMEOUT, News, Uploads};
use rollcall_core::api::{
    Accepted, Cluster, Discovered, Health, Heartbeat, Images, LoggedIn, Login, PasswordChange, Registered,
    Registration, Text, Users,
};
use rollcall_core::{AddrForm, ImageName, Metadata, MetadataForm, Password, Username};

/// A leader that takes longer for a heartbeat is looked for again: clients have a time to live.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// A password is slow to check, and waits for its turn.
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer than it was asked to wait a node may take.
const POLL_SLACK: Duration = Duration::from_secs(4);

/// Who is to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// The name.
    pub username: Username,
    /// Where others reach it.
    pub addr: Option<AddrForm>,
    /// From then on its requests need proof.
    pub password: Option<Password>,
    /// What it wants to have known.
    pub metadata: Option<Metadata>,
}

impl NewUser {
    /// A user of whom nothing but the name is known.
    #[must_use]
    pub fn named(username: Username) -> Self {
        Self { username, addr: None, password: None, metadata: None }
    }
}

impl Client {
    /// What the node at `base` says of itself: asked once, of this node only.
    ///
    /// # Errors
    /// [`ClientError`] if it does not answer, or not as a node does.
    pub async fn health(&self, base: &str) -> Result<Health, ClientError> {
        self.ask_node(base, "/", HEALTH_TIMEOUT).await?.parse()
    }

    /// What the node at `base` knows of all nodes: asked once, of this node only.
    ///
    /// # Errors
    /// [`ClientError`] if it does not answer, or not as a node does.
    pub async fn cluster(&self, base: &str) -> Result<Cluster, ClientError> {
        self.ask_node(base, "/cluster", HEALTH_TIMEOUT).await?.parse()
    }

    /// Registers a user. Doing it again with the same values is no error and gives the same id.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_exists` if the name is another's; else see [`ClientError`].
    pub async fn register(&self, user: &NewUser) -> Result<Registered, ClientError> {
        let body = Registration {
            username: text(&user.username),
            addr: user.addr.map(|addr| Text(addr.to_string().into())),
            password: user.password.clone(),
            metadata: user.metadata.clone().map(MetadataForm::Good),
        };
        let ask = Ask::new(Repeat::Safe).timeout(PASSWORD_TIMEOUT);
        let registered: Registered =
            self.ask_leader(ask, |http, base| http.post(format!("{base}/register")).json(&body)).await?.parse()?;
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
        let body = Login { username: text(user), password: password.clone() };
        let ask = Ask::new(Repeat::Safe).timeout(PASSWORD_TIMEOUT);
        let logged_in: LoggedIn =
            self.ask_leader(ask, |http, base| http.post(format!("{base}/login")).json(&body)).await?.parse()?;
        self.use_token(logged_in.grant.token.clone());
        Ok(logged_in)
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
            let answer = self.ask_leader(ask, |http, base| http.post(format!("{base}/password")).json(&body)).await;
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
        let body = Heartbeat { username: text(user), addr: addr.map(|addr| Text(addr.to_string().into())) };
        let ask = Ask::new(Repeat::Safe).proven().timeout(HEARTBEAT_TIMEOUT);
        self.ask_leader(ask, |http, base| http.post(format!("{base}/heartbeat")).json(&body)).await?.parse()
    }

    /// Everybody who is registered.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn users(&self) -> Result<Users, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES);
        self.ask_leader(ask, |http, base| http.get(format!("{base}/users"))).await?.parse()
    }

    /// Everybody who is online.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn online(&self) -> Result<Discovered, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES);
        self.ask_leader(ask, |http, base| http.get(format!("{base}/discover"))).await?.parse()
    }

    /// What changed since `cursor` in who is online; waits so long for it if nothing did.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn news(&self, cursor: &str, wait: Duration) -> Result<News, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES).timeout(wait + POLL_SLACK);
        let query = [("since", cursor.to_owned()), ("wait", wait.as_secs().to_string())];
        self.ask_leader(ask, |http, base| http.get(format!("{base}/discover")).query(&query)).await?.parse()
    }

    /// The names of a user's pictures, oldest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn images(&self, user: &Username) -> Result<Images, ClientError> {
        let ask = Ask::new(Repeat::Safe).up_to(MAX_LIST_BYTES);
        self.ask_leader(ask, |http, base| http.get(format!("{base}/images/{user}"))).await?.parse()
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
        let ask = Ask::new(Repeat::Safe).up_to(MAX_IMAGE_BYTES);
        let answer = self
            .ask_leader(ask, |http, base| {
                let request = http.get(format!("{base}/image/{user}/{image}"));
                match known {
                    Some(tag) => request.header(IF_NONE_MATCH, tag),
                    None => request,
                }
            })
            .await?;
        Ok((answer.status != StatusCode::NOT_MODIFIED).then_some(answer.body))
    }

    /// Uploads of pictures of one user.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with code `user_not_registered` for an unknown user; else see [`ClientError`].
    pub async fn uploads(&self, user: &Username) -> Result<Uploads, ClientError> {
        Uploads::begin(self.clone(), user.clone()).await
    }
}

fn text(user: &Username) -> Text<'_> {
    Text(user.as_str().into())
}
