//! Flags and settings that select the servers of a command, and its user.

use std::path::PathBuf;

use clap::Args;

use super::exit::{CommandError, USAGE};
use rollcall_client::{Client, DEFAULT_RETRY_TIMEOUT, ServerUrl, TrustedAuthorities, UserSettings};
use rollcall_core::Username;

/// Base URL of a node that runs on this machine with the default settings.
const DEFAULT_SERVER: &str = "http://localhost:3000";
const DEFAULT_DATA_DIR: &str = "data";
const SERVER_VARIABLE: &str = "ROLLCALL_SERVER";
const CA_VARIABLE: &str = "ROLLCALL_CA";
const DATA_DIR_VARIABLE: &str = "ROLLCALL_DATA_DIR";
const SERVER_HELP: &str = "URL or HOST:PORT of any node of the cluster; repeat the flag or separate several by commas \
    [env: ROLLCALL_SERVER] [default: http://localhost:3000]";
const CA_HELP: &str = "PEM file with the certificates of the authorities to trust for https, instead of those of the \
    system [env: ROLLCALL_CA]";
const DATA_DIR_HELP: &str = "Directory of the user's settings file, client_<username>.json; it contains the servers \
    and the token, never a password [env: ROLLCALL_DATA_DIR] [default: data]";

/// Flags that select the servers.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// Nodes to contact
    #[arg(long, value_name = "URL", value_delimiter = ',', help = SERVER_HELP)]
    server: Vec<ServerUrl>,

    /// File with the certificates of the authorities to trust
    #[arg(long, value_name = "FILE", help = CA_HELP)]
    ca: Option<PathBuf>,
}

/// Flags that select the user, its servers and its settings file.
#[derive(Args, Clone, Debug)]
pub(super) struct AccountArgs {
    /// Name of the user
    #[arg(long, value_name = "NAME", value_parser = Username::parse)]
    username: Username,

    #[command(flatten)]
    servers: ServerArgs,

    /// Directory of the settings file
    #[arg(long, value_name = "DIR", help = DATA_DIR_HELP)]
    data_dir: Option<PathBuf>,
}

/// A user, an API client with the user's token (if any), and the user's saved settings.
pub(super) struct Account {
    pub(super) user: Username,
    pub(super) client: Client,
    /// Settings from the last run; `None` if there are none, or if the command ignores them.
    pub(super) settings: Option<UserSettings>,
    dir: PathBuf,
}

impl ServerArgs {
    /// A client of the servers that the flags or the environment name, or else of the default
    /// server.
    pub(super) fn connect(&self) -> Result<Client, CommandError> {
        self.connect_or_else(Vec::new)
    }

    /// A client of the servers that the flags or the environment name, or else of those that
    /// `fallback` returns, or else of the default server.
    fn connect_or_else(&self, fallback: impl FnOnce() -> Vec<ServerUrl>) -> Result<Client, CommandError> {
        let mut servers = if self.server.is_empty() { servers_from_environment()? } else { self.server.clone() };
        if servers.is_empty() {
            servers = fallback();
        }
        if servers.is_empty() {
            servers.push(DEFAULT_SERVER.parse().expect("the default is a URL"));
        }
        let ca = self.ca.clone().or_else(|| variable(CA_VARIABLE).map(Into::into));
        let authorities = ca.map(|path| TrustedAuthorities::from_pem_file(&path)).transpose()?.unwrap_or_default();
        Ok(Client::trusting(servers, DEFAULT_RETRY_TIMEOUT, &authorities)?)
    }
}

impl AccountArgs {
    /// The account for a command that creates the settings. Existing settings are not read.
    pub(super) fn without_saved_settings(&self) -> Result<Account, CommandError> {
        let client = self.servers.connect()?;
        Ok(Account { user: self.username.clone(), client, settings: None, dir: self.dir() })
    }

    /// The account with the saved token. It uses the saved servers unless the flags or the
    /// environment name others.
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
    /// Saves the servers, the token and the additions of `change`; returns the path of the file.
    pub(super) fn save_settings(&mut self, change: impl FnOnce(&mut UserSettings)) -> Result<PathBuf, CommandError> {
        let mut settings =
            self.settings.take().unwrap_or_else(|| UserSettings::new(self.user.clone(), self.client.servers()));
        settings.servers = self.client.servers();
        settings.token = self.client.token();
        change(&mut settings);
        let saved = settings.save(&self.dir);
        // Keep the settings even after an error. Otherwise each heartbeat would try to save them
        // again.
        self.settings = Some(settings);
        Ok(saved?)
    }

    /// Saves the token if the client obtained a new one by an automatic login.
    pub(super) fn save_new_token(&mut self) -> Result<(), CommandError> {
        let saved = self.settings.as_ref().and_then(|settings| settings.token.clone());
        if self.client.token() != saved {
            // The client does not report the expiry time of such a token.
            self.save_settings(|settings| settings.token_expires_at = None)?;
        }
        Ok(())
    }
}

/// Servers in the environment variable; empty if it is unset.
fn servers_from_environment() -> Result<Vec<ServerUrl>, CommandError> {
    let text = variable(SERVER_VARIABLE).unwrap_or_default();
    let servers = text.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::parse);
    servers
        .collect::<Result<_, _>>()
        .map_err(|error| CommandError::new(USAGE, format!("environment variable {SERVER_VARIABLE}: {error}")))
}

/// Value of an environment variable; `None` if it is unset or empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
