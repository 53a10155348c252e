//! The two UDP sockets of the LAN: a port of this peer alone, at which it is answered, and the shared one, at which it hears
//! everybody.

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

/// Out of these a peer's own port is drawn.
pub(crate) const PEER_PORTS: RangeInclusive<u16> = 8000..=9999;

/// The sockets.
#[derive(Debug)]
pub(crate) struct LanSockets {
    own: Arc<UdpSocket>,
    shared: Option<Arc<UdpSocket>>,
    port: u16,
    io_counters: Arc<IoCounters>,
    /// See [`Self::bind`].
    targets: Vec<Ipv4Addr>,
}

/// What came in on either socket.
#[derive(Debug)]
pub(crate) struct ReceivedDatagram {
    pub(crate) from: SocketAddr,
    pub(crate) shared: bool,
    pub(crate) datagram: Datagram,
    pub(crate) dialect: Dialect,
}

impl LanSockets {
    /// Binds the first of `ports` that is free, and the shared port, without which a peer hears answers only.
    /// What is for all goes to the addresses `only`, or everywhere if there are none.
    pub(crate) fn bind(
        ports: impl Iterator<Item = u16>,
        targets: Vec<Ipv4Addr>,
        io_counters: Arc<IoCounters>,
    ) -> io::Result<Self> {
        let (own, port) = bind_own(ports)?;
        let shared = bind_shared().map(Arc::new).inspect_err(|error| {
            warn!("cannot hear announcements: UDP port {LAN_PORT} cannot be shared: {error}");
        });
        Ok(Self { own: Arc::new(own), shared: shared.ok(), port, targets, io_counters })
    }

    /// The port at which this peer is answered.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Each socket, and whether it is the shared one.
    pub(crate) fn receivers(&self) -> Vec<(Arc<UdpSocket>, bool)> {
        let shared = self.shared.iter().map(|socket| (Arc::clone(socket), true));
        [(Arc::clone(&self.own), false)].into_iter().chain(shared).collect()
    }

    /// Sends to everybody. That one way fails says nothing of the others: a machine without a network still has loopback.
    pub(crate) fn broadcast(&self, bytes: &[u8]) {
        for ip in broadcast_targets(&self.targets).into_keys() {
            self.send(SocketAddr::from((ip, LAN_PORT)), bytes);
        }
    }

    /// Sends to one address. A datagram may be lost anywhere, so it may be lost here.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        // Not through tokio: before its first look at a new socket it would not try.
        if let Err(error) = SockRef::from(&*self.own).send_to(bytes, &to.into()) {
            self.io_counters.datagram_send_errors.add(1);
            debug!(address = %to, reason = error.to_string(), "a datagram was not sent");
        }
    }
}

/// Waits for the next datagram that can be understood.
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
                    return ReceivedDatagram { from, shared, datagram, dialect };
                }
                io_counters.invalid_datagrams.add(1);
                debug!(address = %from, bytes = length, "what came is no datagram of a peer");
            }
            // That an earlier datagram could not be delivered.
            Err(error) => debug!("receiving: {error}"),
        }
    }
}

/// A buffer for the longest datagram.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; MAX_DATAGRAM_BYTES]
}

/// A socket at the first of `ports` that is free, and that port.
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

/// A socket at the shared port.
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

/// Where what is for all is sent, and the interfaces there: the addresses `only`, or everywhere if there are none.
pub(super) fn broadcast_targets(targets: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, Vec<String>> {
    let mut all = broadcast_addresses();
    if targets.is_empty() {
        return all;
    }
    targets.iter().map(|ip| (*ip, all.remove(ip).unwrap_or_default())).collect()
}

/// Where everybody on each network hears, and the interfaces there: the general broadcast address, that of each interface, and
/// this machine. Loopback has a broadcast address, too; to its plain one only one of several peers on this machine would hear.
fn broadcast_addresses() -> BTreeMap<Ipv4Addr, Vec<String>> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        debug!("cannot list the interfaces: {error}");
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

/// The addresses of this machine, those that others can reach first.
pub(crate) fn own_ips() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(IpAddr::is_ipv4).collect();
    ips.sort_by_key(IpAddr::is_loopback);
    ips
}
