//! Serverless chat peer: peers find each other on the LAN, through the registry or by address, and
//! exchange messages directly.
//!
//! [`engine`] is a pure state machine that makes all decisions. [`mesh`] (TCP) and [`lan`] (UDP)
//! have the codecs and the sockets of the two transports. [`console`] parses typed lines and
//! formats output. [`Peer`] wires them together.

pub mod console;
pub mod engine;
pub mod lan;
pub mod mesh;
pub mod settings;

mod byte_budget;
mod data_dir;
mod driver;
mod endpoint;
mod event_log;
mod io_counters;
mod lan_user_id;
mod metrics;
mod nickname;
mod notice_queue;
mod peer_id;
mod profile;
mod registry_host;
mod registry_task;
mod send_queues;
mod text;

use std::collections::BTreeMap;
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

use rollcall_client::{Client, ClientError, DEFAULT_RETRY_TIMEOUT, InvalidAuthorities, TrustedAuthorities};
use rollcall_core::{Addr, InvalidUsername, Username};

pub use driver::PeerRequest;
pub use endpoint::{InvalidEndpoint, PeerEndpoint};
pub use lan_user_id::LanUserId;
pub use metrics::{DropCounters, PeerStats};
pub use nickname::{InvalidNickname, Nickname};
pub use peer_id::{InvalidPeerId, PEER_ID_DIGITS, PeerId};
pub use profile::{Avatar, InvalidAvatar, MAX_AVATAR_BYTES, PeerProfile};
pub use text::MAX_TEXT_BYTES;

use byte_budget::{ByteBudget, HeldBytes};
use data_dir::DataDir;
use driver::{Inputs, PeerDriver};
use engine::{Engine, EngineConfig, LanConfig, Notice};
use io_counters::IoCounters;
use lan::scan_result::ScanResult;
use lan::socket::{self, LanSockets, ReceivedDatagram};
use mesh::MAX_MESSAGE_BYTES;
use mesh::connection_event::EventSender;
use mesh::network::MeshNetwork;
use metrics::{MetricsServer, StaticInfo};
use notice_queue::{NoticeReceiver, notice_queue};
use registry_task::{RegistryStatus, RegistryTask};
use send_queues::SendQueues;
use settings::PeerSettings;

/// Capacity of the queue of received datagrams. When it is full, the tasks that read the sockets
/// wait.
const DATAGRAM_QUEUE: usize = 1024;
/// Capacity of the queue of received datagrams, in bytes.
const DATAGRAM_QUEUE_BYTES: u32 = 2 * 1024 * 1024;
/// Approximate memory of a parsed datagram without its texts, in bytes.
const DATAGRAM_OVERHEAD_BYTES: usize = 512;
/// Capacity of the queue of [`PeerRequest`]s.
const REQUEST_QUEUE: usize = 256;
/// Number of random LAN ports that are tried before [`Peer::start`] or [`scan`] fails.
const MAX_PORT_ATTEMPTS: usize = 64;

/// Handle to a running chat peer. The peer runs until [`Peer::stop`].
pub struct Peer {
    id: PeerId,
    mesh_addr: SocketAddr,
    lan_port: Option<u16>,
    metrics_addr: Option<SocketAddr>,
    requests: mpsc::Sender<PeerRequest>,
    notices: NoticeReceiver,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Error of [`Peer::start`]; its text is one line.
#[derive(Debug, Error)]
pub enum StartError {
    /// The TCP port of the mesh cannot be bound.
    #[error("cannot listen at {addr}: {cause}; choose another with --listen host:port")]
    Listen {
        /// The address in the settings.
        addr: String,
        /// Error of the system.
        cause: io::Error,
    },
    /// The TCP port for `/healthz` and `/metrics` cannot be bound.
    #[error("cannot serve metrics at {addr}: {cause}; choose another address with --metrics host:port")]
    Metrics {
        /// The address in the settings.
        addr: String,
        /// Error of the system.
        cause: io::Error,
    },
    /// No UDP port for the LAN can be bound.
    #[error("cannot bind a UDP port of 8000 to 9999: {0}; use --no-lan to start without the LAN")]
    Lan(io::Error),
    /// The data directory cannot be used.
    #[error("cannot use the directory {dir}: {cause}")]
    Dir {
        /// The directory in the settings.
        dir: String,
        /// Error of the system.
        cause: io::Error,
    },
    /// The name is valid in the chat, but not at the registry, whose rule is stricter.
    #[error("the registry does not accept this name: {0}")]
    Name(#[from] InvalidUsername),
    /// The HTTP client for the registry cannot be created.
    #[error(transparent)]
    Registry(#[from] ClientError),
    /// The file with the authorities of the registry's nodes cannot be used.
    #[error(transparent)]
    RegistryCa(#[from] InvalidAuthorities),
}

impl Peer {
    /// Binds the sockets, opens the data directory and starts the tasks of the peer.
    ///
    /// # Errors
    /// [`StartError`] if a socket, the directory or the registry client that the settings require
    /// is not available.
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
        let engine_config = engine_config(&settings, id, mesh_addr, lan_port);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (event_tx, connection_events) = EventSender::channel();
        let (datagram_tx, datagrams) = mpsc::channel(DATAGRAM_QUEUE);
        let datagram_budget = ByteBudget::new(DATAGRAM_QUEUE_BYTES);
        let (discovered_tx, discovered) = mpsc::channel(1);
        let (request_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let (notice_tx, notices) = notice_queue();
        for (receiver, shared) in sockets.iter().flat_map(LanSockets::receivers) {
            let (datagram_tx, io_counters) = (datagram_tx.clone(), Arc::clone(&io_counters));
            let forwarding = forward_datagrams(receiver, shared, datagram_tx, datagram_budget.clone(), io_counters);
            tasks.spawn(stop.clone().run_until_cancelled_owned(forwarding));
        }
        let (status_tx, registry_status) = watch::channel(RegistryStatus::NOT_ASKED);
        if !settings.registry.is_empty() {
            let registry_task =
                registry_task(&settings, mesh_addr, discovered_tx, status_tx, Arc::clone(&io_counters))?;
            tasks.spawn(stop.clone().run_until_cancelled_owned(registry_task.run()));
        }
        let network = MeshNetwork {
            own_id: id,
            connect_timeout: settings.connect_timeout,
            queue_messages: settings.message_buffer_size,
            events: event_tx,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            next_link: Arc::new(AtomicU64::new(0)),
            io_counters: Arc::clone(&io_counters),
        };
        network.listen(listener, settings.max_connections);
        let engine = Engine::new(engine_config, history, driver::now());
        let driver = PeerDriver {
            engine,
            network,
            sockets,
            log,
            notices: notice_tx,
            queues: SendQueues::default(),
            greeted_dials: BTreeMap::new(),
            drops: DropCounters::default(),
            has_warned_of_dropped_notices: false,
        };
        // Cancelled when the driver ends, even by a panic. Until then the metrics server runs.
        let driver_ended = CancellationToken::new();
        let driver_guard = driver_ended.clone().drop_guard();
        let inputs = Inputs { connection_events, datagrams, discovered, requests, stop: stop.clone() };
        tasks.spawn(async move {
            let _driver_guard = driver_guard;
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
            tasks.spawn(metrics::serve(listener, metrics_server, driver_ended));
        }
        tasks.close();
        Ok(Self { id, mesh_addr, lan_port, metrics_addr, requests: request_tx, notices, stop, tasks })
    }

    /// The id of this peer.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The TCP address at which the peer listens for mesh connections.
    #[must_use]
    pub fn mesh_addr(&self) -> SocketAddr {
        self.mesh_addr
    }

    /// The UDP port of this peer on the LAN; `None` if it takes no part in the LAN.
    #[must_use]
    pub fn lan_port(&self) -> Option<u16> {
        self.lan_port
    }

    /// The address of `/healthz` and `/metrics`; `None` if they are not served.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// The channel for requests to the peer.
    #[must_use]
    pub fn requests(&self) -> mpsc::Sender<PeerRequest> {
        self.requests.clone()
    }

    /// Waits for notices and appends at most `max` of them to `buffer`. Returns the number
    /// appended; 0 if the peer has ended.
    pub async fn notices(&mut self, buffer: &mut Vec<Notice>, max: usize) -> usize {
        self.notices.recv_many(buffer, max).await
    }

    /// Returns the next notice if there is one in the queue.
    pub fn try_recv_notice(&mut self) -> Option<Notice> {
        self.notices.try_recv()
    }

    /// Sends the messages in the queues, closes all links and waits until the tasks have ended. The
    /// notices can be read meanwhile.
    pub fn stop(&self) -> impl Future<Output = ()> + Send + use<> {
        self.stop.cancel();
        let tasks = self.tasks.clone();
        async move { tasks.wait().await }
    }
}

async fn bind_metrics(addr: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = async {
        let listener = TcpListener::bind(addr).await?;
        let bound_at = listener.local_addr()?;
        Ok((listener, bound_at))
    };
    bind.await.map_err(|cause| StartError::Metrics { addr: addr.to_owned(), cause })
}

/// Sends list requests to the LAN and collects the answers for the time `wait`. Peers do not add
/// the sender to their own lists.
///
/// The requests go to `targets`, or to every network of this machine if `targets` is empty.
///
/// # Errors
/// The error of the system if no UDP port for the answers can be bound.
pub async fn scan(wait: Duration, targets: &[Ipv4Addr]) -> io::Result<ScanResult> {
    lan::scan(wait, targets, random_ports()).await
}

fn random_ports() -> impl Iterator<Item = u16> {
    std::iter::repeat_with(random_port).take(MAX_PORT_ATTEMPTS)
}

fn bind_lan(settings: &PeerSettings, io_counters: &Arc<IoCounters>) -> Result<LanSockets, StartError> {
    LanSockets::bind(random_ports(), settings.lan_addresses.clone(), Arc::clone(io_counters)).map_err(StartError::Lan)
}

async fn forward_datagrams(
    receiver: Arc<tokio::net::UdpSocket>,
    shared: bool,
    datagrams: mpsc::Sender<(ReceivedDatagram, HeldBytes)>,
    budget: ByteBudget,
    io_counters: Arc<IoCounters>,
) {
    let mut buffer = socket::buffer();
    loop {
        let incoming = socket::receive(&receiver, shared, &mut buffer, &io_counters).await;
        let held = budget.take(incoming.length + DATAGRAM_OVERHEAD_BYTES).await;
        if datagrams.send((incoming, held)).await.is_err() {
            return;
        }
    }
}

fn engine_config(settings: &PeerSettings, id: PeerId, mesh_addr: SocketAddr, lan_port: Option<u16>) -> EngineConfig {
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
        // Half of the send queue stays free for new messages.
        history_batch_bytes: settings.message_buffer_size.saturating_mul(MAX_MESSAGE_BYTES) / 2,
        lan: lan_port.map(|port| lan_config(settings, port)),
    }
}

fn lan_config(settings: &PeerSettings, port: u16) -> LanConfig {
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
    let authorities = match &settings.registry_ca {
        Some(path) => TrustedAuthorities::from_pem_file(path)?,
        None => TrustedAuthorities::default(),
    };
    let client = Client::trusting(settings.registry.clone(), DEFAULT_RETRY_TIMEOUT, &authorities)?;
    let user = Username::parse(settings.name.as_str())?;
    let ip = if mesh_addr.ip().is_unspecified() {
        registry_host::local_ip_towards(&settings.registry[0])
    } else {
        mesh_addr.ip()
    };
    let addr = Addr::new(SocketAddr::new(ip, mesh_addr.port())).expect("a bound port at an address of this machine");
    let password = settings.password.clone();
    if let Some(password) = &password {
        client.log_in_on_demand(user.clone(), password.clone());
    }
    Ok(RegistryTask { client, user, password, addr, discovered, status: status_tx, io_counters })
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the composition root: the id of a new peer is random")]
fn random_id() -> u128 {
    rand::rng().random()
}

#[expect(clippy::disallowed_methods, reason = "the composition root: the LAN port is random")]
fn random_port() -> u16 {
    rand::rng().random_range(socket::PEER_PORTS)
}
