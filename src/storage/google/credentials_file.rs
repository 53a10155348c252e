//! Key file of a Google account. All errors about it are made here, because those of Google's crate
//! show the key.

use std::fmt;
use std::path::{Path, PathBuf};

use google_cloud_auth::credentials::service_account::AccessSpecifier;
use google_cloud_auth::credentials::{Credentials, external_account, service_account, user_account};
use rustls::SignatureScheme;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tracing::warn;

use super::super::BackendError;
use rollcall_core::{private_files, without_byte_order_mark};

/// Largest key file accepted, in bytes. Real key files have about 2400.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// API of Google that a key file is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) enum GoogleApi {
    /// Cloud Storage.
    Storage,
    /// Drive.
    Drive,
}

impl GoogleApi {
    /// Remedy at the end of every error about a key file.
    fn key_remedy(self) -> &'static str {
        match self {
            Self::Storage => {
                "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file: Firebase console, Project \
                 settings, Service accounts, Generate new private key"
            }
            Self::Drive => {
                "set GOOGLE_CREDENTIALS to a service account's key file: Google Cloud console, IAM, Service accounts, \
                 Keys, Add key"
            }
        }
    }

    /// The permission that a token must carry.
    fn scope(self) -> &'static str {
        match self {
            Self::Storage => "https://www.googleapis.com/auth/cloud-platform",
            Self::Drive => "https://www.googleapis.com/auth/drive",
        }
    }
}

/// Content of a key file.
///
/// Invariant: its fields have the right types, and a private key in it can sign.
#[derive(Clone)]
pub(in crate::storage) struct CredentialsFile {
    path: PathBuf,
    api: GoogleApi,
    account: GoogleAccount,
}

/// Kind and fields of an account.
#[derive(Clone)]
struct GoogleAccount {
    kind: GoogleAccountKind,
    fields: Value,
}

/// Kind of an account: the field `type` of its key file.
#[derive(Clone, Copy)]
enum GoogleAccountKind {
    Service,
    User,
    External,
}

impl CredentialsFile {
    /// Reads and checks a key file.
    ///
    /// # Errors
    /// [`BackendError::Permanent`] names the file and the remedy, and shows nothing of the content.
    pub(in crate::storage) async fn read(path: &Path, api: GoogleApi) -> Result<Self, BackendError> {
        let metadata = tokio::fs::metadata(path).await.map_err(|error| refuse(path, api, &error.to_string()))?;
        if !metadata.is_file() || metadata.len() > MAX_KEY_FILE_BYTES {
            let reason = format!("it is no regular file, or its size is over {MAX_KEY_FILE_BYTES} bytes");
            return Err(refuse(path, api, &reason));
        }
        if let Some(remedy) = private_files::exposure(path) {
            warn!(remedy, "a credentials file is not private");
        }
        let bytes = tokio::fs::read(path).await.map_err(|error| refuse(path, api, &error.to_string()))?;
        let account = GoogleAccount::parse(&bytes).map_err(|reason| refuse(path, api, &reason))?;
        Ok(Self { path: path.to_owned(), api, account })
    }

    /// Makes new credentials, which have no token yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(in crate::storage) fn credentials(&self) -> Result<Credentials, BackendError> {
        let fields = self.account.fields.clone();
        let built = match self.account.kind {
            GoogleAccountKind::Service => {
                let access = AccessSpecifier::from_scopes([self.api.scope()]);
                service_account::Builder::new(fields).with_access_specifier(access).build()
            }
            GoogleAccountKind::User => user_account::Builder::new(fields).build(),
            GoogleAccountKind::External => {
                external_account::Builder::new(fields).with_scopes([self.api.scope()]).build()
            }
        };
        // The text of the error can contain values of fields.
        built.map_err(|_| refuse(&self.path, self.api, "one of its fields is missing or has the wrong type"))
    }
}

fn refuse(path: &Path, api: GoogleApi, reason: &str) -> BackendError {
    BackendError::Permanent(format!(
        "cannot use the credentials file {}: {reason}; {}",
        path.display(),
        api.key_remedy()
    ))
}

impl GoogleAccount {
    /// Parses the content of a key file. The error is the reason, without a part of the content.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // The text of this error has positions and no values.
        let fields: Value = serde_json::from_slice(without_byte_order_mark(bytes))
            .map_err(|error| format!("it is not JSON: {error}"))?;
        let kind = match fields["type"].as_str() {
            Some("service_account") => GoogleAccountKind::Service,
            Some("authorized_user") => GoogleAccountKind::User,
            Some("external_account") => GoogleAccountKind::External,
            Some(_) | None => return Err("its \"type\" is not \"service_account\"".to_owned()),
        };
        for field in kind.required_fields() {
            if fields[field].as_str().is_none_or(str::is_empty) {
                return Err(format!("its field {field:?} is missing or is no text"));
            }
        }
        if let GoogleAccountKind::Service = kind {
            check_private_key(fields["private_key"].as_str().expect("it is a required field"))?;
        }
        Ok(Self { kind, fields })
    }
}

impl GoogleAccountKind {
    /// Fields that must be texts.
    fn required_fields(self) -> &'static [&'static str] {
        match self {
            Self::Service => &["client_email", "private_key_id", "private_key", "project_id"],
            Self::User => &["client_id", "client_secret", "refresh_token"],
            Self::External => &["audience", "subject_token_type", "token_url"],
        }
    }
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsFile(…)")
    }
}

/// Checks whether the text is a private key that can sign tokens of a service account.
fn check_private_key(pem: &str) -> Result<(), String> {
    let broken = |what: &str| format!("its \"private_key\" {what}; copy the file again as you received it");
    // The errors of these libraries are dropped, because some of them contain bytes of the key.
    let Ok(PrivateKeyDer::Pkcs8(der)) = PrivateKeyDer::from_pem_slice(pem.as_bytes()) else {
        return Err(broken(if pem.contains("\\n") {
            "has the two characters \\n in place of line breaks"
        } else if !pem.trim_start_matches('\u{feff}').trim_start().starts_with("-----BEGIN PRIVATE KEY-----") {
            "does not begin with -----BEGIN PRIVATE KEY-----"
        } else if !pem.trim_end().ends_with("-----END PRIVATE KEY-----") {
            "does not end with -----END PRIVATE KEY-----"
        } else {
            "has lost its line breaks or other characters"
        }));
    };
    let key = ring::default_provider().key_provider.load_private_key(PrivateKeyDer::Pkcs8(der));
    match key {
        Ok(key) if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_some() => Ok(()),
        Ok(_) => Err(broken("is no RSA key")),
        Err(_) => Err(broken("is damaged")),
    }
}

#[cfg(test)]
mod tests;
