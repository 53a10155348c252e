//! Who has connected to the election port and not greeted yet: few at a time, and the oldest makes room for the newest.
//!
//! A member greets within a moment, so whoever has been here longest is most likely none. Waiting for a place instead
//! would let a few dozen silent connections keep the members out. The hosts of members have a room of their own, which
//! nobody on another host can fill.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::process::Peers;

/// How many of any host may stand at the door; each costs a socket and at most one Hello of memory.
const MAX_STRANGERS: usize = 32;

/// How many of the members' hosts; more, because a member's greeting must survive a flood from its own host.
const MAX_NEIGHBOURS: usize = 128;

/// The two rooms.
#[derive(Debug)]
pub(crate) struct Strangers {
    hosts: Vec<IpAddr>,
    neighbours: Arc<Room>,
    others: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Oldest first.
    places: VecDeque<(u64, CancellationToken)>,
    next: u64,
}

/// A place at the door, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    number: u64,
    /// Cancelled when the place is needed for somebody else.
    pub(crate) taken: CancellationToken,
    /// Whether somebody else had to go for this one.
    pub(crate) is_crowded: bool,
}

impl Strangers {
    pub(crate) fn new(peers: &Peers) -> Self {
        let room = |most| Arc::new(Room { most, waiting: Mutex::default() });
        let hosts = peers.addrs().iter().map(|node| node.socket_addr().ip()).collect();
        Self { hosts, neighbours: room(MAX_NEIGHBOURS), others: room(MAX_STRANGERS) }
    }

    /// Takes a place for a connection from `remote`.
    pub(crate) fn enter(&self, remote: SocketAddr) -> Place {
        let room = if self.hosts.contains(&remote.ip()) { &self.neighbours } else { &self.others };
        let mut waiting = room.waiting.lock().expect("never held across a panic");
        let oldest = if waiting.places.len() < room.most { None } else { waiting.places.pop_front() };
        if let Some((_, taken)) = &oldest {
            taken.cancel();
        }
        let (number, taken) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        waiting.places.push_back((number, taken.clone()));
        Place { room: Arc::clone(room), number, taken, is_crowded: oldest.is_some() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.room.waiting.lock().expect("never held across a panic");
        waiting.places.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_strangers_make_none_of_a_members_host() {
        let node = "10.0.0.1:8080".parse().unwrap();
        let strangers = Strangers::new(&Peers::new(vec![node], node).unwrap());
        let member = strangers.enter("10.0.0.1:50000".parse().unwrap());
        let mut places: Vec<Place> =
            (0..MAX_STRANGERS).map(|_| strangers.enter("10.0.0.9:1".parse().unwrap())).collect();
        assert!(places.iter().all(|place| !place.is_crowded && !place.taken.is_cancelled()));
        let newest = strangers.enter("10.0.0.9:1".parse().unwrap());
        assert!(newest.is_crowded && places[0].taken.is_cancelled() && !places[1].taken.is_cancelled());
        // One goes by itself, so there is room again.
        drop(places.remove(1));
        assert!(!strangers.enter("10.0.0.9:1".parse().unwrap()).is_crowded);
        assert!(!member.taken.is_cancelled());
    }
}
