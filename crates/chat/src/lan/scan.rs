//! LAN scan: sends list requests to all peers and collects the answers for a given time.
//!
//! Peers answer a list request without adding the sender to their own lists, so a scan leaves no
//! trace. The scan itself sends no answers, so it cannot cause a loop of answers.

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

/// Rounds of queries: the dialect, and the start as a percentage of the scan time. There are few
/// rounds, because a peer receives each query once per network path, and this program answers only
/// 16 queries of one machine in a burst.
const ROUNDS: [(Dialect, u32); 3] = [(Dialect::Compact, 0), (Dialect::Spaced, 25), (Dialect::Compact, 50)];
/// Largest number of addresses that are queried.
const MAX_ADDRESSES: usize = 64;

/// Scans for the time `wait`. Queries go to `targets`, or to every network if `targets` is empty.
/// Answers are received at the first free port of `ports`.
///
/// # Errors
/// The error of the last port if none of `ports` can be bound.
pub(crate) async fn scan(
    wait: Duration,
    targets: &[Ipv4Addr],
    ports: impl Iterator<Item = u16>,
) -> io::Result<ScanResult> {
    let (own, port) = socket::bind_own(ports)?;
    let shared = socket::bind_shared();
    let own_ips = socket::own_ips();
    let ip = own_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let own_user = LanUserId::new(&Nickname::parse(SCAN_NAME).expect("SCAN_NAME is a valid nickname"), ip);
    let mut scan = ScanResult::new(
        own_user,
        port,
        shared.as_ref().err().map(socket_failure),
        own_ips,
        addresses(targets),
        targets.is_empty(),
    );

    let started_at = Instant::now();
    let mut rounds = ROUNDS.iter().map(|(dialect, percent)| (*dialect, started_at + wait * *percent / 100));
    let mut next = rounds.next();
    let (mut own_buffer, mut shared_buffer) = (socket::buffer(), socket::buffer());
    // A scan reports no metrics, so nothing reads these counters.
    let io_counters = IoCounters::default();
    loop {
        let due = next.map_or(started_at + wait, |(_, due)| due);
        let heard = tokio::select! {
            // The timer comes first, so that a flood of datagrams cannot extend the scan.
            biased;
            () = sleep_until(due) => None,
            heard = socket::receive(&own, false, &mut own_buffer, &io_counters) => Some(heard),
            heard = receive_if_bound(shared.as_ref().ok(), &mut shared_buffer, &io_counters) => Some(heard),
        };
        if let Some(ReceivedDatagram { from, shared, datagram, dialect, .. }) = heard {
            scan.record(from, shared, &datagram, dialect);
        } else if let Some((dialect, _)) = next {
            send_queries(&own, &mut scan, dialect);
            next = rounds.next();
        } else {
            return Ok(scan);
        }
    }
}

async fn receive_if_bound(socket: Option<&UdpSocket>, buffer: &mut [u8], io_counters: &IoCounters) -> ReceivedDatagram {
    match socket {
        Some(socket) => socket::receive(socket, true, buffer, io_counters).await,
        None => std::future::pending().await,
    }
}

/// Sends one query to each address. The message id is the index of the address. So a query that
/// returns to this machine shows to which address it was sent.
fn send_queries(own: &UdpSocket, scan: &mut ScanResult, dialect: Dialect) {
    for (number, probed) in (0..).zip(&mut scan.probed) {
        let from = Some(scan.own_user.clone());
        let question = Datagram { from, id: Some(number), sent_at: 0, body: DatagramBody::ListRequest };
        let bytes = question.write(dialect).expect("the query has a sender and is short");
        let sent = SockRef::from(own).send_to(&bytes, &SocketAddr::from((probed.to, LAN_PORT)).into());
        probed.failure = sent.err().as_ref().map(socket_failure);
    }
}

fn addresses(targets: &[Ipv4Addr]) -> Vec<ProbedAddress> {
    let all = socket::broadcast_targets(targets).into_iter().take(MAX_ADDRESSES);
    all.map(|(to, interfaces)| ProbedAddress { to, interfaces, failure: None, was_heard: false }).collect()
}

fn socket_failure(error: &io::Error) -> SocketFailure {
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
