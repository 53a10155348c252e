//! The composition root: what a node is made of, in which order it starts, and in which it ends.

mod banner;
mod error;
mod identity;
mod leadership;
mod startup;

use std::fs::File;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;
use uuid::Uuid;

pub use error::NodeError;
pub use identity::BUCKET_FILES_VERSION;

use crate::config::{self, Config};
use crate::http::{ApiService, App, ClusterView, CorsPolicy, ReplicaFreshness, ThisNode, change_notifier, serve};
use crate::registry::{Registry, Settings};
use crate::replication::Replication;
use crate::snapshot::Keeper;
use crate::storage::{Bucket, RetryPolicy};
use banner::{banner, say};
use identity::{cluster_id, is_first_start, token_key};
use leadership::{drain, follow_leadership, pulse};
use rollcall_core::clock::boot_now;
use rollcall_election::{
    ApiOptions, BallotOptions, Carrier, ClusterOptions, Election, LoadOptions, LoadSource, Options, Peers,
};
use startup::{bind, listen, lock_node_dir, open_backend};

/// Runs a node until `shutdown` is cancelled, then ends it in good order: the lease first, then the requests under way,
/// then the links to the other nodes.
///
/// # Errors
/// [`NodeError`] if it could not start.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), NodeError> {
    let started_at = boot_now();
    let lock = Arc::new(lock_node_dir(&config.node_dir())?);
    let election_port = bind(config.node.socket_addr(), "election port", "--this-node")?;
    let api_port = bind(config.api.socket_addr(), "HTTP API", "API_PORT")?;
    let backend = open_backend(&config).await?;
    let bucket = Bucket::new(backend, RetryPolicy::with_deadline(Duration::from_millis(config.storage_timeout_ms)));
    let cluster = cluster_id(&bucket).await?;
    let token_key = token_key(&bucket).await?;
    // Until the last snapshot is written.
    let _held = Arc::clone(&lock);
    let past = Past { lock, first_start: is_first_start(&config, &bucket).await? };
    say(&banner(&config, &bucket));

    let settings = Settings {
        ttl_ms: config.presence.ttl_ms,
        replicated: config.peers.len() > 1,
        require_password: config.passwords.required,
        token_seconds: config.passwords.token_seconds,
    };
    let registry = Registry::new(bucket, settings, &token_key, started_at);
    // Until a leader serves, nobody could be heard, and so nobody ages.
    registry.served(started_at);
    let snapshots = Keeper::new(registry.clone(), config.node_dir(), cluster);
    snapshots.load().await;
    let (online_in, online) = watch::channel(0);
    let (election, carrier) = start_election(&config, cluster, past, election_port, online)?;
    let (replication, flusher) = Replication::new(registry.clone(), carrier, election.role());
    let in_flight = TaskTracker::new();
    let (list_updates, publish_updates) = change_notifier(registry.clone(), election.role());
    let app = App {
        registry: registry.clone(),
        this_node: ThisNode { addr: config.node, version: env!("CARGO_PKG_VERSION"), started_at },
        cluster: ClusterView {
            role: election.role(),
            members: election.members(),
            online_count: election.leader_note(),
        },
        replica: ReplicaFreshness {
            clients_up_to_date_at: replication.clients_up_to_date_at(),
            users_complete_at: replication.users_complete_at(),
        },
        cors: cors(&config.api.cors)?,
        list_updates,
        in_flight: in_flight.clone(),
    };
    let api_port = listen(api_port)?;

    let tasks = TaskTracker::new();
    let ended = CancellationToken::new();
    let leading = follow_leadership(registry.clone(), election.role());
    tasks.spawn(ended.clone().run_until_cancelled_owned(leading));
    tasks.spawn(ended.clone().run_until_cancelled_owned(publish_updates));
    tasks.spawn(ended.clone().run_until_cancelled_owned(pulse(registry, election.role(), online_in)));
    tasks.spawn(ended.clone().run_until_cancelled_owned(replication.run()));
    tasks.spawn(ended.clone().run_until_cancelled_owned(snapshots.clone().run()));
    let draining = drain(in_flight, flusher, election.role(), election.drained());
    tasks.spawn(ended.clone().run_until_cancelled_owned(draining));
    tasks.close();
    say("✓ All systems operational!");
    info!(node = %config.node, "ready after {} ms", boot_now().since(started_at));

    let drained = CancellationToken::new();
    let serving = serve(api_port, ApiService::new(app), drained.clone());
    tokio::pin!(serving);
    let mut doubled = election.doubled();
    let (has_ended, refusal) = tokio::select! {
        () = &mut serving => (true, None),
        () = shutdown.cancelled() => (false, None),
        Ok(reason) = doubled.wait_for(Option::is_some) => (false, reason.clone()),
    };
    // The lease goes first, so that a successor can start while the last requests end here.
    election.resign();
    if !has_ended {
        drained.cancel();
        serving.await;
    }
    election.stop().await;
    ended.cancel();
    tasks.wait().await;
    snapshots.save().await;
    info!(node = %config.node, "stopped");
    refusal.map_or(Ok(()), |reason| Err(NodeError::Configuration(reason)))
}

/// What a node brings along from before.
struct Past {
    /// The lock on the node's directory.
    lock: Arc<File>,
    /// Whether there is certainly nothing before.
    first_start: bool,
}

fn start_election(
    config: &Config,
    cluster: Uuid,
    past: Past,
    port: TcpListener,
    note: watch::Receiver<u64>,
) -> Result<(Election, Carrier), NodeError> {
    let peers = Peers::new(config.peers.clone(), config.node)
        .ok_or_else(|| NodeError::Configuration(format!("{} is not in `peers`", config.node)))?;
    let options = Options {
        cluster: ClusterOptions { peers, id: cluster, timings: config.timings, key: config.cluster_key.clone() },
        api: ApiOptions { url: config.api.url.clone(), port: config.api.port },
        trust_end_of_stream: config.trust_end_of_stream,
        load: LoadOptions {
            source: match &config.load_source {
                config::LoadSource::Cpu => LoadSource::Cpu,
                config::LoadSource::File(path) => LoadSource::File(path.clone()),
            },
            refresh_ms: config.cpu_refresh_ms,
        },
        ballot: BallotOptions { dir: config.node_dir(), lock: Some(past.lock), first_start: past.first_start },
        note,
    };
    Election::start(port, options).map_err(|error| {
        let dir = config.node_dir();
        NodeError::Configuration(format!("cannot read the ballot in {}: {error}; make it readable", dir.display()))
    })
}

fn cors(cors: &config::Cors) -> Result<CorsPolicy, NodeError> {
    Ok(match cors {
        config::Cors::Any => CorsPolicy::Any,
        config::Cors::Off => CorsPolicy::Off,
        config::Cors::Only(origins) => {
            let values: Result<Vec<_>, _> = origins.iter().map(|origin| HeaderValue::from_str(origin)).collect();
            CorsPolicy::Origins(values.map_err(|error| NodeError::Configuration(format!("cors_origins: {error}")))?)
        }
    })
}
