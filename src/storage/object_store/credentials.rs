//! Check of the variables with credentials, before the first request. The crate would panic because
//! of some values, and reports others without the name of the variable.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use reqwest::Url;
use tracing::warn;

use super::super::BackendError;
use super::config::CredentialVariables;
use rollcall_core::private_files;

/// Variables with the URL of a service.
const URLS: [&str; 6] = [
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AZURE_AUTHORITY_HOST",
    "AZURE_MSI_ENDPOINT",
    "IDENTITY_ENDPOINT",
];

/// Names of the variable with the key of an Azure account.
const AZURE_KEYS: [&str; 3] = ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"];

/// Variables that need others. A key needs its other half even if there are other credentials.
const KEY_PAIR: [[&str; 2]; 2] =
    [["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"]];
const IDENTITIES: [[&str; 2]; 5] = [
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
    ["AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"],
    ["AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID"],
    ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID"],
    ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID"],
];

/// Variables that name a file with a token.
const TOKEN_FILES: [&str; 3] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"];

/// Longest token, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Variable that other programs read, and Rollcall does not.
pub(super) const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// Refuses credentials that cannot work. The error names the variable and never shows its value.
pub(super) fn check(credentials: &CredentialVariables) -> Result<(), BackendError> {
    for (name, value) in credentials.iter() {
        if let Some(problem) = problem(name, value) {
            return Err(BackendError::Permanent(format!("{name} {problem}; set it again")));
        }
    }
    check_pairs(credentials, &KEY_PAIR)?;
    let is_set = |name: &str| credentials.get(name).is_some();
    // With a key, the other credentials are not used.
    if is_set("AWS_ACCESS_KEY_ID") || AZURE_KEYS.into_iter().any(is_set) {
        return Ok(());
    }
    check_pairs(credentials, &IDENTITIES)?;
    for name in TOKEN_FILES {
        if let Some(path) = credentials.get(name) {
            check_token_file(name, path)?;
        }
    }
    let others = ["AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"];
    if is_set(CONNECTION_STRING) && !others.into_iter().any(is_set) {
        return Err(BackendError::Permanent(format!(
            "{CONNECTION_STRING} is set, but Rollcall does not read it; set AZURE_STORAGE_ACCOUNT_NAME and \
             AZURE_STORAGE_ACCOUNT_KEY instead, and unset it"
        )));
    }
    Ok(())
}

/// The reason why a value cannot work.
fn problem(name: &str, value: &str) -> Option<&'static str> {
    let is_printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if value.is_empty() || !is_printable(value) {
        return Some("has a line break or another character that no credential has");
    }
    match name {
        name if URLS.contains(&name) => {
            (!is_url(value)).then_some("is no http or https URL (its value is not shown, because it may hold a secret)")
        }
        // The crate adds it to the address of the service.
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" => {
            let is_path = value.starts_with('/') && is_url(&format!("http://169.254.170.2{value}"));
            (!is_path).then_some("is no path of a URL, with a slash at its start")
        }
        "AZURE_TENANT_ID" => {
            let is_tenant = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            (!is_tenant).then_some("is no tenant: an ID such as 00000000-0000-0000-0000-000000000000, or a domain")
        }
        name if AZURE_KEYS.contains(&name) => {
            BASE64_STANDARD.decode(value).is_err().then_some("is no key of a storage account, because it is not base64")
        }
        "AZURE_STORAGE_SAS_TOKEN" => {
            let pairs = || value.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty());
            let is_sas = !value.contains(' ') && pairs().all(|pair| pair.contains('='));
            let is_signed = pairs().any(|pair| pair.starts_with("sig="));
            (!is_sas || !is_signed).then_some("is no shared access signature, such as sv=...&sig=...")
        }
        _ => None,
    }
}

/// Whether a request can go to this URL.
fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    is_http && has_host && !text.contains('#') && Url::parse(text).is_ok_and(|url| url.has_host())
}

fn check_pairs(credentials: &CredentialVariables, pairs: &[[&str; 2]]) -> Result<(), BackendError> {
    for [one, other] in pairs {
        if credentials.get(one).is_some() && credentials.get(other).is_none() {
            return Err(BackendError::Permanent(format!("{one} is set and {other} is not; set both, or unset both")));
        }
    }
    Ok(())
}

/// Refuses a file that cannot be read, or whose content cannot be in a header of a request.
fn check_token_file(name: &str, path: &str) -> Result<(), BackendError> {
    let mut token = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut token));
    // Without a slash it may be the token itself.
    let file = if path.contains('/') { format!("the file {path:?}") } else { "the file of that name".to_owned() };
    if let Err(error) = read {
        return Err(BackendError::Permanent(format!(
            "{name}: cannot read {file}: {error}; correct the variable, or provide the file"
        )));
    }
    let is_token = !token.is_empty() && token.len() as u64 <= MAX_TOKEN_BYTES && token.iter().all(u8::is_ascii_graphic);
    if is_token {
        if let Some(remedy) = private_files::exposure(Path::new(path)) {
            warn!(variable = name, remedy, "a token file is not private");
        }
        return Ok(());
    }
    Err(BackendError::Permanent(format!(
        "{name}: {file} must hold a token alone, without spaces and without a line break at its end; write it again"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(variables: &[(&'static str, &str)]) -> String {
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        match check(&variables) {
            Err(BackendError::Permanent(text)) => text,
            other => panic!("{variables:?}: {other:?}"),
        }
    }

    #[test]
    fn a_value_that_cannot_work_is_refused_and_never_shown() {
        for name in URLS {
            for value in ["hidden.example", "http://hid den", "https://a:hidden@host", "ftp://hidden", "http://"] {
                let text = refusal(&[(name, value)]);
                assert!(text.starts_with(name) && !text.contains("hid"), "{text}");
            }
        }
        for (name, value) in [
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a hidden"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "hidden"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@hidden.example/"),
            ("AZURE_TENANT_ID", "my hidden/tenant"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "hidden!"),
            ("AZURE_STORAGE_KEY", "hidden!"),
            ("AZURE_STORAGE_SAS_TOKEN", "hidden"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1&hidden=1"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=a hidden"),
            (CONNECTION_STRING, "AccountName=a;AccountKey=hidden"),
        ] {
            let text = refusal(&[(name, value)]);
            assert!(text.starts_with(name) && !text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn a_variable_without_the_one_that_it_needs_is_refused() {
        for [one, other] in KEY_PAIR.into_iter().chain(IDENTITIES) {
            let mut variables = vec![(one, "hidden"), ("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client")];
            variables.retain(|(name, _)| *name != other);
            let text = refusal(&variables);
            assert!(text.starts_with(one) && text.contains(other) && !text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn a_file_that_holds_no_token_is_named_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let path = path.to_str().unwrap();
        let others = [("AWS_ROLE_ARN", "role"), ("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client")];
        let with =
            |name: &'static str, file: &'static str| others.into_iter().chain([(name, file)]).collect::<Vec<_>>();
        for name in TOKEN_FILES {
            for content in [None, Some(&b"hidden\n"[..]), Some(b"hid den"), Some(b""), Some(b"hidden\xff")] {
                let _ = std::fs::remove_file(path);
                if let Some(content) = content {
                    std::fs::write(path, content).unwrap();
                }
                let mut variables = others.to_vec();
                variables.push((name, path));
                let text = refusal(&variables);
                assert!(text.starts_with(name) && text.contains(path) && !text.contains("hid"), "{text}");
            }
            let text = refusal(&with(name, "eyJhidden"));
            assert!(text.starts_with(name) && !text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn credentials_that_can_work_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "eyJ0.e_-x.y").unwrap();
        let file = file.to_str().unwrap();
        for variables in [
            vec![],
            vec![
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "key"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/none"),
            ],
            vec![("AWS_WEB_IDENTITY_TOKEN_FILE", file), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/a")],
            vec![("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/a?id=b")],
            vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]/")],
            vec![("AZURE_STORAGE_SAS_TOKEN", "?sv=2022&sp=rl&sig=a%2Bb%3D")],
            vec![("AZURE_STORAGE_KEY", "a2V5"), (CONNECTION_STRING, "AccountName=a")],
            vec![
                ("AZURE_CLIENT_SECRET", "a~.b"),
                ("AZURE_CLIENT_ID", "client"),
                ("AZURE_TENANT_ID", "contoso.onmicrosoft.com"),
                ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
            ],
        ] {
            let credentials = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert!(check(&credentials).is_ok(), "{variables:?}");
        }
    }
}
