//! The composition root: what a node is made of, in which order it starts, and in which it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;
use uuid::Uuid;

use crate::config::{self, Config, Storage};
use crate::http::{App, ClusterView, Copies, Cors, ENDPOINTS, ThisNode, api, news, serve};
use crate::registry::{Epoch, Registry, Settings, TokenKey, TokenKeyError};
use crate::replication::{Flusher, Replication};
use crate::snapshot::Keeper;
use crate::storage::{Backend, BackendError, Bucket, BucketError, Created, Gcs, GcsConfig, Key, Local, RetryPolicy};
use rollcall_core::NodeAddr;
use rollcall_core::clock::boot_now;
use rollcall_election::{
    ApiOptions, BallotOptions, Carrier, ClusterOptions, Election, LoadOptions, LoadSource, Options, Peers, Role,
};

/// The file whose lock keeps two processes from being one node.
const LOCK_FILE: &str = "lock";

/// How often presence is told that this process runs, and followers are told how many clients are online.
const PULSE: Duration = Duration::from_millis(250);

/// How long a new leader waits for what the other nodes know before it reads the bucket instead.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// How long after that it reads the bucket all the same: when the election is over and done with.
const READ_BUCKET_AFTER: Duration = Duration::from_secs(10);

/// Why a node did not start. Display is one line with the remedy.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The node may not run with this configuration.
    #[error("{0}")]
    Configuration(String),
    /// The storage cannot be reached.
    #[error("{0}")]
    Storage(String),
    /// An address cannot be bound, or the system refuses something else that is needed.
    #[error("{0}")]
    Bind(String),
}

/// Version of `cluster.json` and of `nodes/{addr}.json`. Objects of version 1 do not name it. A later version that this one
/// cannot read writes a field `version`; an object without that field is of version 1.
pub const BUCKET_FILES_VERSION: u32 = 1;

/// The bucket's own id, written once by the first node that ever used it.
#[derive(Debug, Serialize, Deserialize)]
struct ClusterFile {
    cluster_id: Uuid,
}

/// The trace of a node's first start. The id makes it ours alone.
#[derive(Debug, Serialize)]
struct NodeFile {
    first_start: Uuid,
}

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
    let under_way = TaskTracker::new();
    let (news, telling) = news(registry.clone(), election.role());
    let app = App {
        registry: registry.clone(),
        this: ThisNode { addr: config.node, version: env!("CARGO_PKG_VERSION"), started_at },
        cluster: ClusterView { role: election.role(), members: election.members(), online: election.leader_note() },
        copies: Copies {
            clients_up_to_date_at: replication.clients_up_to_date_at(),
            users_complete_at: replication.users_complete_at(),
        },
        cors: cors(&config.api.cors)?,
        news,
        under_way: under_way.clone(),
    };
    let api_port = listen(api_port)?;

    let tasks = TaskTracker::new();
    let ended = CancellationToken::new();
    let leading = follow_leadership(registry.clone(), election.role());
    tasks.spawn(ended.clone().run_until_cancelled_owned(leading));
    tasks.spawn(ended.clone().run_until_cancelled_owned(telling));
    tasks.spawn(ended.clone().run_until_cancelled_owned(pulse(registry, election.role(), online_in)));
    tasks.spawn(ended.clone().run_until_cancelled_owned(replication.run()));
    tasks.spawn(ended.clone().run_until_cancelled_owned(snapshots.clone().run()));
    let draining = drain(under_way, flusher, election.role(), election.drained());
    tasks.spawn(ended.clone().run_until_cancelled_owned(draining));
    tasks.close();
    say("✓ All systems operational!");
    info!(node = %config.node, "ready after {} ms", boot_now().since(started_at));

    let drained = CancellationToken::new();
    let serving = serve(api_port, api(app), drained.clone());
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

/// Makes the node's own directory and locks it for as long as the file lives.
fn lock_node_dir(dir: &Path) -> Result<File, NodeError> {
    let refused = |error: io::Error| {
        NodeError::Configuration(format!(
            "cannot use the data directory {}: {error}; name another one with --data-dir, or make it writable",
            dir.display()
        ))
    };
    make_durable_dir(dir).map_err(refused)?;
    let file = File::options().write(true).create(true).truncate(false).open(dir.join(LOCK_FILE)).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NodeError::Configuration(format!(
            "another process is this node already: it holds the lock in {}; stop it, or start this one with another \
             --this-node",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Makes the directory and its parents so that they survive a loss of power: a ballot in them must.
fn make_durable_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    dir.canonicalize()?.ancestors().skip(1).take(2).try_for_each(|parent| File::open(parent)?.sync_all())
}

fn bind(addr: SocketAddr, what: &str, setting: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(addr).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => format!("stop the program that uses it, or give another port with {setting}"),
            io::ErrorKind::AddrNotAvailable => format!("it is no address of this machine; correct {setting}"),
            io::ErrorKind::PermissionDenied => format!("ports below 1024 need rights; give another one with {setting}"),
            _ => format!("correct {setting}"),
        };
        NodeError::Bind(format!("cannot listen on {addr} for the {what}: {error}; {remedy}"))
    })
}

/// Hands a bound port to the runtime.
fn listen(port: TcpListener) -> Result<tokio::net::TcpListener, NodeError> {
    port.set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(port))
        .map_err(|error| NodeError::Bind(format!("cannot listen on the API port: {error}")))
}

async fn open_backend(config: &Config) -> Result<Arc<dyn Backend>, NodeError> {
    let unusable = |error: BackendError| NodeError::Storage(format!("the storage cannot be used: {error}"));
    // Nothing is sent to Google yet, so what is wrong is the key file or the bucket's name.
    let misconfigured = |error: BackendError| NodeError::Configuration(error.to_string());
    Ok(match &config.storage {
        Storage::Local { dir } => {
            let tag = draw_id().simple().to_string();
            Arc::new(Local::open(dir.clone(), &tag, Local::DEFAULT_PAGE_SIZE).map_err(unusable)?)
        }
        Storage::Gcs { bucket, endpoint: Some(endpoint), .. } => {
            Arc::new(Gcs::connect(GcsConfig::emulator(bucket, endpoint)).await.map_err(misconfigured)?)
        }
        Storage::Gcs { bucket, credentials, endpoint: None } => {
            Arc::new(Gcs::connect(GcsConfig::google(bucket, credentials.clone())).await.map_err(misconfigured)?)
        }
    })
}

/// The bucket's id; draws one if this is the first node that ever used the bucket.
async fn cluster_id(bucket: &Bucket) -> Result<Uuid, NodeError> {
    let away = |error: BucketError| {
        NodeError::Storage(format!("{error}; check it step by step with `cargo run --bin test_firebase`"))
    };
    let mine = ClusterFile { cluster_id: draw_id() };
    let bytes = serde_json::to_vec(&mine).expect("a struct with one id is JSON");
    let stored = match bucket.get(&Key::Cluster).await.map_err(away)? {
        Some(stored) => stored,
        None => match bucket.create(&Key::Cluster, Bytes::from(bytes)).await.map_err(away)? {
            Created::New(_) => return Ok(mine.cluster_id),
            Created::Taken(stored) => stored,
        },
    };
    let file: Result<ClusterFile, _> = serde_json::from_slice(&stored.bytes);
    file.map(|file| file.cluster_id).map_err(|error| {
        NodeError::Storage(format!(
            "{} in the {} is damaged ({error}); if no other node uses the bucket, delete that file",
            Key::Cluster,
            bucket.describe()
        ))
    })
}

/// The key of the bucket's tokens.
async fn token_key(bucket: &Bucket) -> Result<TokenKey, NodeError> {
    TokenKey::of_bucket(bucket).await.map_err(|error| {
        let remedy = match error {
            TokenKeyError::Storage(_) => "; check it step by step with `cargo run --bin test_firebase`",
            TokenKeyError::Damaged { .. } => "",
        };
        NodeError::Storage(format!("{error}{remedy}"))
    })
}

/// What a node brings along from before.
struct Past {
    /// The lock on the node's directory.
    lock: Arc<File>,
    /// Whether there is certainly nothing before.
    first_start: bool,
}

/// Whether this node has never been started on this bucket. A node without a ballot is new only if its trace in the bucket
/// is made now: else it has lost the ballot, and with it the memory of its votes.
async fn is_first_start(config: &Config, bucket: &Bucket) -> Result<bool, NodeError> {
    if rollcall_election::has_ballot(&config.node_dir()) {
        return Ok(false);
    }
    let trace = serde_json::to_vec(&NodeFile { first_start: draw_id() }).expect("a struct with one id is JSON");
    match bucket.create(&Key::Node(config.node), Bytes::from(trace)).await {
        Ok(created) => Ok(matches!(created, Created::New(_))),
        Err(error) => {
            Err(NodeError::Storage(format!("{error}; check it step by step with `cargo run --bin test_firebase`")))
        }
    }
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

fn cors(cors: &config::Cors) -> Result<Cors, NodeError> {
    Ok(match cors {
        config::Cors::Any => Cors::Any,
        config::Cors::Off => Cors::Off,
        config::Cors::Only(origins) => {
            let values: Result<Vec<_>, _> = origins.iter().map(|origin| HeaderValue::from_str(origin)).collect();
            Cors::Origins(values.map_err(|error| NodeError::Configuration(format!("cors_origins: {error}")))?)
        }
    })
}

/// Whenever this node begins to serve, others may have written to the bucket since: the list of users is made whole.
async fn follow_leadership(registry: Registry, mut role: watch::Receiver<Role>) {
    loop {
        let Ok(term) = role.wait_for(|role| role.is_serving(boot_now())).await.map(|role| role.term) else { return };
        registry.begin_term(Epoch(term.0));
        let over = async { role.wait_for(|role| role.term != term).await.is_err() };
        tokio::select! {
            closed = over => if closed { return },
            () = make_whole(&registry, Epoch(term.0)) => {
                if role.wait_for(|role| role.term != term).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Makes the list of users whole. If the other nodes can tell all that is missing, the bucket is read later, for what was
/// stored without being acknowledged; else at once.
async fn make_whole(registry: &Registry, epoch: Epoch) {
    let mut coverage = registry.coverage();
    let may_claim_complete = coverage.borrow().may_claim_complete();
    if may_claim_complete {
        let others_told = coverage.wait_for(|coverage| coverage.users_in(epoch).may_list_users());
        if timeout(WAIT_FOR_OTHERS, others_told).await.is_ok() {
            sleep(READ_BUCKET_AFTER).await;
        }
    }
    registry.rebuild_index(epoch).await;
}

/// Whenever this node is about to hand over: waits for what is under way and until the others know its outcome, and says so.
async fn drain(under_way: TaskTracker, flusher: Flusher, mut role: watch::Receiver<Role>, drained: Arc<Notify>) {
    while role.wait_for(Role::is_handing_over).await.is_ok() {
        under_way.close();
        let all_done = async {
            under_way.wait().await;
            flusher.flush().await;
        };
        tokio::select! {
            () = all_done => drained.notify_one(),
            // It has been waited for long enough.
            _ = role.wait_for(|role| !role.is_handing_over()) => {}
        }
        under_way.reopen();
        if role.wait_for(|role| !role.is_handing_over()).await.is_err() {
            return;
        }
    }
}

/// Tells presence that this process runs and whether it serves, and the election how many clients are online. Whoever waits
/// for a client's time-out learns of it from here, so at most [`PULSE`] late.
async fn pulse(registry: Registry, role: watch::Receiver<Role>, online: watch::Sender<u64>) {
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let serves = role.borrow().is_serving(boot_now());
        if serves {
            registry.served(boot_now());
        }
        registry.observe(boot_now());
        let count = u64::try_from(registry.online_count(boot_now())).unwrap_or(u64::MAX);
        online.send_replace(count);
    }
}

/// Writes for the person at the terminal. If nobody reads there, the node runs all the same.
fn say(text: &str) {
    say_to(&mut io::stdout(), text);
}

fn say_to(out: &mut impl io::Write, text: &str) {
    // In one piece, so that the lines of nodes that share a terminal do not mix.
    let _ = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
}

fn banner(config: &Config, bucket: &Bucket) -> String {
    let line = "=".repeat(43);
    let place = match &config.storage {
        Storage::Gcs { .. } => "Firebase Storage".to_owned(),
        Storage::Local { .. } => bucket.describe(),
    };
    let endpoints: Vec<String> = ENDPOINTS.iter().map(|endpoint| format!("     {endpoint}\n")).collect();
    let endpoints = endpoints.concat();
    let (api, node, members) = (config.api.socket_addr(), config.node, members_line(config.node, &config.peers));
    format!(
        "{line}\nDistributed System: Leader Election + User Registration\n{line}\n\n\
         ✓ User registration system initialized ({place})\n\
         🚀 HTTP API server listening on http://{api}\n   Endpoints:\n{endpoints}\n\
         ✓ Leader election TCP listener bound to {node}\n{members}"
    )
}

fn members_line(node: NodeAddr, peers: &[NodeAddr]) -> String {
    let others: Vec<String> = peers.iter().filter(|peer| **peer != node).map(ToString::to_string).collect();
    if others.is_empty() {
        "  A cluster of one node".to_owned()
    } else {
        format!("  Other nodes: {}", others.join(", "))
    }
}

#[expect(clippy::disallowed_methods, reason = "the composition root draws the ids that its parts are given")]
fn draw_id() -> Uuid {
    Uuid::new_v4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Memory;

    #[test]
    fn one_directory_is_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_node_dir(dir.path()).expect("free");
        let second = lock_node_dir(dir.path()).expect_err("taken");
        assert!(second.to_string().contains("another process is this node already"), "{second}");
        drop(first);
        lock_node_dir(dir.path()).expect("free again");
    }

    #[test]
    fn a_terminal_that_is_gone_or_full_does_not_end_a_node() {
        struct Gone;
        impl io::Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        say_to(&mut Gone, "hello");
        let mut written = Vec::new();
        say_to(&mut written, "hello");
        assert_eq!(written, b"hello\n");
    }

    #[test]
    fn a_taken_port_is_named_with_the_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap(), "HTTP API", "API_PORT").expect_err("taken");
        assert!(matches!(error, NodeError::Bind(_)));
        assert!(error.to_string().contains("API_PORT"), "{error}");
    }

    #[test]
    fn the_files_in_the_bucket_have_their_golden_bytes() {
        let id = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let golden = r#"{"cluster_id":"00112233-4455-6677-8899-aabbccddeeff"}"#;
        assert_eq!(serde_json::to_string(&ClusterFile { cluster_id: id }).unwrap(), golden);
        assert_eq!(serde_json::from_str::<ClusterFile>(golden).unwrap().cluster_id, id);
        let golden = r#"{"first_start":"00112233-4455-6677-8899-aabbccddeeff"}"#;
        assert_eq!(serde_json::to_string(&NodeFile { first_start: id }).unwrap(), golden);
    }

    #[tokio::test]
    async fn all_nodes_of_a_bucket_agree_on_its_id() {
        let bucket = Bucket::new(Arc::new(Memory::new()), RetryPolicy::default());
        let (one, other) = tokio::join!(cluster_id(&bucket), cluster_id(&bucket));
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(cluster_id(&bucket).await.unwrap(), cluster_id(&bucket).await.unwrap());
    }
}
