//! An HTTP client of the registry: it is given some nodes, finds the one that leads and follows it when it changes.
//!
//! It decides whom to ask and when to ask again, and refuses to know what its callers do with the answers. A request
//! rides out an election: it is repeated until a leader answers it or the client's patience ends. What may not be done
//! twice is repeated only when it was surely not done (see [`Uploads`]).

mod answer;
mod asking;
mod beats;
mod error;
mod leader;
mod pauses;
mod proof;
mod requests;
mod roster;
mod server;
mod settings;
mod survey;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

pub use beats::{Beat, Beats, Course, Pace};
pub use error::ClientError;
pub use requests::NewUser;
pub use roster::{News, Roster, Turn};
pub use server::{InvalidServer, Server};
pub use settings::{Settings, SettingsError};
pub use survey::Surveyed;
pub use uploads::Uploads;

use leader::Servers;
use proof::Proof;
use rollcall_core::{Password, Token, Username};

/// How long a request is repeated: longer than the slowest election at the default timings.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that is silent for longer is looked for again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of a cluster. All clones are one, but for their patience.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    servers: Arc<Servers>,
    proof: Arc<Proof>,
    patience: Duration,
}

impl Client {
    /// A client that knows the nodes at these base URLs (`http://127.0.0.1:3000`). More are learned on the way.
    ///
    /// # Errors
    /// [`ClientError::NoServers`] if there is no URL; [`ClientError::Setup`] if TLS cannot be set up.
    pub fn new<S: Into<String>>(servers: impl IntoIterator<Item = S>, patience: Duration) -> Result<Self, ClientError> {
        let servers = Servers::new(servers.into_iter().map(Into::into)).ok_or(ClientError::NoServers)?;
        // reqwest asks for a process-wide provider even for plain http; an error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                // A proxy would answer in place of a node that is dead, and a redirect is the client's own business.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
        };
        // A machine without root certificates can still speak plain http.
        let http = builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(ClientError::Setup)?;
        Ok(Self { http, servers: Arc::new(servers), proof: Arc::default(), patience })
    }

    /// The same client with another patience.
    #[must_use]
    pub fn patient_for(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Proves itself with this token from now on.
    pub fn use_token(&self, token: Token) {
        self.proof.set_token(token);
    }

    /// Logs in by itself, once a request, when the registry wants proof and does not take the token, if there is one.
    pub fn log_in_when_asked(&self, user: Username, password: Password) {
        self.proof.set_login(user, password);
    }

    /// The token that it proves itself with.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.proof.token()
    }

    /// The base URLs of all nodes that it knows.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.servers.all()
    }

    /// The base URL of the node that answered last as the leader.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.servers.leader()
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
