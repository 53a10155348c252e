//! Clients of the crate `object_store`, from the configuration.

use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::super::BackendError;
use super::super::error_text::error_chain;
use super::config::{AzureConfig, S3Config};
use super::http_transport::HttpTransport;
use super::{credentials, listing};

/// The client of a bucket of S3.
pub(super) fn s3(config: &S3Config) -> Result<AmazonS3, BackendError> {
    credentials::check(&config.credentials)?;
    let transport = HttpTransport::new(&config.bucket_url(), &config.connection, &config.credentials, &listing::S3)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        // The URL has the name of the bucket already, in its path or in its host.
        .with_endpoint(config.bucket_url())
        .with_virtual_hosted_style_request(true)
        // One request for one object, which every store has.
        .with_disable_bulk_delete(true)
        .with_retry(no_retries())
        .with_http_connector(transport);
    for (name, value) in config.credentials.iter() {
        let key: AmazonS3ConfigKey = match name {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT" => AmazonS3ConfigKey::MetadataEndpoint,
            name => name.to_ascii_lowercase().parse().map_err(|error| invalid(&error))?,
        };
        builder = builder.with_config(key, without_slash(name, value));
    }
    builder.build().map_err(|error| invalid(&error))
}

/// The client of a container of Azure Blob Storage.
pub(super) fn azure(config: &AzureConfig) -> Result<MicrosoftAzure, BackendError> {
    credentials::check(&config.credentials)?;
    let transport = HttpTransport::new(&config.store_url(), &config.connection, &config.credentials, &listing::AZURE)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_endpoint(config.store_url())
        .with_retry(no_retries())
        .with_http_connector(transport);
    for (name, value) in config.credentials.iter() {
        let key: AzureConfigKey = match name {
            credentials::CONNECTION_STRING => continue,
            // The name of Azure's own command line.
            "AZURE_STORAGE_KEY" => AzureConfigKey::AccessKey,
            name => name.to_ascii_lowercase().parse().map_err(|error| invalid(&error))?,
        };
        builder = builder.with_config(key, without_slash(name, value));
    }
    builder.build().map_err(|error| invalid(&error))
}

/// The value. The crate adds a path to a URL, so a URL is returned without a slash at its end.
fn without_slash<'a>(name: &str, value: &'a str) -> &'a str {
    let is_base_url = name.contains("_ENDPOINT") || name.ends_with("_HOST");
    if is_base_url { value.trim_end_matches('/') } else { value }
}

/// The policy of [`Bucket`](super::super::Bucket) is the only one.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn invalid(error: &object_store::Error) -> BackendError {
    BackendError::Permanent(format!("the storage is not configured correctly: {}", error_chain(error)))
}
