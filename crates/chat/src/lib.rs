//! The program at the other end of the registry: peers that find each other on the LAN, through the registry or by
//! address, and talk to each other directly.
//!
//! [`engine`] decides, purely; [`mesh`] and [`lan`] know the bytes and sockets of the two links; [`console`] what a person
//! types and sees. [`Peer`] puts them together.

pub mod console;
pub mod engine;
pub mod lan;
pub mod mesh;
pub mod settings;

mod data_dir;
mod driver;
mod endpoint;
mod event_log;
mod io_counters;
mod lan_user_id;
mod metrics;
mod nickname;
mod peer_id;
mod profile;
mod registry_task;
mod send_queues;
mod text;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rand::RngExt;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use rollcall_client::{Client, ClientError, DEFAULT_PATIENCE};
use rollcall_core::{Addr, InvalidUsername, Username};

pub use driver::PeerRequest;
pub use endpoint::{InvalidEndpoint, PeerEndpoint};
pub use lan_user_id::LanUserId;
pub use metrics::{DropCounters, PeerStats};
pub use nickname::{InvalidNickname, Nickname};
pub use peer_id::{InvalidPeerId, PEER_ID_DIGITS, PeerId};
pub use profile::{Avatar, InvalidAvatar, MAX_AVATAR_BYTES, PeerProfile};
pub use text::MAX_TEXT_BYTES;

use data_dir::DataDir;
use driver::{Inputs, PeerDriver};
use engine::{Engine, EngineConfig, LanConfig, Notice};
use io_counters::IoCounters;
use lan::scan_result::ScanResult;
use lan::socket::{self, LanSockets, ReceivedDatagram};
use mesh::MAX_MESSAGE_BYTES;
use mesh::network::MeshNetwork;
use metrics::{MetricsServer, StaticInfo};
use registry_task::{RegistryStatus, RegistryTask};
use send_queues::SendQueues;
use settings::PeerSettings;

/// What waits to be decided on; readers of sockets wait when it is full.
const EVENT_QUEUE: usize = 1024;
/// Things that are told and not shown yet; with more, some are not shown.
const NOTICE_QUEUE: usize = 64 * 1024;
/// Wishes of the person that are not carried out yet.
const REQUEST_QUEUE: usize = 256;
/// So many ports are tried before a peer gives up to find one for the LAN.
const MAX_PORT_ATTEMPTS: usize = 64;

/// A running peer.
pub struct Peer {
    id: PeerId,
    mesh_addr: SocketAddr,
    lan_port: Option<u16>,
    metrics_addr: Option<SocketAddr>,
    requests: mpsc::Sender<PeerRequest>,
    notices: mpsc::Receiver<Notice>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a peer cannot start; one line.
#[derive(Debug, Error)]
pub enum StartError {
    /// The mesh's port.
    #[error("cannot listen at {addr}: {cause}; choose another with --listen host:port")]
    Listen {
        /// The address.
        addr: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The port of the health and the metrics.
    #[error("cannot serve metrics at {addr}: {cause}; choose another address with --metrics host:port")]
    Metrics {
        /// The address.
        addr: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The LAN's port.
    #[error("cannot bind a UDP port of 8000 to 9999: {0}; --no-lan goes without")]
    Lan(io::Error),
    /// The directory.
    #[error("cannot use the directory {dir}: {cause}")]
    Dir {
        /// The directory.
        dir: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The registry takes fewer names than a chat.
    #[error("the registry does not take this name: {0}")]
    Name(#[from] InvalidUsername),
    /// The registry's client.
    #[error(transparent)]
    Registry(#[from] ClientError),
}

impl Peer {
    /// Binds everything and starts.
    ///
    /// # Errors
    /// [`StartError`], if something that was asked for cannot be had.
    pub async fn start(settings: PeerSettings) -> Result<Self, StartError> {
        let new_id = PeerId(random_id());
        let (id, history, log) = match &settings.dir {
            Some(dir) => {
                let to_error = |cause| StartError::Dir { dir: dir.display().to_string(), cause };
                let data_dir = DataDir::open(dir, new_id, settings.history_size).map_err(to_error)?;
                (data_dir.id, data_dir.history, Some(data_dir.log))
            }
            None => (new_id, Vec::new(), None),
        };
        let to_error = |cause| StartError::Listen { addr: settings.listen_addr.clone(), cause };
        let listener = TcpListener::bind(&settings.listen_addr).await.map_err(to_error)?;
        let mesh_addr = listener.local_addr().map_err(to_error)?;
        let metrics = match &settings.metrics_addr {
            Some(addr) => Some(bind_metrics(addr).await?),
            None => None,
        };
        let io_counters = Arc::new(IoCounters::default());
        let sockets = if settings.lan { Some(bind_lan(&settings, &io_counters)?) } else { None };
        let lan_port = sockets.as_ref().map(LanSockets::port);
        let rules = rules(&settings, id, mesh_addr, lan_port);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (event_tx, connection_events) = mpsc::channel(EVENT_QUEUE);
        let (datagram_tx, datagrams) = mpsc::channel(EVENT_QUEUE);
        let (discovered_tx, discovered) = mpsc::channel(1);
        let (request_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let (notice_tx, notices) = mpsc::channel(NOTICE_QUEUE);
        for (receiver, shared) in sockets.iter().flat_map(LanSockets::receivers) {
            let received = receive(receiver, shared, datagram_tx.clone(), Arc::clone(&io_counters));
            tasks.spawn(stop.clone().run_until_cancelled_owned(received));
        }
        let (status_tx, registry_status) = watch::channel(RegistryStatus::NOT_ASKED);
        if !settings.registry.is_empty() {
            let registry_task =
                registry_task(&settings, mesh_addr, discovered_tx, status_tx, Arc::clone(&io_counters))?;
            tasks.spawn(stop.clone().run_until_cancelled_owned(registry_task.run()));
        }
        let network = MeshNetwork {
            me: id,
            connect_timeout: settings.connect_timeout,
            queue_messages: settings.message_buffer_size,
            events: event_tx,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            next_link: Arc::new(AtomicU64::new(0)),
            io_counters: Arc::clone(&io_counters),
        };
        network.listen(listener);
        let engine = Engine::new(rules, history, driver::now());
        let driver = PeerDriver {
            engine,
            network,
            sockets,
            log,
            notices: notice_tx,
            queues: SendQueues::default(),
            drops: DropCounters::default(),
            has_warned_of_dropped_notices: false,
        };
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let inputs = Inputs { connection_events, datagrams, discovered, requests, stop: stop.clone() };
        tasks.spawn(async move {
            let _end = end;
            driver.run(inputs).await;
        });
        let mut metrics_addr = None;
        if let Some((listener, addr)) = metrics {
            metrics_addr = Some(addr);
            let info = StaticInfo {
                id,
                name: settings.name,
                max_connections: settings.max_connections,
                lan_port,
                registry: (!settings.registry.is_empty()).then_some(registry_status),
                io_counters,
                started_at: driver::now().boot,
            };
            let metrics_server = MetricsServer { info, requests: request_tx.clone(), stop: stop.clone() };
            tasks.spawn(metrics::serve(listener, metrics_server, ended));
        }
        tasks.close();
        Ok(Self { id, mesh_addr, lan_port, metrics_addr, requests: request_tx, notices, stop, tasks })
    }

    /// Who this peer is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where it listens for the mesh.
    #[must_use]
    pub fn mesh_addr(&self) -> SocketAddr {
        self.mesh_addr
    }

    /// The port at which it is answered on the LAN.
    #[must_use]
    pub fn lan_port(&self) -> Option<u16> {
        self.lan_port
    }

    /// Where it serves its health and its metrics.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Where wishes go.
    #[must_use]
    pub fn requests(&self) -> mpsc::Sender<PeerRequest> {
        self.requests.clone()
    }

    /// What is to be told; waits until there is something, and adds at most `most`.
    pub async fn notices(&mut self, told: &mut Vec<Notice>, most: usize) -> usize {
        self.notices.recv_many(told, most).await
    }

    /// What is to be told already.
    pub fn try_recv_notice(&mut self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }

    /// Sends what was said, ends all links and waits until that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn bind_metrics(addr: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(addr).await?;
        let bound_at = listener.local_addr()?;
        Ok((listener, bound_at))
    };
    bound.await.map_err(|cause| StartError::Metrics { addr: addr.to_owned(), cause })
}

/// Looks around the LAN for this long, at the addresses `only`, or on every network if there are none, without becoming a
/// peer of it.
///
/// # Errors
/// What the system says if there is no port for the answers: then nobody can be asked.
pub async fn scan(wait: Duration, targets: &[Ipv4Addr]) -> io::Result<ScanResult> {
    lan::scan(wait, targets, random_ports()).await
}

fn random_ports() -> impl Iterator<Item = u16> {
    std::iter::repeat_with(random_port).take(MAX_PORT_ATTEMPTS)
}

fn bind_lan(settings: &PeerSettings, io_counters: &Arc<IoCounters>) -> Result<LanSockets, StartError> {
    LanSockets::bind(random_ports(), settings.lan_addresses.clone(), Arc::clone(io_counters)).map_err(StartError::Lan)
}

async fn receive(
    receiver: Arc<tokio::net::UdpSocket>,
    shared: bool,
    datagrams: mpsc::Sender<ReceivedDatagram>,
    io_counters: Arc<IoCounters>,
) {
    let mut buffer = socket::buffer();
    loop {
        let heard = socket::receive(&receiver, shared, &mut buffer, &io_counters).await;
        if datagrams.send(heard).await.is_err() {
            return;
        }
    }
}

fn rules(settings: &PeerSettings, id: PeerId, mesh_addr: SocketAddr, lan_port: Option<u16>) -> EngineConfig {
    EngineConfig {
        id,
        name: settings.name.clone(),
        listen: Some(PeerEndpoint::of(mesh_addr)),
        peers: settings.peers.clone(),
        max_connections: settings.max_connections,
        heartbeat_interval_ms: millis(settings.heartbeat_interval),
        heartbeat_timeout_ms: millis(settings.heartbeat_timeout),
        dedup_cache_size: settings.dedup_cache_size,
        history_size: settings.history_size,
        // Room is left for what is said meanwhile.
        history_batch_bytes: settings.message_buffer_size.saturating_mul(MAX_MESSAGE_BYTES) / 2,
        lan: lan_port.map(|port| lan_rules(settings, port)),
    }
}

fn lan_rules(settings: &PeerSettings, port: u16) -> LanConfig {
    let own_ips = socket::own_ips();
    let ip = own_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    LanConfig { user: LanUserId::new(&settings.name, ip), port, own_ips }
}

fn registry_task(
    settings: &PeerSettings,
    mesh_addr: SocketAddr,
    discovered: mpsc::Sender<Vec<PeerEndpoint>>,
    status_tx: watch::Sender<RegistryStatus>,
    io_counters: Arc<IoCounters>,
) -> Result<RegistryTask, StartError> {
    let client = Client::new(settings.registry.clone(), DEFAULT_PATIENCE)?;
    let user = Username::parse(settings.name.as_str())?;
    let ip = if mesh_addr.ip().is_unspecified() {
        registry_task::local_ip_towards(&settings.registry[0])
    } else {
        mesh_addr.ip()
    };
    let addr = Addr::new(SocketAddr::new(ip, mesh_addr.port())).expect("a bound port at an address of this machine");
    let password = settings.password.clone();
    if let Some(password) = &password {
        client.log_in_when_asked(user.clone(), password.clone());
    }
    Ok(RegistryTask { client, user, password, addr, discovered, status: status_tx, io_counters })
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the composition root: ids and ports are drawn here")]
fn random_id() -> u128 {
    rand::rng().random()
}

#[expect(clippy::disallowed_methods, reason = "this is the composition root: ids and ports are drawn here")]
fn random_port() -> u16 {
    rand::rng().random_range(socket::PEER_PORTS)
}
