//! Accepted connections whose handshake is not complete. Their number is limited: when all slots
//! are used, a new connection evicts the oldest one.
//!
//! A member completes the handshake within moments, so the oldest connection is most likely not a
//! member. If new connections had to wait for a free slot, a few dozen silent connections could
//! keep all members out. Connections from the hosts of members have their own slots, which no other
//! host can fill.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::process::Peers;

/// Largest number of pending connections from hosts of non-members. Each costs a socket and the
/// memory of one Hello.
const MAX_PENDING_FOREIGN: usize = 32;

/// Largest number of pending connections from the members' hosts. It is larger, because a member
/// must be admitted although programs on its own host hold connections.
const MAX_PENDING_MEMBER_HOSTS: usize = 128;

/// Limit on pending connections, with separate slots for the members' hosts.
///
/// Invariant: a pool never holds more slots than its capacity.
#[derive(Debug)]
pub(crate) struct PendingConnections {
    member_addrs: Vec<IpAddr>,
    member_hosts: Arc<SlotPool>,
    foreign_hosts: Arc<SlotPool>,
}

#[derive(Debug)]
struct SlotPool {
    capacity: usize,
    pending: Mutex<PendingSlots>,
}

#[derive(Debug, Default)]
struct PendingSlots {
    /// Slots in order of age, the oldest first.
    slots: VecDeque<(u64, CancellationToken)>,
    /// Number of the next slot.
    next_number: u64,
}

/// Slot of one pending connection. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct PendingSlot {
    pool: Arc<SlotPool>,
    number: u64,
    /// Cancelled when a newer connection needs the slot.
    pub(crate) evicted: CancellationToken,
    /// Whether this connection evicted another one.
    pub(crate) evicted_another: bool,
}

impl PendingConnections {
    pub(crate) fn new(peers: &Peers) -> Self {
        let pool = |capacity| Arc::new(SlotPool { capacity, pending: Mutex::default() });
        let member_addrs = peers.addrs().iter().map(|node| node.socket_addr().ip()).collect();
        Self { member_addrs, member_hosts: pool(MAX_PENDING_MEMBER_HOSTS), foreign_hosts: pool(MAX_PENDING_FOREIGN) }
    }

    /// Takes a slot for a connection from `remote`. A full pool evicts its oldest connection.
    pub(crate) fn admit(&self, remote: SocketAddr) -> PendingSlot {
        let pool = if self.member_addrs.contains(&remote.ip()) { &self.member_hosts } else { &self.foreign_hosts };
        let mut pending = pool.pending.lock().expect("never held across a panic");
        let oldest = if pending.slots.len() < pool.capacity { None } else { pending.slots.pop_front() };
        if let Some((_, evicted)) = &oldest {
            evicted.cancel();
        }
        let (number, evicted) = (pending.next_number, CancellationToken::new());
        pending.next_number += 1;
        pending.slots.push_back((number, evicted.clone()));
        PendingSlot { pool: Arc::clone(pool), number, evicted, evicted_another: oldest.is_some() }
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        let mut pending = self.pool.pending.lock().expect("never held across a panic");
        pending.slots.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connection_is_evicted_but_never_that_of_a_member_by_a_foreign_host() {
        let node = "10.0.0.1:8080".parse().unwrap();
        let pending_connections = PendingConnections::new(&Peers::new(vec![node], node).unwrap());
        let member = pending_connections.admit("10.0.0.1:50000".parse().unwrap());
        let mut slots: Vec<PendingSlot> =
            (0..MAX_PENDING_FOREIGN).map(|_| pending_connections.admit("10.0.0.9:1".parse().unwrap())).collect();
        assert!(slots.iter().all(|slot| !slot.evicted_another && !slot.evicted.is_cancelled()));
        let newest = pending_connections.admit("10.0.0.9:1".parse().unwrap());
        assert!(newest.evicted_another && slots[0].evicted.is_cancelled() && !slots[1].evicted.is_cancelled());
        // One connection ends by itself, so there is a free slot again.
        drop(slots.remove(1));
        assert!(!pending_connections.admit("10.0.0.9:1".parse().unwrap()).evicted_another);
        assert!(!member.evicted.is_cancelled());
    }
}
