//! What a user's client remembers between two runs: where the registry is, and the token; never a password.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ServerUrl;
use rollcall_core::{AddrForm, Token, Username};

/// Only its owner may read a token.
const MODE: u32 = 0o600;
/// Larger than any settings; what is larger was not written by us.
const MAX_BYTES: u64 = 64 * 1024;

/// The settings of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserSettings {
    /// Whose.
    pub username: Username,
    /// The base URLs of the nodes.
    pub servers: Vec<String>,
    /// What proves that requests are the user's, if the name has a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<String>,
    /// The address that was given at registration, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
}

/// The settings cannot be read or written; says which file, and what to do.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file is there and cannot be used.
    #[error("cannot read the settings in {}: {cause}; log in again to write them anew", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the settings to {}: {cause}; choose another directory with --data-dir", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
}

impl UserSettings {
    /// UserSettings without a token.
    #[must_use]
    pub fn new(username: Username, servers: Vec<String>) -> Self {
        Self { username, servers, token: None, token_expires_at: None, addr: None }
    }

    /// The file of a user's settings.
    #[must_use]
    pub fn path(dir: &Path, username: &Username) -> PathBuf {
        dir.join(format!("client_{username}.json"))
    }

    /// The servers, without those that no client would take.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerUrl> {
        self.servers.iter().filter_map(|server| server.parse().ok()).collect()
    }

    /// The port of the address that was given at registration.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        AddrForm::parse(self.addr.as_deref()?).ok().map(AddrForm::port)
    }

    /// Reads a user's settings; `None` if there are none.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] if the file is there and is not what was written.
    pub fn load(dir: &Path, username: &Username) -> Result<Option<Self>, SettingsError> {
        let path = Self::path(dir, username);
        match read(&path, username) {
            Ok(settings) => Ok(Some(settings)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(SettingsError::Unreadable { path, cause }),
        }
    }

    /// Writes them, whole or not at all, for nobody but their owner to read; gives the file.
    ///
    /// # Errors
    /// [`SettingsError::Unwritable`]; then what was there before is there still.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, SettingsError> {
        let path = Self::path(dir, &self.username);
        // Two processes of one user may save at once; each has a file of its own until it is whole.
        let partial = dir.join(format!(".client_{}.{}.tmp", self.username, std::process::id()));
        let written = write(dir, &partial, self).and_then(|()| fs::rename(&partial, &path));
        match written {
            Ok(()) => Ok(path),
            Err(cause) => {
                let _ = fs::remove_file(&partial);
                Err(SettingsError::Unwritable { path, cause })
            }
        }
    }
}

fn read(path: &Path, username: &Username) -> io::Result<UserSettings> {
    let file = File::open(path)?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if file.metadata()?.len() > MAX_BYTES {
        return Err(invalid(format!("it has more than {MAX_BYTES} bytes")));
    }
    let settings: UserSettings = serde_json::from_reader(file).map_err(|error| invalid(error.to_string()))?;
    // On a file system that takes Alice for alice, the file is another user's.
    if settings.username != *username {
        return Err(invalid(format!("they are those of {}", settings.username)));
    }
    Ok(settings)
}

fn write(dir: &Path, partial: &Path, settings: &UserSettings) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // What a process of the same number left behind when it was killed.
    let _ = fs::remove_file(partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(partial)?;
    let mut text = serde_json::to_vec_pretty(settings).map_err(io::Error::other)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn alice() -> UserSettings {
        let token = Token::new("t0k3n".to_owned());
        UserSettings {
            token: Some(token),
            addr: Some(":9000".into()),
            ..UserSettings::new(
                Username::parse("alice").unwrap(),
                vec!["http://127.0.0.1:3000".into(), "nonsense://".into()],
            )
        }
    }

    #[test]
    fn settings_come_back_and_only_their_owner_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let alice = alice();
        assert_eq!(UserSettings::load(&dir, &alice.username).unwrap(), None);
        let path = alice.save(&dir).unwrap();
        assert_eq!(path, dir.join("client_alice.json"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = UserSettings::load(&dir, &alice.username).unwrap().unwrap();
        assert_eq!(loaded, alice);
        assert_eq!((loaded.servers().len(), loaded.port()), (1, Some(9000)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn settings_that_cannot_be_written_leave_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = alice().save(dir.path()).unwrap();
        let before = fs::read(&path).unwrap();
        let partial = dir.path().join(format!(".client_alice.{}.tmp", std::process::id()));
        fs::create_dir(&partial).unwrap();
        let error = UserSettings::new(alice().username, Vec::new()).save(dir.path()).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_settings_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (Username::parse("alice").unwrap(), Username::parse("bob").unwrap());
        fs::write(UserSettings::path(dir.path(), &alice), "{").unwrap();
        assert!(UserSettings::load(dir.path(), &alice).unwrap_err().to_string().contains("client_alice.json"));
        let path = UserSettings::new(bob, Vec::new()).save(dir.path()).unwrap();
        fs::rename(path, UserSettings::path(dir.path(), &alice)).unwrap();
        assert!(UserSettings::load(dir.path(), &alice).unwrap_err().to_string().contains("those of bob"));
    }
}
