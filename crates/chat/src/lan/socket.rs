//! The two UDP sockets of the LAN transport: one on a port of this peer alone, for answers; one on
//! the port that all peers share, for announcements and posts.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tracing::{debug, warn};

use super::datagram::{Datagram, MAX_DATAGRAM_BYTES};
use super::fields::Dialect;
use crate::engine::LAN_PORT;
use crate::io_counters::IoCounters;

/// Range from which a peer chooses its own port at random (requirement 002).
pub(crate) const PEER_PORTS: RangeInclusive<u16> = 8000..=9999;

/// The two sockets of a peer. `shared` is `None` if the shared port could not be bound.
#[derive(Debug)]
pub(crate) struct LanSockets {
    own: Arc<UdpSocket>,
    shared: Option<Arc<UdpSocket>>,
    port: u16,
    io_counters: Arc<IoCounters>,
    /// Destinations of broadcasts, see [`Self::bind`].
    targets: Vec<Ipv4Addr>,
}

/// Received datagram, with its source and its length. `shared` is true if it arrived at the shared
/// port.
#[derive(Debug)]
pub(crate) struct ReceivedDatagram {
    pub(crate) from: SocketAddr,
    pub(crate) shared: bool,
    pub(crate) datagram: Datagram,
    pub(crate) dialect: Dialect,
    pub(crate) length: usize,
}

impl LanSockets {
    /// Binds the first free port of `ports`, and the shared port. If the shared port cannot be
    /// bound, the peer receives only answers. Broadcasts go to `targets`, or to every network if
    /// `targets` is empty.
    ///
    /// # Errors
    /// The error of the last port if none of `ports` can be bound.
    pub(crate) fn bind(
        ports: impl Iterator<Item = u16>,
        targets: Vec<Ipv4Addr>,
        io_counters: Arc<IoCounters>,
    ) -> io::Result<Self> {
        let (own, port) = bind_own(ports)?;
        let shared = bind_shared().map(Arc::new).inspect_err(|error| {
            warn!(port = LAN_PORT, %error, "cannot bind the shared UDP port: announcements are not received");
        });
        Ok(Self { own: Arc::new(own), shared: shared.ok(), port, targets, io_counters })
    }

    /// The own port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The sockets to receive from. The flag is true for the shared one.
    pub(crate) fn receivers(&self) -> Vec<(Arc<UdpSocket>, bool)> {
        let shared = self.shared.iter().map(|socket| (Arc::clone(socket), true));
        [(Arc::clone(&self.own), false)].into_iter().chain(shared).collect()
    }

    /// Sends to all peers. After an error at one destination, the others are still tried: without a
    /// network, the loopback addresses still work.
    pub(crate) fn broadcast(&self, bytes: &[u8]) {
        for ip in broadcast_targets(&self.targets).into_keys() {
            self.send(SocketAddr::from((ip, LAN_PORT)), bytes);
        }
    }

    /// Sends to one address. Callers expect that UDP loses datagrams, so an error is only counted
    /// and logged.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        // Sends without tokio, because tokio sends nothing on a new socket before it has polled the
        // socket once.
        if let Err(error) = SockRef::from(&*self.own).send_to(bytes, &to.into()) {
            self.io_counters.datagram_send_errors.add(1);
            debug!(address = %to, reason = error.to_string(), "cannot send a datagram");
        }
    }
}

/// Waits for the next valid datagram. Invalid ones are counted and dropped.
pub(crate) async fn receive(
    socket: &UdpSocket,
    shared: bool,
    buffer: &mut [u8],
    io_counters: &IoCounters,
) -> ReceivedDatagram {
    loop {
        match socket.recv_from(buffer).await {
            Ok((length, from)) => {
                if let Some((datagram, dialect)) = Datagram::read(&buffer[..length]) {
                    return ReceivedDatagram { from, shared, datagram, dialect, length };
                }
                io_counters.invalid_datagrams.add(1);
                debug!(address = %from, bytes = length, "received an invalid datagram");
            }
            // Such an error is usually about an earlier datagram that could not be delivered
            // (ICMP).
            Err(error) => debug!(%error, "cannot receive a datagram"),
        }
    }
}

/// Creates a receive buffer that holds the longest datagram.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; MAX_DATAGRAM_BYTES]
}

/// Binds the first free port of `ports`. Returns the socket and the port.
pub(super) fn bind_own(ports: impl Iterator<Item = u16>) -> io::Result<(UdpSocket, u16)> {
    let mut last_error = io::Error::other("no port was tried");
    for port in ports {
        match bind_port(port, false) {
            Ok(own) => return Ok((own, port)),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Binds the shared port.
pub(super) fn bind_shared() -> io::Result<UdpSocket> {
    bind_port(LAN_PORT, true)
}

fn bind_port(port: u16, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    if shared {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    UdpSocket::from_std(socket.into())
}

/// Destinations of broadcasts, each with the names of its interfaces. These are `targets`, or every
/// network if `targets` is empty.
pub(super) fn broadcast_targets(targets: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, Vec<String>> {
    let mut all = broadcast_addresses();
    if targets.is_empty() {
        return all;
    }
    targets.iter().map(|ip| (*ip, all.remove(ip).unwrap_or_default())).collect()
}

/// Broadcast addresses of this machine, each with the names of its interfaces: 255.255.255.255, the
/// broadcast address of each interface, and 127.0.0.1. The broadcast address of the loopback
/// interface reaches all peers on this machine; 127.0.0.1 reaches only one of them.
fn broadcast_addresses() -> BTreeMap<Ipv4Addr, Vec<String>> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        debug!(%error, "cannot list the network interfaces");
        Vec::new()
    });
    let mut addresses = BTreeMap::from([Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST].map(|ip| (ip, Vec::new())));
    for interface in interfaces {
        if let if_addrs::IfAddr::V4(addr) = interface.addr
            && addr.netmask != Ipv4Addr::BROADCAST
        {
            let ip = Ipv4Addr::from(u32::from(addr.ip) | !u32::from(addr.netmask));
            addresses.entry(ip).or_default().push(interface.name);
        }
    }
    addresses
}

/// All addresses of this machine.
pub(crate) fn all_own_ips() -> Vec<IpAddr> {
    if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect()
}

/// IPv4 addresses of this machine, loopback last.
pub(crate) fn own_ips() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(IpAddr::is_ipv4).collect();
    ips.sort_by_key(IpAddr::is_loopback);
    ips
}
