//! S3 and Azure Blob Storage in a node's configuration. Credentials come from the environment
//! alone, under the names that the programs of AWS and Azure use.

use http::Uri;

use super::base_url::parse_base_url;
use super::settings;
use crate::config::error::ConfigError;
use crate::config::layers::{EXPECTED_PATH, Layers, WithOrigin};
use crate::config::setting::Setting;
use crate::storage::{AzureConfig, ConnectionConfig, CredentialVariables, HostReach, S3Config};

const EXPECTED_S3_BUCKET: &str =
    "BUCKET or BUCKET/PREFIX, such as \"my-bucket\": 3 to 63 letters, digits, dashes, dots and underscores";
const EXPECTED_CONTAINER: &str =
    "CONTAINER or CONTAINER/PREFIX, such as \"my-container\": 3 to 63 lower-case letters, digits and dashes";
const EXPECTED_AZURE_PREFIX: &str =
    "CONTAINER/PREFIX with a prefix that Azure keeps: without backslashes, and without dots at the end of its parts";
const EXPECTED_ACCOUNT: &str = "the name of a storage account: 3 to 24 lower-case letters and digits";
const EXPECTED_REGION: &str = "the name of a region, such as \"eu-west-1\"";
const EXPECTED_URL: &str = "an https URL such as \"https://storage.example.org\"; an http URL only of this machine, or with \
                            storage_allow_http set to true";

/// Longest prefix, in bytes. With it, the path of every object stays within the 1024 bytes that the
/// stores allow.
const MAX_PREFIX_BYTES: usize = 512;

/// Reads the bucket of S3. `None` if no setting names one.
pub(super) fn read_s3(layers: &Layers, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<S3Config>, ConfigError> {
    let setting = &settings::S3_BUCKET;
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let Some(given) = layers.text(setting, EXPECTED_S3_BUCKET)? else { return Ok(None) };
    let place = given.value.strip_prefix("s3://").unwrap_or(&given.value);
    let Some((bucket, prefix)) = bucket_and_prefix(place, is_letter) else {
        return Err(given.invalid(setting, EXPECTED_S3_BUCKET));
    };
    let region = layers.text(&settings::S3_REGION, EXPECTED_REGION)?.expect("the setting has a default");
    let is_region = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_region(&region.value) {
        return Err(region.invalid(&settings::S3_REGION, EXPECTED_REGION));
    }
    Ok(Some(S3Config {
        bucket,
        prefix,
        endpoint: read_endpoint(layers, &settings::S3_ENDPOINT)?,
        region: region.value,
        path_style: layers.bool(&settings::S3_PATH_STYLE)?,
        connection: read_connection(layers)?,
        credentials: credentials(&settings::AWS_CREDENTIALS, env),
    }))
}

/// Reads the container of Azure. `None` if no setting names one.
pub(super) fn read_azure(
    layers: &Layers,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<AzureConfig>, ConfigError> {
    let setting = &settings::AZURE_CONTAINER;
    let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let Some(given) = layers.text(setting, EXPECTED_CONTAINER)? else { return Ok(None) };
    let Some((container, prefix)) = bucket_and_prefix(&given.value, is_letter) else {
        return Err(given.invalid(setting, EXPECTED_CONTAINER));
    };
    // Azure would change the prefix, and would then list nothing below it.
    if prefix.contains('\\') || prefix.split('/').any(|part| part.ends_with('.')) {
        return Err(given.invalid(setting, EXPECTED_AZURE_PREFIX));
    }
    let account = layers.text(&settings::AZURE_ACCOUNT, EXPECTED_ACCOUNT)?.ok_or_else(|| ConfigError::Missing {
        key: settings::AZURE_ACCOUNT.key,
        remedy: format!("azure_container needs it; set {} to the storage account", settings::AZURE_ACCOUNT.env),
    })?;
    let is_account = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !(3..=24).contains(&account.value.len()) || !account.value.bytes().all(is_account) {
        return Err(account.invalid(&settings::AZURE_ACCOUNT, EXPECTED_ACCOUNT));
    }
    Ok(Some(AzureConfig {
        account: account.value,
        container,
        prefix,
        endpoint: read_endpoint(layers, &settings::AZURE_ENDPOINT)?,
        connection: read_connection(layers)?,
        credentials: credentials(&settings::AZURE_CREDENTIALS, env),
    }))
}

/// Splits `BUCKET/PREFIX`. `None` if one of them is invalid.
fn bucket_and_prefix(text: &str, is_letter: impl Fn(u8) -> bool) -> Option<(String, String)> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.trim_end_matches('/');
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_letter);
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    let is_prefix = prefix.is_empty() || (prefix.len() <= MAX_PREFIX_BYTES && prefix.split('/').all(is_part));
    (is_bucket && is_prefix).then(|| (bucket.to_owned(), prefix.to_owned()))
}

/// Reads the URL of a store. Plain http may go to this machine only, unless a setting allows more.
fn read_endpoint(layers: &Layers, setting: &Setting) -> Result<Option<String>, ConfigError> {
    let allow_http = layers.bool(&settings::STORAGE_ALLOW_HTTP)?;
    let is_safe = |url: &str| {
        let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(HostReach::of));
        url.starts_with("https://") || allow_http || host == Some(HostReach::Loopback)
    };
    let parse = |text: &str| parse_base_url(text).filter(|url| is_safe(url));
    Ok(layers.parsed_by(setting, EXPECTED_URL, parse)?.map(|given: WithOrigin<String>| given.value))
}

fn read_connection(layers: &Layers) -> Result<ConnectionConfig, ConfigError> {
    let ca_file = layers.text(&settings::STORAGE_CA_FILE, EXPECTED_PATH)?.map(|given| given.value.into());
    Ok(ConnectionConfig {
        ca_file,
        allow_http: layers.bool(&settings::STORAGE_ALLOW_HTTP)?,
        ..ConnectionConfig::default()
    })
}

/// The variables that are set. A line break at the end of a value comes from a file with a secret.
fn credentials(names: &[&'static str], env: &dyn Fn(&str) -> Option<String>) -> CredentialVariables {
    let value = |name: &&'static str| {
        let text = env(name)?.trim().to_owned();
        (!text.is_empty()).then_some((*name, text))
    };
    names.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flags, StorageConfig};

    /// Loads a configuration from these variables, and from a file with these lines.
    fn load(variables: &[(&str, &str)], lines: &str) -> Result<Config, String> {
        let env = |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        let file = format!("this_node = \"127.0.0.1:1\"\npeers = [\"127.0.0.1:1\"]\n{lines}");
        Config::load(Some(("c.toml", &file)), &env, &Flags::default()).map_err(|error| error.to_string())
    }

    fn storage(variables: &[(&str, &str)]) -> StorageConfig {
        load(variables, "").expect("it is valid").storage
    }

    #[test]
    fn a_bucket_of_s3_may_have_a_scheme_and_a_prefix() {
        for (given, bucket, prefix) in [
            ("my-bucket", "my-bucket", ""),
            ("s3://my-bucket/", "my-bucket", ""),
            ("my.Bucket_1/team a/é/", "my.Bucket_1", "team a/é"),
        ] {
            let StorageConfig::S3(s3) = storage(&[("S3_BUCKET", given)]) else { panic!("{given}") };
            assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), (bucket, prefix));
        }
        let long = format!("bucket/{}", "x".repeat(513));
        for wrong in ["ab", "gs://bucket", "my bucket", "bucket//a", "bucket/../a", "bucket/.", "bucket/a\u{7}", &long]
        {
            assert!(load(&[("S3_BUCKET", wrong)], "").unwrap_err().contains("BUCKET/PREFIX"), "{wrong}");
        }
    }

    #[test]
    fn settings_of_s3_have_the_names_that_aws_gives_them() {
        let bucket = ("S3_BUCKET", "bucket");
        let s3 = |variables: &[(&str, &str)]| match storage(&[&[bucket], variables].concat()) {
            StorageConfig::S3(s3) => s3,
            other => panic!("{other}"),
        };
        assert_eq!((s3(&[]).region.as_str(), s3(&[]).endpoint, s3(&[]).path_style), ("us-east-1", None, true));
        assert_eq!(s3(&[("AWS_DEFAULT_REGION", "eu-west-1")]).region, "eu-west-1");
        assert_eq!(s3(&[("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "auto")]).region, "auto");
        let url = "https://s3.example";
        for name in ["S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
            assert_eq!(s3(&[(name, "https://s3.example/")]).endpoint.as_deref(), Some(url), "{name}");
        }
        assert_eq!(s3(&[("AWS_ENDPOINT_URL", "https://other"), ("S3_ENDPOINT", url)]).endpoint.as_deref(), Some(url));
        assert!(!s3(&[("S3_PATH_STYLE", "false")]).path_style);
        assert_eq!(s3(&[("AWS_CA_BUNDLE", "ca.pem")]).connection.ca_file, Some("ca.pem".into()));
        let keys =
            s3(&[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden\n"), ("AWS_SESSION_TOKEN", " ")]);
        assert_eq!(
            keys.credentials.iter().collect::<Vec<_>>(),
            [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")]
        );
        assert!(!format!("{keys:?} {keys}").contains("hidden"));
    }

    #[test]
    fn plain_http_goes_to_this_machine_or_with_an_explicit_setting() {
        let load = |url: &str, allow: &str| {
            load(&[("S3_BUCKET", "bucket"), ("S3_ENDPOINT", url), ("ROLLCALL_STORAGE_ALLOW_HTTP", allow)], "")
        };
        for url in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000", "https://s3.example"] {
            assert!(load(url, "").is_ok(), "{url}");
        }
        for url in ["http://s3.example", "http://10.0.0.1:9000", "http://169.254.1.1", "http://127.0.0.1.example"] {
            assert!(load(url, "").unwrap_err().contains("storage_allow_http"), "{url}");
            assert!(load(url, "true").is_ok(), "{url}");
        }
        assert!(load("s3.example", "true").is_err());
    }

    #[test]
    fn a_container_of_azure_needs_its_account() {
        let container = ("AZURE_CONTAINER", "my-container/team");
        for name in ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"] {
            let StorageConfig::Azure(azure) = storage(&[container, (name, "account1"), ("AZURE_STORAGE_KEY", "a2V5")])
            else {
                panic!("{name}")
            };
            assert_eq!(
                (azure.account.as_str(), azure.container.as_str(), azure.prefix.as_str()),
                ("account1", "my-container", "team")
            );
            assert_eq!(azure.store_url(), "https://account1.blob.core.windows.net");
            assert!(!format!("{azure:?}").contains("a2V5"));
        }
        let missing = load(&[container], "").unwrap_err();
        assert!(missing.starts_with("azure_storage_account_name is not set"), "{missing}");
        for (container, account) in [("My-container", "account"), ("c", "account"), ("container", "my-account")] {
            assert!(load(&[("AZURE_CONTAINER", container), ("AZURE_STORAGE_ACCOUNT", account)], "").is_err());
        }
    }

    #[test]
    fn a_prefix_that_azure_changes_is_refused() {
        let load = |name: &str| load(&[("AZURE_CONTAINER", name), ("AZURE_STORAGE_ACCOUNT", "account")], "");
        for wrong in ["container/a\\b", "container/a./b", "container/a."] {
            assert!(load(wrong).unwrap_err().contains("backslashes"), "{wrong}");
        }
        assert!(load("container/a.b/.c").is_ok());
    }

    #[test]
    fn a_value_that_may_hold_a_secret_is_refused_without_showing_it() {
        let account = ("AZURE_STORAGE_ACCOUNT", "account");
        let container = ("AZURE_CONTAINER", "container");
        for (chosen, name, value) in [
            (("S3_BUCKET", "bucket"), "S3_ENDPOINT", "https://key:hidden@s3.example"),
            (("S3_BUCKET", "bucket"), "S3_ENDPOINT", "key:hidden@s3.example"),
            (("S3_BUCKET", "bucket"), "S3_ENDPOINT", "https://s3.example/?token=hidden"),
            (container, "AZURE_STORAGE_ACCOUNT_NAME", "AccountName=account;AccountKey=hidden"),
            (container, "AZURE_STORAGE_ACCOUNT_NAME", "hiddenhiddenhidden=="),
            (container, "AZURE_STORAGE_ENDPOINT", "https://account.blob.example/?sv=1&sig=hidden"),
            (container, "AZURE_STORAGE_ENDPOINT", "sv=1&sig=hidden"),
        ] {
            let variables = [chosen, account, (name, value)];
            let key = name.to_lowercase();
            let lines = format!("{key} = \"{value}\"");
            for error in [load(&variables, ""), load(&variables[..2], &lines)] {
                let error = error.err().unwrap_or_default();
                // The variable of the account has priority over the file.
                assert!(
                    error.contains("it may hold a secret") || error.is_empty() && name.ends_with("NAME"),
                    "{error}"
                );
                assert!(!error.contains("hidden"), "{error}");
            }
        }
        let error = load(&[("S3_BUCKET", "bucket"), ("S3_ENDPOINT", "http://s3.example")], "").unwrap_err();
        assert!(error.contains("http://s3.example"), "{error}");
    }

    #[test]
    fn two_storages_at_once_are_an_error_that_names_both() {
        let bucket = ("S3_BUCKET", "bucket");
        let error = load(&[bucket, ("FIREBASE_BUCKET", "your-project.firebasestorage.app")], "").unwrap_err();
        assert!(error.contains("firebase_bucket (environment variable FIREBASE_BUCKET)"), "{error}");
        assert!(error.contains("s3_bucket (environment variable S3_BUCKET)"), "{error}");
        let error = load(&[bucket], "azure_container = \"container\"").unwrap_err();
        assert!(error.contains("azure_container (c.toml:3)") && error.contains("s3_bucket"), "{error}");
    }
}
