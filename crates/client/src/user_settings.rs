//! Settings file of one user: the servers and the token, kept between runs. It never contains a
//! password.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ServerUrl;
use rollcall_core::{AddrForm, Token, Username, private_files, without_byte_order_mark};

/// Largest settings file that is read, in bytes. Files that the program writes are far smaller.
const MAX_BYTES: u64 = 64 * 1024;

/// Longest part of a file name that is a username, in bytes. The rest is for `.client_`, a process
/// id and `.tmp`.
const MAX_NAME_BYTES: usize = 230;

/// Settings of one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserSettings {
    /// Name of the user.
    pub username: Username,
    /// Base URLs of the nodes.
    pub servers: Vec<String>,
    /// Token of the user; `None` for a user without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// Expiry time of the token: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<String>,
    /// Address given at registration, as the user wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<String>,
}

/// The settings cannot be read or written. The message names the file and says what to do.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file exists, but it cannot be used.
    #[error("cannot read the settings in {}: {cause}; log in again to replace the file", .path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        cause: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the settings to {}: {cause}; choose another directory with --data-dir", .path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// Reason.
        cause: io::Error,
    },
}

impl UserSettings {
    /// Settings without a token.
    #[must_use]
    pub fn new(username: Username, servers: Vec<String>) -> Self {
        Self { username, servers, token: None, token_expires_at: None, addr: None }
    }

    /// Path of a user's settings file in `dir`.
    #[must_use]
    pub fn path(dir: &Path, username: &Username) -> PathBuf {
        dir.join(format!("client_{}.json", short(username)))
    }

    /// The servers with a valid URL.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerUrl> {
        self.servers.iter().filter_map(|server| server.parse().ok()).collect()
    }

    /// Port of the address given at registration.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        AddrForm::parse(self.addr.as_deref()?).ok().map(AddrForm::port)
    }

    /// Reads a user's settings; `None` if there is no file.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`] if the file exists but is not a settings file of this user.
    pub fn load(dir: &Path, username: &Username) -> Result<Option<Self>, SettingsError> {
        let path = Self::path(dir, username);
        match read(&path, username) {
            Ok(settings) => Ok(Some(settings)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(SettingsError::Unreadable { path, cause }),
        }
    }

    /// Writes the file atomically, readable by its owner only, and returns its path.
    ///
    /// # Errors
    /// [`SettingsError::Unwritable`] if it cannot be written. The old file then stays as it was.
    pub fn save(&self, dir: &Path) -> Result<PathBuf, SettingsError> {
        let path = Self::path(dir, &self.username);
        // Two processes of one user may save at the same time, so each writes its own temporary
        // file.
        let temp_path = dir.join(format!(".client_{}.{}.tmp", short(&self.username), std::process::id()));
        let written = write(dir, &temp_path, self).and_then(|()| fs::rename(&temp_path, &path));
        match written {
            Ok(()) => Ok(path),
            Err(cause) => {
                let _ = fs::remove_file(&temp_path);
                Err(SettingsError::Unwritable { path, cause })
            }
        }
    }
}

/// The username as part of a file name. File systems limit a name to 255 bytes, so the longest
/// usernames are cut. A file of another user with the same beginning is an error, not a mistake.
fn short(username: &Username) -> &str {
    let name = username.as_str();
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

fn read(path: &Path, username: &Username) -> io::Result<UserSettings> {
    let file = File::open(path)?;
    // A copy or a restored backup can be readable by others.
    private_files::narrow(path)?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if file.metadata()?.len() > MAX_BYTES {
        return Err(invalid(format!("the file has more than {MAX_BYTES} bytes")));
    }
    let text = io::read_to_string(file)?;
    let json = without_byte_order_mark(text.as_bytes());
    let settings: UserSettings = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    // A file system that ignores case finds the file of Alice for alice.
    if settings.username != *username {
        return Err(invalid(format!("they belong to the user {}", settings.username)));
    }
    Ok(settings)
}

fn write(dir: &Path, temp_path: &Path, settings: &UserSettings) -> io::Result<()> {
    private_files::create_dir_all(dir)?;
    // A process with the same id may have left this file when it was killed.
    let _ = fs::remove_file(temp_path);
    let mut file = private_files::options().write(true).create_new(true).open(temp_path)?;
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
    fn saved_settings_can_be_loaded_and_only_their_owner_can_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let alice = alice();
        assert_eq!(UserSettings::load(&dir, &alice.username).unwrap(), None);
        let path = alice.save(&dir).unwrap();
        assert_eq!(path, dir.join("client_alice.json"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let loaded = UserSettings::load(&dir, &alice.username).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "narrowed");
        assert_eq!(loaded, alice);
        assert_eq!((loaded.servers().len(), loaded.port()), (1, Some(9000)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = alice().save(dir.path()).unwrap();
        fs::write(&path, format!("\u{feff}{}", fs::read_to_string(&path).unwrap())).unwrap();
        assert_eq!(UserSettings::load(dir.path(), &alice().username).unwrap(), Some(alice()));
    }

    #[test]
    fn the_settings_of_a_user_with_the_longest_name_can_be_saved() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x".repeat(255), "𐍈".repeat(63)] {
            let settings = UserSettings::new(Username::parse(&name).unwrap(), vec!["http://127.0.0.1:3000".into()]);
            settings.save(dir.path()).unwrap();
            assert_eq!(UserSettings::load(dir.path(), &settings.username).unwrap(), Some(settings));
        }
    }

    #[test]
    fn a_failed_save_leaves_the_old_settings() {
        let dir = tempfile::tempdir().unwrap();
        let path = alice().save(dir.path()).unwrap();
        let before = fs::read(&path).unwrap();
        let temp_path = dir.path().join(format!(".client_alice.{}.tmp", std::process::id()));
        fs::create_dir(&temp_path).unwrap();
        let error = UserSettings::new(alice().username, Vec::new()).save(dir.path()).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn the_error_for_an_invalid_settings_file_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (Username::parse("alice").unwrap(), Username::parse("bob").unwrap());
        fs::write(UserSettings::path(dir.path(), &alice), "{").unwrap();
        assert!(UserSettings::load(dir.path(), &alice).unwrap_err().to_string().contains("client_alice.json"));
        let path = UserSettings::new(bob, Vec::new()).save(dir.path()).unwrap();
        fs::rename(path, UserSettings::path(dir.path(), &alice)).unwrap();
        assert!(UserSettings::load(dir.path(), &alice).unwrap_err().to_string().contains("the user bob"));
    }
}
