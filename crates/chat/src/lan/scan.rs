//! A look around the LAN: asks everybody, listens for a while, and is gone.
//!
//! It asks for lists of peers, which peers answer and which is no announcement, so it is nobody whom they must keep in mind;
//! and it answers nothing, so that no answer can lead to another.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::datagram::{Datagram, DatagramBody};
use super::fields::Dialect;
use super::scan_result::{ProbedAddress, SCAN_NAME, ScanResult, SocketFailure, SocketFailureKind};
use super::socket::{self, ReceivedDatagram};
use crate::engine::LAN_PORT;
use crate::io_counters::IoCounters;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;

/// In which dialects it asks, and after how many hundredths of the time. Each peer hears a question once for each way to it,
/// and a peer of this program answers one machine 16 times before it slows down.
const ROUNDS: [(Dialect, u32); 3] = [(Dialect::Compact, 0), (Dialect::Spaced, 25), (Dialect::Compact, 50)];
/// The most addresses that are asked.
const MAX_ADDRESSES: usize = 64;

/// Looks around for this long, at the addresses `only`, or everywhere if there are none; ports for the answers are tried in
/// turn.
///
/// # Errors
/// What the system says if there is no port for the answers: then nothing can be asked.
pub(crate) async fn scan(
    wait: Duration,
    targets: &[Ipv4Addr],
    ports: impl Iterator<Item = u16>,
) -> io::Result<ScanResult> {
    let (own, port) = socket::bind_own(ports)?;
    let shared = socket::bind_shared();
    let own_ips = socket::own_ips();
    let ip = own_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let own_user = LanUserId::new(&Nickname::parse(SCAN_NAME).expect("the rule allows it"), ip);
    let mut scan = ScanResult::new(
        own_user,
        port,
        shared.as_ref().err().map(failure),
        own_ips,
        addresses(targets),
        targets.is_empty(),
    );

    let began = Instant::now();
    let mut rounds = ROUNDS.iter().map(|(dialect, hundredths)| (*dialect, began + wait * *hundredths / 100));
    let mut next = rounds.next();
    let (mut own_buffer, mut shared_buffer) = (socket::buffer(), socket::buffer());
    // Nobody asks for the numbers of a look around.
    let io_counters = IoCounters::default();
    loop {
        let due = next.map_or(began + wait, |(_, due)| due);
        let heard = tokio::select! {
            // First of all: whoever floods a port must not make the look around endless.
            biased;
            () = sleep_until(due) => None,
            heard = socket::receive(&own, false, &mut own_buffer, &io_counters) => Some(heard),
            heard = receive_if(shared.as_ref().ok(), &mut shared_buffer, &io_counters) => Some(heard),
        };
        if let Some(ReceivedDatagram { from, shared, datagram, dialect }) = heard {
            scan.record(from, shared, &datagram, dialect);
        } else if let Some((dialect, _)) = next {
            send_queries(&own, &mut scan, dialect);
            next = rounds.next();
        } else {
            return Ok(scan);
        }
    }
}

async fn receive_if(socket: Option<&UdpSocket>, buffer: &mut [u8], io_counters: &IoCounters) -> ReceivedDatagram {
    match socket {
        Some(socket) => socket::receive(socket, true, buffer, io_counters).await,
        None => std::future::pending().await,
    }
}

/// Asks everybody. Each address gets a question of its own number, which tells them apart when they are heard here.
fn send_queries(own: &UdpSocket, scan: &mut ScanResult, dialect: Dialect) {
    for (number, probed) in (0..).zip(&mut scan.probed) {
        let from = Some(scan.own_user.clone());
        let question = Datagram { from, id: Some(number), sent_at: 0, body: DatagramBody::ListRequest };
        let bytes = question.write(dialect).expect("it has a sender and is short");
        let sent = SockRef::from(own).send_to(&bytes, &SocketAddr::from((probed.to, LAN_PORT)).into());
        probed.failure = sent.err().as_ref().map(failure);
    }
}

fn addresses(targets: &[Ipv4Addr]) -> Vec<ProbedAddress> {
    let all = socket::broadcast_targets(targets).into_iter().take(MAX_ADDRESSES);
    all.map(|(to, interfaces)| ProbedAddress { to, interfaces, failure: None, was_heard: false }).collect()
}

fn failure(error: &io::Error) -> SocketFailure {
    let kind = match error.kind() {
        ErrorKind::AddrInUse => SocketFailureKind::InUse,
        ErrorKind::PermissionDenied => SocketFailureKind::Forbidden,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            SocketFailureKind::NoRoute
        }
        _ => SocketFailureKind::Other,
    };
    SocketFailure { kind, text: error.to_string() }
}
