//! The program at the other end of the registry: peers that find each other on the LAN, through the registry or by
//! address, and talk to each other directly.
//!
//! [`engine`] decides, purely; [`mesh`] and [`lan`] know the bytes and sockets of the two links; [`screen`] what a person
//! types and sees. [`Peer`] puts them together.

pub mod engine;
pub mod lan;
pub mod mesh;
pub mod screen;
pub mod settings;

mod archive;
mod driver;
mod endpoint;
mod metrics;
mod narrator;
mod nickname;
mod outboxes;
mod peer_id;
mod profile;
mod registry;
mod tallies;
mod text;
mod user_id;

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

use rollcall_client::{Client, ClientError, DEFAULT_RETRY_TIMEOUT};
use rollcall_core::{Addr, InvalidUsername, Username};

pub use driver::Ask;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use metrics::{Drops, Measures};
pub use nickname::{InvalidNickname, Nickname};
pub use peer_id::{InvalidPeerId, PEER_ID_DIGITS, PeerId};
pub use profile::{Avatar, InvalidAvatar, MAX_AVATAR_BYTES, Profile};
pub use text::MAX_TEXT_BYTES;
pub use user_id::UserId;

use archive::Archive;
use driver::{Driver, Inputs};
use engine::{Engine, LanRules, Notice, Rules};
use lan::seen::Seen;
use lan::socket::{self, Heard, Sockets};
use mesh::MAX_MESSAGE_BYTES;
use mesh::network::Network;
use metrics::{Facts, Reporter};
use outboxes::Outboxes;
use registry::{Registrant, Standing};
use settings::Settings;
use tallies::Tallies;

/// What waits to be decided on; readers of sockets wait when it is full.
const NEWS: usize = 1024;
/// Things that are told and not shown yet; with more, some are not shown.
const NOTICES: usize = 64 * 1024;
/// Wishes of the person that are not carried out yet.
const ASKS: usize = 256;
/// So many ports are tried before a peer gives up to find one for the LAN.
const MOST_PORTS: usize = 64;

/// A running peer.
pub struct Peer {
    id: PeerId,
    listens_at: SocketAddr,
    lan_port: Option<u16>,
    metrics_at: Option<SocketAddr>,
    asks: mpsc::Sender<Ask>,
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
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let fresh = PeerId(draw());
        let (id, kept, log) = match &settings.dir {
            Some(dir) => {
                let cannot = |cause| StartError::Dir { dir: dir.display().to_string(), cause };
                let archive = Archive::open(dir, fresh, settings.history_size).map_err(cannot)?;
                (archive.id, archive.kept, Some(archive.log))
            }
            None => (fresh, Vec::new(), None),
        };
        let cannot = |cause| StartError::Listen { addr: settings.listen_addr.clone(), cause };
        let listener = TcpListener::bind(&settings.listen_addr).await.map_err(cannot)?;
        let listens_at = listener.local_addr().map_err(cannot)?;
        let metrics = match &settings.metrics_addr {
            Some(addr) => Some(bind_metrics(addr).await?),
            None => None,
        };
        let tallies = Arc::new(Tallies::default());
        let sockets = if settings.lan { Some(bind_lan(&settings, &tallies)?) } else { None };
        let lan_port = sockets.as_ref().map(Sockets::port);
        let rules = rules(&settings, id, listens_at, lan_port);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (news_in, news) = mpsc::channel(NEWS);
        let (datagrams_in, datagrams) = mpsc::channel(NEWS);
        let (found_in, found) = mpsc::channel(1);
        let (asks_in, asks) = mpsc::channel(ASKS);
        let (notices_in, notices) = mpsc::channel(NOTICES);
        for (receiver, shared) in sockets.iter().flat_map(Sockets::receivers) {
            let received = receive(receiver, shared, datagrams_in.clone(), Arc::clone(&tallies));
            tasks.spawn(stop.clone().run_until_cancelled_owned(received));
        }
        let (standing, stands) = watch::channel(Standing::UNASKED);
        if !settings.registry.is_empty() {
            let registrant = registrant(&settings, listens_at, found_in, standing, Arc::clone(&tallies))?;
            tasks.spawn(stop.clone().run_until_cancelled_owned(registrant.run()));
        }
        let network = Network {
            me: id,
            connect_timeout: settings.connect_timeout,
            queue_messages: settings.message_buffer_size,
            news: news_in,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            next_link: Arc::new(AtomicU64::new(0)),
            tallies: Arc::clone(&tallies),
        };
        network.listen(listener);
        let engine = Engine::new(rules, kept, driver::now());
        let driver = Driver {
            engine,
            network,
            sockets,
            log,
            notices: notices_in,
            outboxes: Outboxes::default(),
            drops: Drops::default(),
            complained: false,
        };
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let inputs = Inputs { news, datagrams, found, asks, stop: stop.clone() };
        tasks.spawn(async move {
            let _end = end;
            driver.run(inputs).await;
        });
        let mut metrics_at = None;
        if let Some((listener, addr)) = metrics {
            metrics_at = Some(addr);
            let facts = Facts {
                id,
                name: settings.name,
                max_connections: settings.max_connections,
                lan_port,
                registry: (!settings.registry.is_empty()).then_some(stands),
                tallies,
                started_at: driver::now().boot,
            };
            let reporter = Reporter { facts, asks: asks_in.clone(), stop: stop.clone() };
            tasks.spawn(metrics::serve(listener, reporter, ended));
        }
        tasks.close();
        Ok(Self { id, listens_at, lan_port, metrics_at, asks: asks_in, notices, stop, tasks })
    }

    /// Who this peer is.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where it listens for the mesh.
    #[must_use]
    pub fn listens_at(&self) -> SocketAddr {
        self.listens_at
    }

    /// The port at which it is answered on the LAN.
    #[must_use]
    pub fn lan_port(&self) -> Option<u16> {
        self.lan_port
    }

    /// Where it serves its health and its metrics.
    #[must_use]
    pub fn metrics_at(&self) -> Option<SocketAddr> {
        self.metrics_at
    }

    /// Where wishes go.
    #[must_use]
    pub fn asks(&self) -> mpsc::Sender<Ask> {
        self.asks.clone()
    }

    /// What is to be told; waits until there is something, and adds at most `most`.
    pub async fn notices(&mut self, told: &mut Vec<Notice>, most: usize) -> usize {
        self.notices.recv_many(told, most).await
    }

    /// What is to be told already.
    pub fn try_notice(&mut self) -> Option<Notice> {
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
pub async fn scan(wait: Duration, only: &[Ipv4Addr]) -> io::Result<Seen> {
    lan::scan(wait, only, draw_ports()).await
}

fn draw_ports() -> impl Iterator<Item = u16> {
    std::iter::repeat_with(draw_port).take(MOST_PORTS)
}

fn bind_lan(settings: &Settings, tallies: &Arc<Tallies>) -> Result<Sockets, StartError> {
    Sockets::bind(draw_ports(), settings.lan_addresses.clone(), Arc::clone(tallies)).map_err(StartError::Lan)
}

async fn receive(
    receiver: Arc<tokio::net::UdpSocket>,
    shared: bool,
    datagrams: mpsc::Sender<Heard>,
    tallies: Arc<Tallies>,
) {
    let mut buffer = socket::buffer();
    loop {
        let heard = socket::receive(&receiver, shared, &mut buffer, &tallies).await;
        if datagrams.send(heard).await.is_err() {
            return;
        }
    }
}

fn rules(settings: &Settings, id: PeerId, listens_at: SocketAddr, lan_port: Option<u16>) -> Rules {
    Rules {
        id,
        name: settings.name.clone(),
        listen: Some(Endpoint::of(listens_at)),
        peers: settings.peers.clone(),
        max_connections: settings.max_connections,
        heartbeat_interval_ms: millis(settings.heartbeat_interval),
        heartbeat_timeout_ms: millis(settings.heartbeat_timeout),
        dedup_cache_size: settings.dedup_cache_size,
        history_size: settings.history_size,
        // Room is left for what is said meanwhile.
        answer_bytes: settings.message_buffer_size.saturating_mul(MAX_MESSAGE_BYTES) / 2,
        lan: lan_port.map(|port| lan_rules(settings, port)),
    }
}

fn lan_rules(settings: &Settings, port: u16) -> LanRules {
    let own_ips = socket::own_ips();
    let ip = own_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    LanRules { user: UserId::new(&settings.name, ip), port, own_ips }
}

fn registrant(
    settings: &Settings,
    listens_at: SocketAddr,
    found: mpsc::Sender<Vec<Endpoint>>,
    standing: watch::Sender<Standing>,
    tallies: Arc<Tallies>,
) -> Result<Registrant, StartError> {
    let client = Client::new(settings.registry.clone(), DEFAULT_RETRY_TIMEOUT)?;
    let user = Username::parse(settings.name.as_str())?;
    let ip = if listens_at.ip().is_unspecified() {
        registry::address_towards(&settings.registry[0])
    } else {
        listens_at.ip()
    };
    let addr = Addr::new(SocketAddr::new(ip, listens_at.port())).expect("a bound port at an address of this machine");
    let password = settings.password.clone();
    if let Some(password) = &password {
        client.log_in_on_demand(user.clone(), password.clone());
    }
    Ok(Registrant { client, user, password, addr, found, standing, tallies })
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the composition root: ids and ports are drawn here")]
fn draw() -> u128 {
    rand::rng().random()
}

#[expect(clippy::disallowed_methods, reason = "this is the composition root: ids and ports are drawn here")]
fn draw_port() -> u16 {
    rand::rng().random_range(socket::OWN_PORTS)
}
