//! Composition root of a node: it creates the parts, starts them in order, and stops them in order.

mod banner;
mod error;
mod identity;
mod leadership;
mod link_security;
mod node_key_ring;
mod node_keys;
mod startup;

use std::fs::File;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;
use uuid::Uuid;

pub use error::NodeError;
pub use identity::BUCKET_FILES_VERSION;
pub use link_security::rotate_node_key;
pub use node_keys::{NODE_KEY_FILE_VERSION, NodeKeyError};
pub use startup::{open_backend, open_backend_read_only};

use crate::config::{ApiConfig, Config, CorsConfig, LoadSourceConfig, QuotaConfig};
use crate::http::{
    ApiCertificateFiles, ApiService, ApiTls, App, CertificateReload, ClusterView, CorsPolicy, OriginPolicy,
    ReplicaFreshness, ThisNode, change_notifier, serve,
};
use crate::registry::{Quotas, RegistrationRate, Registry, RegistrySettings, UploadRate};
use crate::replication::Replication;
use crate::snapshot::Snapshotter;
use crate::storage::{Bucket, RetryPolicy, SecretStore};
use banner::{banner, print};
use identity::{is_first_start, load_or_create_cluster_id, load_token_key};
use leadership::{drain, rebuild_when_leading, refresh_presence};
use link_security::load_link_security;
use rollcall_core::clock::{boot_now, wall_now};
use rollcall_election::{
    ApiOptions, BallotOptions, ClusterOptions, Election, LinkSecurity, LoadOptions, LoadSource, Options, Peers,
    Transport,
};
use startup::{bind, connection_limit, into_async_listener, lock_node_dir};

/// Runs a node until `shutdown` is cancelled. Then gives up the lease, finishes the requests in
/// flight, and closes the links to the other nodes, in this order.
///
/// # Errors
/// [`NodeError`] if the node could not start, or if another process has its address.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), NodeError> {
    let started_at = boot_now();
    let connections = connection_limit(config.api.max_connections)?;
    let (reload, tls) = load_certificate(&config.api).await?.unzip();
    let lock = Arc::new(lock_node_dir(&config.node_dir())?);
    let election_port = bind(config.node.socket_addr(), "election port", "--this-node")?;
    let api_port = bind(config.api.socket_addr(), "HTTP API", "API_PORT")?;
    let backend = open_backend(&config.storage, None).await?;
    if let Some(probe) = backend.probe() {
        info!(
            consequence = probe.consequence(),
            "the storage has open questions, which `rollcall storage check` answers"
        );
    }
    let bucket = Bucket::new(backend, RetryPolicy::with_deadline(Duration::from_millis(config.storage_timeout_ms)));
    let cluster = load_or_create_cluster_id(&bucket).await?;
    let secrets = SecretStore::new(bucket.clone(), cluster, config.cluster_key.clone());
    let token_key = load_token_key(&secrets).await?;
    let (link_security, node_keys) = load_link_security(&config.node_tls, secrets, cluster).await?;
    // Held until the last snapshot is written.
    let _lock_guard = Arc::clone(&lock);
    let startup = StartupState { lock, is_first_start: is_first_start(&config, &bucket).await? };
    print(&banner(&config, &bucket));

    let settings = RegistrySettings {
        ttl_ms: config.presence.ttl_ms,
        replicated: config.peers.len() > 1,
        require_password: config.passwords.required,
        token_seconds: config.passwords.token_seconds,
        heartbeats_need_no_credentials: config.discovery_server_compat,
        quotas: quotas(&config.quotas),
        node: config.node,
    };
    let now = boot_now();
    let registry = Registry::new(bucket, settings, &token_key, now, wall_now());
    // Stops the presence clock until the first leader serves: no heartbeat can arrive before that.
    registry.note_active_leader(now);
    let snapshots = Snapshotter::new(registry.clone(), config.node_dir(), cluster);
    snapshots.load().await;
    let (online_tx, online) = watch::channel(0);
    let identity = ClusterIdentity { id: cluster, security: link_security };
    let (election, transport) = start_election(&config, identity, startup, election_port, online)?;
    let (replication, flush_handle) = Replication::new(registry.clone(), transport, election.role());
    let in_flight = TaskTracker::new();
    let (list_updates, publish_updates) = change_notifier(registry.clone(), election.role());
    let app = App {
        registry: registry.clone(),
        this_node: ThisNode { addr: config.node, version: env!("CARGO_PKG_VERSION"), started_at },
        cluster: ClusterView {
            role: election.role(),
            members: election.members(),
            online_count: election.leader_tag(),
        },
        replica: ReplicaFreshness {
            clients_up_to_date_at: replication.clients_up_to_date_at(),
            users_complete_at: replication.users_complete_at(),
        },
        origin_policy: OriginPolicy::new(cors(&config.api.cors), &config.api.url, config.api.tls.is_some()),
        discovery_server_compat: config.discovery_server_compat,
        list_updates,
        in_flight: in_flight.clone(),
    };
    let api_port = into_async_listener(api_port)?;

    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let leading = rebuild_when_leading(registry.clone(), election.role());
    tasks.spawn(stop.clone().run_until_cancelled_owned(leading));
    tasks.spawn(stop.clone().run_until_cancelled_owned(publish_updates));
    tasks.spawn(stop.clone().run_until_cancelled_owned(refresh_presence(registry, election.role(), online_tx)));
    tasks.spawn(stop.clone().run_until_cancelled_owned(replication.run()));
    tasks.spawn(stop.clone().run_until_cancelled_owned(snapshots.clone().run()));
    let draining = drain(in_flight, flush_handle, election.role(), election.drained());
    tasks.spawn(stop.clone().run_until_cancelled_owned(draining));
    if let Some(reload) = reload {
        tasks.spawn(stop.clone().run_until_cancelled_owned(reload.run()));
    }
    if let Some(node_keys) = node_keys {
        tasks.spawn(stop.clone().run_until_cancelled_owned(node_keys.run()));
    }
    tasks.close();
    print("✓ All systems operational!");
    info!(node = %config.node, startup_ms = boot_now().since(started_at), "ready");

    let drained = CancellationToken::new();
    let serving = serve(api_port, ApiService::new(app, config.api.proxies, tls), connections, drained.clone());
    tokio::pin!(serving);
    let mut address_conflict = election.address_conflict();
    let (has_ended, conflict) = tokio::select! {
        () = &mut serving => (true, None),
        () = shutdown.cancelled() => (false, None),
        Ok(reason) = address_conflict.wait_for(Option::is_some) => (false, reason.clone()),
    };
    // Give up the lease first, so that the next leader can start while the last requests end here.
    election.resign();
    if !has_ended {
        drained.cancel();
        serving.await;
    }
    election.stop().await;
    stop.cancel();
    tasks.wait().await;
    snapshots.save().await;
    info!(node = %config.node, "stopped");
    conflict.map_or(Ok(()), |reason| Err(NodeError::Configuration(reason)))
}

/// Loads the certificate of the API, if the node has one.
async fn load_certificate(api: &ApiConfig) -> Result<Option<(CertificateReload, ApiTls)>, NodeError> {
    let Some(tls) = &api.tls else { return Ok(None) };
    let files = ApiCertificateFiles { cert: tls.cert.clone(), key: tls.key.clone() };
    let loaded = CertificateReload::start(files, &api.url).await;
    loaded.map(Some).map_err(|error| NodeError::Configuration(error.to_string()))
}

/// State that the node had before this start.
struct StartupState {
    /// The lock on the node's directory.
    lock: Arc<File>,
    /// Whether this is the first start of the node, so that it cannot have voted before.
    is_first_start: bool,
}

/// Identity of the cluster: the same on all its nodes.
struct ClusterIdentity {
    /// The id of the bucket.
    id: Uuid,
    /// Protection of the links, with the certificates of the cluster.
    security: LinkSecurity,
}

/// Starts the election with the settings of the node. `heartbeat_tag` is the number of online
/// clients, which the leader sends with its heartbeats.
fn start_election(
    config: &Config,
    cluster: ClusterIdentity,
    startup: StartupState,
    port: TcpListener,
    heartbeat_tag: watch::Receiver<u64>,
) -> Result<(Election, Transport), NodeError> {
    let peers = Peers::new(config.peers.clone(), config.node)
        .ok_or_else(|| NodeError::Configuration(format!("{} is not in `peers`", config.node)))?;
    let options = Options {
        cluster: ClusterOptions {
            peers,
            id: cluster.id,
            timings: config.timings,
            security: cluster.security,
            key: config.cluster_key.clone(),
        },
        api: ApiOptions { url: config.api.url.clone(), port: config.api.port },
        trust_end_of_stream: config.trust_end_of_stream,
        load: LoadOptions {
            source: match &config.load_source {
                LoadSourceConfig::Cpu => LoadSource::Cpu,
                LoadSourceConfig::File(path) => LoadSource::File(path.clone()),
            },
            refresh_ms: config.cpu_refresh_ms,
        },
        ballot: BallotOptions { dir: config.node_dir(), lock: Some(startup.lock), first_start: startup.is_first_start },
        heartbeat_tag,
    };
    Election::start(port, options).map_err(|error| {
        let dir = config.node_dir();
        NodeError::Configuration(format!("cannot read the ballot in {}: {error}; make it readable", dir.display()))
    })
}

/// Converts the settings to the quotas of the registry.
fn quotas(config: &QuotaConfig) -> Quotas {
    Quotas {
        registrations: config
            .registration_rate
            .map(|per_second| RegistrationRate { burst: config.registration_burst, per_second }),
        uploads: config
            .upload_rate_bytes
            .map(|bytes_per_second| UploadRate { burst_bytes: config.upload_burst_bytes, bytes_per_second }),
        users: config.max_users,
        images_per_user: config.max_images_per_user,
        image_bytes_per_user: config.max_image_bytes_per_user,
    }
}

/// Converts the setting to the policy of the API.
fn cors(cors: &CorsConfig) -> CorsPolicy {
    match cors {
        CorsConfig::Any => CorsPolicy::Any,
        CorsConfig::Off => CorsPolicy::Origins(Vec::new()),
        CorsConfig::Only(origins) => CorsPolicy::Origins(origins.clone()),
    }
}
