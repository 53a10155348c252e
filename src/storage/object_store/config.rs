//! Configuration of the stores that the crate `object_store` reaches. Pure: plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Largest number of names per page of a listing that every store allows.
const MAX_PAGE_SIZE: usize = 1000;

/// Bucket of an S3 store, and the way to reach it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct S3Config {
    /// Name of the bucket.
    pub bucket: String,
    /// Start of the path of every object, without slashes at its ends. Empty for the whole bucket.
    pub prefix: String,
    /// URL of the store, without a trailing slash. `None` for AWS.
    pub endpoint: Option<String>,
    /// Region for which requests are signed.
    pub region: String,
    /// Whether the bucket is named in the path of a request. Otherwise it is the first part of the
    /// host name.
    pub path_style: bool,
    /// Rules of the connection.
    pub connection: ConnectionConfig,
    /// The `AWS_*` variables with credentials.
    pub credentials: CredentialVariables,
}

/// Container of an account of Azure Blob Storage, and the way to reach it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AzureConfig {
    /// Name of the storage account.
    pub account: String,
    /// Name of the container.
    pub container: String,
    /// Start of the path of every object, without slashes at its ends. Empty for the whole
    /// container.
    pub prefix: String,
    /// URL of the account's blob service, without a trailing slash. `None` for Azure's public
    /// cloud.
    pub endpoint: Option<String>,
    /// Rules of the connection.
    pub connection: ConnectionConfig,
    /// The `AZURE_*` variables with credentials.
    pub credentials: CredentialVariables,
}

/// Rules of the connection to a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionConfig {
    /// File with certificates in PEM format that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether requests may go over plain http to other hosts.
    pub allow_http: bool,
    /// Number of names per page of a listing.
    pub page_size: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self { ca_file: None, allow_http: false, page_size: MAX_PAGE_SIZE }
    }
}

/// Distance of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostReach {
    /// This machine.
    Loopback,
    /// The own link of this machine, or an address that only its cloud can use.
    Link,
    /// Any other host.
    Remote,
}

impl HostReach {
    /// The reach of a host of a URL: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let name = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match name.parse() {
            Ok(IpAddr::V4(ip)) if ip.is_loopback() => Self::Loopback,
            Ok(IpAddr::V4(ip)) if ip.is_link_local() => Self::Link,
            Ok(IpAddr::V6(ip)) if ip.is_loopback() => Self::Loopback,
            Ok(IpAddr::V6(ip)) if ip.is_unicast_link_local() || ip.is_unique_local() => Self::Link,
            Err(_) if name == "localhost" || name.ends_with(".localhost") => Self::Loopback,
            Ok(_) | Err(_) => Self::Remote,
        }
    }
}

/// Environment variables that hold credentials or lead to them. `Debug` shows only the names.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct CredentialVariables(BTreeMap<&'static str, String>);

impl CredentialVariables {
    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl FromIterator<(&'static str, String)> for CredentialVariables {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for CredentialVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl S3Config {
    /// URL of the store.
    #[must_use]
    pub fn store_url(&self) -> String {
        // AWS has its own domain for its regions in China.
        let domain = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        self.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.{domain}", self.region))
    }

    /// URL of the bucket.
    pub(super) fn bucket_url(&self) -> String {
        let (url, bucket) = (self.store_url(), &self.bucket);
        match url.split_once("://") {
            Some((scheme, rest)) if !self.path_style => format!("{scheme}://{bucket}.{rest}"),
            _ => format!("{url}/{bucket}"),
        }
    }
}

impl AzureConfig {
    /// URL of the account's blob service.
    #[must_use]
    pub fn store_url(&self) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("https://{}.blob.core.windows.net", self.account))
    }
}

/// Kind and place, for messages.
impl fmt::Display for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3 bucket {} at {}", Place(&self.bucket, &self.prefix), self.store_url())
    }
}

/// Kind and place, for messages.
impl fmt::Display for AzureConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Azure container {} at {}", Place(&self.container, &self.prefix), self.store_url())
    }
}

/// A bucket or container, and the prefix.
struct Place<'a>(&'a str, &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        if self.1.is_empty() { Ok(()) } else { write!(f, "/{}", self.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(endpoint: Option<&str>, region: &str, path_style: bool) -> S3Config {
        S3Config {
            bucket: "rollcall".into(),
            prefix: String::new(),
            endpoint: endpoint.map(str::to_owned),
            region: region.into(),
            path_style,
            connection: ConnectionConfig::default(),
            credentials: CredentialVariables::default(),
        }
    }

    #[test]
    fn the_url_of_a_bucket_has_its_name_in_the_path_or_in_the_host() {
        for (config, url) in [
            (s3(None, "eu-west-1", true), "https://s3.eu-west-1.amazonaws.com/rollcall"),
            (s3(None, "eu-west-1", false), "https://rollcall.s3.eu-west-1.amazonaws.com"),
            (s3(None, "cn-north-1", true), "https://s3.cn-north-1.amazonaws.com.cn/rollcall"),
            (s3(Some("http://127.0.0.1:9000"), "us-east-1", true), "http://127.0.0.1:9000/rollcall"),
            (s3(Some("https://oss.example"), "us-east-1", false), "https://rollcall.oss.example"),
        ] {
            assert_eq!(config.bucket_url(), url);
        }
    }

    #[test]
    fn a_description_names_the_prefix() {
        let mut config = s3(Some("https://s3.example"), "us-east-1", true);
        assert_eq!(config.to_string(), "S3 bucket rollcall at https://s3.example");
        config.prefix = "team/a".into();
        assert_eq!(config.to_string(), "S3 bucket rollcall/team/a at https://s3.example");
    }

    #[test]
    fn the_reach_of_a_host_is_known_from_its_name() {
        for (host, reach) in [
            ("127.0.0.2", HostReach::Loopback),
            ("[::1]", HostReach::Loopback),
            ("LOCALHOST", HostReach::Loopback),
            ("bucket.localhost", HostReach::Loopback),
            ("169.254.169.254", HostReach::Link),
            ("[fd00:ec2::254]", HostReach::Link),
            ("10.0.0.1", HostReach::Remote),
            ("localhost.example", HostReach::Remote),
            ("", HostReach::Remote),
        ] {
            assert_eq!(HostReach::of(host), reach, "{host}");
        }
    }

    #[test]
    fn debug_output_shows_no_credentials() {
        let variables: CredentialVariables = [("AWS_SECRET_ACCESS_KEY", "hidden".to_owned())].into_iter().collect();
        assert_eq!(format!("{variables:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
    }
}
