//! Settings of a node: the only place with their names and defaults.

use crate::config::setting::Setting;

/// Default path of the service account's key file.
pub const DEFAULT_CREDENTIALS: &str = "credentials/firebase-storage.json";

// The variables without the prefix ROLLCALL_ have names that the requirements or Google's tools
// define.
pub(super) const THIS_NODE: Setting = Setting::new("this_node", "ROLLCALL_THIS_NODE").with_flag("--this-node");
pub(super) const PEERS: Setting = Setting::new("peers", "ROLLCALL_PEERS").list().with_flag("--peers");
pub(super) const HEARTBEAT_INTERVAL: Setting =
    Setting::new("heartbeat_interval_ms", "ROLLCALL_HEARTBEAT_INTERVAL_MS").with_default("1000");
pub(super) const ELECTION_TIMEOUT_MIN: Setting =
    Setting::new("election_timeout_min_ms", "ROLLCALL_ELECTION_TIMEOUT_MIN_MS").with_default("3000");
pub(super) const ELECTION_TIMEOUT_MAX: Setting =
    Setting::new("election_timeout_max_ms", "ROLLCALL_ELECTION_TIMEOUT_MAX_MS").with_default("5000");
pub(super) const LEADER_TERM: Setting = Setting::new("leader_term_ms", "ROLLCALL_LEADER_TERM_MS").with_default("10000");
pub(super) const NET_TIMEOUT: Setting = Setting::new("net_timeout_ms", "ROLLCALL_NET_TIMEOUT_MS").with_default("2000");
pub(super) const CPU_REFRESH: Setting = Setting::new("cpu_refresh_ms", "ROLLCALL_CPU_REFRESH_MS").with_default("500");
pub(super) const ELECTION_RETRY: Setting =
    Setting::new("election_retry_ms", "ROLLCALL_ELECTION_RETRY_MS").with_default("100");
pub(super) const TRUST_END_OF_STREAM: Setting =
    Setting::new("trust_end_of_stream", "ROLLCALL_TRUST_END_OF_STREAM").with_default("true");
pub(super) const CLUSTER_KEY: Setting = Setting::new("cluster_key", "ROLLCALL_CLUSTER_KEY").secret();
pub(super) const CLUSTER_KEY_FILE: Setting = Setting::new("cluster_key_file", "ROLLCALL_CLUSTER_KEY_FILE");
pub(super) const NODE_TLS: Setting = Setting::new("node_tls", "ROLLCALL_NODE_TLS").with_default("on");
pub(super) const INSECURE_CLUSTER: Setting =
    Setting::new("insecure_cluster", "ROLLCALL_INSECURE_CLUSTER").with_default("false");
pub(super) const NODE_CA: Setting = Setting::new("node_ca", "ROLLCALL_NODE_CA");
pub(super) const NODE_CERT: Setting = Setting::new("node_cert", "ROLLCALL_NODE_CERT");
pub(super) const NODE_KEY: Setting = Setting::new("node_key", "ROLLCALL_NODE_KEY");
pub(super) const LOAD_SOURCE: Setting = Setting::new("load_source", "ROLLCALL_LOAD_SOURCE").with_default("cpu");
pub(super) const API_PORT: Setting = Setting::new("api_port", "API_PORT").with_flag("--api-port").with_default("3000");
pub(super) const API_BIND: Setting =
    Setting::new("api_bind", "ROLLCALL_API_BIND").with_flag("--api-bind").with_default("0.0.0.0");
pub(super) const API_URL: Setting = Setting::new("api_url", "ROLLCALL_API_URL").with_flag("--api-url");
pub(super) const TLS_CERT: Setting = Setting::new("tls_cert", "ROLLCALL_TLS_CERT");
pub(super) const TLS_KEY: Setting = Setting::new("tls_key", "ROLLCALL_TLS_KEY");
pub(super) const MAX_CONNECTIONS: Setting =
    Setting::new("max_connections", "ROLLCALL_MAX_CONNECTIONS").with_default("16384");
pub(super) const CORS_ORIGINS: Setting = Setting::new("cors_origins", "ROLLCALL_CORS_ORIGINS").list().with_default("*");
pub(super) const TRUSTED_PROXIES: Setting = Setting::new("trusted_proxies", "ROLLCALL_TRUSTED_PROXIES").list();
pub(super) const FORWARDED_HEADER: Setting =
    Setting::new("forwarded_header", "ROLLCALL_FORWARDED_HEADER").with_default("x-forwarded-for");
/// The default is three heartbeat intervals: clients send a heartbeat every 10 s.
pub(super) const HEARTBEAT_TTL: Setting =
    Setting::new("heartbeat_ttl_seconds", "HEARTBEAT_TTL_SECONDS").with_default("30");
pub(super) const REQUIRE_PASSWORD: Setting =
    Setting::new("require_password", "ROLLCALL_REQUIRE_PASSWORD").with_default("false");
pub(super) const REGISTRATION_BURST: Setting =
    Setting::new("registration_burst", "ROLLCALL_REGISTRATION_BURST").with_default("200");
pub(super) const REGISTRATION_RATE: Setting =
    Setting::new("registration_rate", "ROLLCALL_REGISTRATION_RATE").with_default("2");
/// 256 MiB: 512 images of the largest size.
pub(super) const UPLOAD_BURST_BYTES: Setting =
    Setting::new("upload_burst_bytes", "ROLLCALL_UPLOAD_BURST_BYTES").with_default("268435456");
/// 256 KiB.
pub(super) const UPLOAD_RATE_BYTES: Setting =
    Setting::new("upload_rate_bytes", "ROLLCALL_UPLOAD_RATE_BYTES").with_default("262144");
pub(super) const MAX_USERS: Setting = Setting::new("max_users", "ROLLCALL_MAX_USERS").with_default("1000000");
pub(super) const MAX_IMAGES_PER_USER: Setting =
    Setting::new("max_images_per_user", "ROLLCALL_MAX_IMAGES_PER_USER").with_default("100");
/// 16 MiB: 32 images of the largest size.
pub(super) const MAX_IMAGE_BYTES_PER_USER: Setting =
    Setting::new("max_image_bytes_per_user", "ROLLCALL_MAX_IMAGE_BYTES_PER_USER").with_default("16777216");
/// The default depends on the disk: see `storage/local/free_space.rs`.
pub(super) const MIN_FREE_BYTES: Setting = Setting::new("min_free_bytes", "ROLLCALL_MIN_FREE_BYTES");
pub(super) const DISCOVERY_SERVER_COMPAT: Setting =
    Setting::new("discovery_server_compat", "ROLLCALL_DISCOVERY_SERVER_COMPAT").with_default("false");
pub(super) const TOKEN_DAYS: Setting = Setting::new("token_days", "ROLLCALL_TOKEN_DAYS").with_default("30");
pub(super) const DATA_DIR: Setting =
    Setting::new("data_dir", "ROLLCALL_DATA_DIR").with_flag("--data-dir").with_default("data");
pub(super) const BUCKET: Setting = Setting::new("firebase_bucket", "FIREBASE_BUCKET");
pub(super) const CREDENTIALS: Setting =
    Setting::new("google_application_credentials", "GOOGLE_APPLICATION_CREDENTIALS").with_default(DEFAULT_CREDENTIALS);
pub(super) const EMULATOR: Setting = Setting::new("storage_emulator_host", "STORAGE_EMULATOR_HOST");
pub(super) const S3_BUCKET: Setting = Setting::new("s3_bucket", "S3_BUCKET");
pub(super) const S3_ENDPOINT: Setting =
    Setting::new("s3_endpoint", "S3_ENDPOINT").with_env_aliases(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
pub(super) const S3_REGION: Setting =
    Setting::new("s3_region", "AWS_REGION").with_env_aliases(&["AWS_DEFAULT_REGION"]).with_default("us-east-1");
pub(super) const S3_PATH_STYLE: Setting = Setting::new("s3_path_style", "S3_PATH_STYLE").with_default("true");
pub(super) const AZURE_CONTAINER: Setting = Setting::new("azure_container", "AZURE_CONTAINER");
pub(super) const AZURE_ACCOUNT: Setting = Setting::new("azure_storage_account_name", "AZURE_STORAGE_ACCOUNT_NAME")
    .with_env_aliases(&["AZURE_STORAGE_ACCOUNT"]);
pub(super) const AZURE_ENDPOINT: Setting = Setting::new("azure_storage_endpoint", "AZURE_STORAGE_ENDPOINT");
pub(super) const SHARED_DRIVE: Setting = Setting::new("shared_drive_id", "SHARED_DRIVE_ID");
pub(super) const USERS_FOLDER: Setting = Setting::new("registered_users_folder_id", "REGISTERED_USERS_FOLDER_ID");
pub(super) const DRIVE_CREDENTIALS: Setting =
    Setting::new("google_credentials", "GOOGLE_CREDENTIALS").with_default("credentials/service-account.json");
pub(super) const DRIVE_EMULATOR: Setting = Setting::new("drive_emulator_host", "DRIVE_EMULATOR_HOST");
pub(super) const STORAGE_CA_FILE: Setting =
    Setting::new("storage_ca_file", "ROLLCALL_STORAGE_CA_FILE").with_env_aliases(&["AWS_CA_BUNDLE"]);
pub(super) const STORAGE_ALLOW_HTTP: Setting =
    Setting::new("storage_allow_http", "ROLLCALL_STORAGE_ALLOW_HTTP").with_default("false");
/// The default depends on the kind of the store.
pub(super) const STORAGE_TIMEOUT: Setting = Setting::new("storage_timeout_ms", "ROLLCALL_STORAGE_TIMEOUT_MS");

/// All settings of a node. Any other key in the configuration file is an error.
pub const SETTINGS: [&Setting; 57] = [
    &THIS_NODE,
    &PEERS,
    &HEARTBEAT_INTERVAL,
    &ELECTION_TIMEOUT_MIN,
    &ELECTION_TIMEOUT_MAX,
    &LEADER_TERM,
    &NET_TIMEOUT,
    &CPU_REFRESH,
    &ELECTION_RETRY,
    &TRUST_END_OF_STREAM,
    &CLUSTER_KEY,
    &CLUSTER_KEY_FILE,
    &NODE_TLS,
    &INSECURE_CLUSTER,
    &NODE_CA,
    &NODE_CERT,
    &NODE_KEY,
    &LOAD_SOURCE,
    &API_PORT,
    &API_BIND,
    &API_URL,
    &TLS_CERT,
    &TLS_KEY,
    &MAX_CONNECTIONS,
    &CORS_ORIGINS,
    &TRUSTED_PROXIES,
    &FORWARDED_HEADER,
    &HEARTBEAT_TTL,
    &REQUIRE_PASSWORD,
    &TOKEN_DAYS,
    &DISCOVERY_SERVER_COMPAT,
    &REGISTRATION_BURST,
    &REGISTRATION_RATE,
    &UPLOAD_BURST_BYTES,
    &UPLOAD_RATE_BYTES,
    &MAX_USERS,
    &MAX_IMAGES_PER_USER,
    &MAX_IMAGE_BYTES_PER_USER,
    &MIN_FREE_BYTES,
    &DATA_DIR,
    &BUCKET,
    &CREDENTIALS,
    &EMULATOR,
    &S3_BUCKET,
    &S3_ENDPOINT,
    &S3_REGION,
    &S3_PATH_STYLE,
    &AZURE_CONTAINER,
    &AZURE_ACCOUNT,
    &AZURE_ENDPOINT,
    &SHARED_DRIVE,
    &USERS_FOLDER,
    &DRIVE_CREDENTIALS,
    &DRIVE_EMULATOR,
    &STORAGE_CA_FILE,
    &STORAGE_ALLOW_HTTP,
    &STORAGE_TIMEOUT,
];

/// Environment variables with credentials of S3, as AWS's own programs name them. They have no key
/// in the file.
pub const AWS_CREDENTIALS: [&str; 11] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// Environment variables with credentials of Azure, as Azure's own programs name them. They have no
/// key in the file.
pub const AZURE_CREDENTIALS: [&str; 12] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_MSI_ENDPOINT",
    "IDENTITY_ENDPOINT",
];

/// The environment variables of all settings. The demo removes them from the environment of its
/// nodes.
pub fn env_vars() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| setting.env_names())
}
