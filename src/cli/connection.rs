//! Which servers a command asks, and as whom.

use std::path::PathBuf;

use clap::Args;

use super::exit::{CommandError, USAGE};
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, ServerUrl, UserSettings};
use rollcall_core::Username;

/// Where a node is that was started as the documentation says.
const DEFAULT_SERVER: &str = "http://localhost:3000";
const DEFAULT_DATA_DIR: &str = "data";
const SERVER_VARIABLE: &str = "ROLLCALL_SERVER";
const DATA_DIR_VARIABLE: &str = "ROLLCALL_DATA_DIR";
const SERVER_HELP: &str = "A node's URL or HOST:PORT, any node will do; repeat it, or give several separated by commas \
    [env: ROLLCALL_SERVER] [default: http://localhost:3000]";
const DATA_DIR_HELP: &str = "Where settings (servers and token, never a password) are kept, in client_<username>.json \
    [env: ROLLCALL_DATA_DIR] [default: data]";

/// Which servers.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The nodes to ask, any of them will do
    #[arg(long, value_name = "URL", value_delimiter = ',', help = SERVER_HELP)]
    server: Vec<ServerUrl>,
}

/// Which user.
#[derive(Args, Clone, Debug)]
pub(super) struct AccountArgs {
    /// The user's name
    #[arg(long, value_name = "NAME", value_parser = Username::parse)]
    username: Username,

    #[command(flatten)]
    servers: ServerArgs,

    /// Where settings are kept
    #[arg(long, value_name = "DIR", help = DATA_DIR_HELP)]
    data_dir: Option<PathBuf>,
}

/// A user, the client that speaks for it, and where its settings are.
pub(super) struct Account {
    pub(super) user: Username,
    pub(super) client: Client,
    /// What was kept before.
    pub(super) settings: Option<UserSettings>,
    dir: PathBuf,
}

impl ServerArgs {
    /// A client of the servers that were given, or of the default one.
    pub(super) fn connect(&self) -> Result<Client, CommandError> {
        self.connect_or_else(Vec::new)
    }

    /// The same, with others in the place of the default one if there are any.
    fn connect_or_else(&self, fallback: impl FnOnce() -> Vec<ServerUrl>) -> Result<Client, CommandError> {
        let mut servers = if self.server.is_empty() { servers_from_environment()? } else { self.server.clone() };
        if servers.is_empty() {
            servers = fallback();
        }
        if servers.is_empty() {
            servers.push(DEFAULT_SERVER.parse().expect("the default is a URL"));
        }
        Ok(Client::new(servers, DEFAULT_RETRY_TIMEOUT)?)
    }
}

impl AccountArgs {
    /// For a command that starts afresh: what was kept before is neither used nor needed.
    pub(super) fn without_saved_settings(&self) -> Result<Account, CommandError> {
        let client = self.servers.connect()?;
        Ok(Account { user: self.username.clone(), client, settings: None, dir: self.dir() })
    }

    /// For a command that goes on: with the token and, unless some are given, the servers that were kept.
    pub(super) fn with_saved_settings(&self) -> Result<Account, CommandError> {
        let dir = self.dir();
        let settings = UserSettings::load(&dir, &self.username)?;
        let client =
            self.servers.connect_or_else(|| settings.as_ref().map(UserSettings::servers).unwrap_or_default())?;
        if let Some(token) = settings.as_ref().and_then(|settings| settings.token.clone()) {
            client.use_token(token);
        }
        Ok(Account { user: self.username.clone(), client, settings, dir })
    }

    fn dir(&self) -> PathBuf {
        let given = self.data_dir.clone().or_else(|| variable(DATA_DIR_VARIABLE).map(Into::into));
        given.unwrap_or_else(|| DEFAULT_DATA_DIR.into())
    }
}

impl Account {
    /// Keeps the servers, the token and what `change` adds; gives the file.
    pub(super) fn save_settings(&mut self, change: impl FnOnce(&mut UserSettings)) -> Result<PathBuf, CommandError> {
        let mut settings =
            self.settings.take().unwrap_or_else(|| UserSettings::new(self.user.clone(), self.client.servers()));
        settings.servers = self.client.servers();
        settings.token = self.client.token();
        change(&mut settings);
        let saved = settings.save(&self.dir);
        // Whether it could be written or not: to try the same again at each heartbeat would not help.
        self.settings = Some(settings);
        Ok(saved?)
    }

    /// Keeps a token that the client got by itself.
    pub(super) fn save_new_token(&mut self) -> Result<(), CommandError> {
        let kept = self.settings.as_ref().and_then(|settings| settings.token.clone());
        if self.client.token() != kept {
            // When it expires was not told.
            self.save_settings(|settings| settings.token_expires_at = None)?;
        }
        Ok(())
    }
}

fn servers_from_environment() -> Result<Vec<ServerUrl>, CommandError> {
    let text = variable(SERVER_VARIABLE).unwrap_or_default();
    let servers = text.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::parse);
    servers
        .collect::<Result<_, _>>()
        .map_err(|error| CommandError::new(USAGE, format!("environment variable {SERVER_VARIABLE}: {error}")))
}

/// An environment variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
