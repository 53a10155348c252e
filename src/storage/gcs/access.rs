//! Access to a bucket: its name, the credentials, and the TLS library.

use std::path::Path;

use google_cloud_auth::credentials::{Credentials, anonymous, external_account, service_account, user_account};
use serde_json::Value;

use super::super::BackendError;
use rollcall_core::without_byte_order_mark;

/// Largest key file accepted, in bytes. Real key files have about 2400.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// Remedy at the end of every error about a key file.
const KEY_REMEDY: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file: Firebase console, Project \
    settings, Service accounts, Generate new private key";

/// Validates the bucket's name. First removes white space, `gs://` and trailing slashes, which
/// users often copy with the name.
pub(super) fn bucket_name(given: &str) -> Result<String, BackendError> {
    let name = given.trim().trim_start_matches("gs://").trim_end_matches('/');
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    if (3..=222).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(BackendError::Permanent(format!(
        "FIREBASE_BUCKET {:?} is not the name of a bucket; the Firebase console shows it under Storage, such as \
         \"your-project.firebasestorage.app\" or \"your-project.appspot.com\"",
        given.chars().take(80).collect::<String>()
    )))
}

/// Reads the credentials from a key file. Without a file, returns anonymous credentials for an
/// emulator.
pub(super) async fn credentials(key_file: Option<&Path>) -> Result<Credentials, BackendError> {
    let Some(path) = key_file else { return Ok(anonymous::Builder::new().build()) };
    let refuse = |reason: String| {
        let path = path.display();
        BackendError::Permanent(format!("cannot use the credentials file {path}: {reason}; {KEY_REMEDY}"))
    };
    let metadata = tokio::fs::metadata(path).await.map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(refuse(format!("it is no regular file, or its size is over {MAX_KEY_FILE_BYTES} bytes")));
    }
    let text = tokio::fs::read(path).await.map_err(|error| refuse(error.to_string()))?;
    let text = without_byte_order_mark(&text);
    let json: Value = serde_json::from_slice(text).map_err(|error| refuse(format!("it is not JSON: {error}")))?;
    let kind = json.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let built = match kind.as_str() {
        "service_account" => service_account::Builder::new(json).build(),
        "authorized_user" => user_account::Builder::new(json).build(),
        "external_account" => external_account::Builder::new(json).build(),
        other => return Err(refuse(format!("its \"type\" is {other:?} and not \"service_account\""))),
    };
    built.map_err(|error| refuse(error.to_string()))
}

/// Installs the cryptography provider of rustls, which both HTTP clients use. Does nothing if the
/// process has installed one already.
pub(super) fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_name_is_accepted_with_spaces_a_scheme_and_a_slash() {
        for given in [
            "my-project.firebasestorage.app",
            "gs://my-project.firebasestorage.app/",
            " my-project.firebasestorage.app ",
        ] {
            assert_eq!(bucket_name(given).expect("valid"), "my-project.firebasestorage.app");
        }
        for bad in ["", "ab", "gs://", "My-Project", "a/b/c", "name?x=1", &"x".repeat(223)] {
            let error = bucket_name(bad).expect_err(bad).to_string();
            assert!(error.contains("FIREBASE_BUCKET") && error.contains("firebasestorage.app"), "{error}");
        }
    }

    #[tokio::test]
    async fn every_invalid_key_file_gives_an_error_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.json");
        let error_text = async |text: Option<&str>| {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let error = credentials(Some(&file)).await.expect_err("no key");
            assert!(matches!(error, BackendError::Permanent(_)));
            let error = error.to_string();
            assert!(error.contains("key.json") && error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
            error
        };
        assert!(error_text(None).await.contains("No such file"));
        assert!(error_text(Some("{")).await.contains("not JSON"));
        assert!(error_text(Some("\u{feff}{}")).await.contains("\"service_account\""));
        assert!(error_text(Some("{}")).await.contains("\"service_account\""));
        assert!(error_text(Some(r#"{"type":"service_account"}"#)).await.contains("missing field"));
        assert!(error_text(Some(&" ".repeat(70_000))).await.contains("size"));
    }
}
