//! One peer of the LAN: its address, its dialect, and its identity on the mesh.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::cross_transport::LanAnnouncement;
use super::known_profile::KnownProfile;
use super::limits::{LAN_PORT, MAX_RECENT_IDS};
use super::notice::Contact;
use crate::lan::{DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use rollcall_core::BootMs;

/// State of one LAN peer.
#[derive(Clone, Debug)]
pub(super) struct LanPeer {
    pub(super) addr: LanAddr,
    pub(super) last_seen_at: BootMs,
    pub(super) dialect: Dialect,
    /// Whether the peer claims an address that differs from the source of its datagrams.
    pub(super) is_mismatched: bool,
    pub(super) profile: Option<KnownProfile>,
    /// Whether the peer follows this peer.
    pub(super) is_follower: bool,
    /// The latest message ids of the peer, for deduplication.
    recent_ids: VecDeque<u64>,
    pub(super) mesh_identity: MeshIdentity,
}

/// The address to which messages for a peer are sent: the IP address of its datagrams, and the port
/// that it announced, or else the shared port. The source port is never used, because some programs
/// send from sockets on which they do not listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct LanAddr {
    pub(super) ip: IpAddr,
    pub(super) announced_port: Option<u16>,
}

impl LanAddr {
    pub(super) fn to_socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.announced_port.unwrap_or(LAN_PORT))
    }
}

/// The identity of a LAN peer on the mesh.
#[derive(Clone, Debug, Default)]
pub(super) struct MeshIdentity {
    /// The id of this peer on the mesh, if it is known.
    pub(super) peer: Option<PeerId>,
    /// The latest announcement of the LAN peer.
    pub(super) announcement: Option<LanAnnouncement>,
}

impl LanPeer {
    /// A peer whose first datagram came from `source`.
    pub(super) fn new(source: SocketAddr, dialect: Dialect, is_mismatched: bool, now: BootMs) -> Self {
        Self {
            addr: LanAddr { ip: source.ip(), announced_port: None },
            last_seen_at: now,
            dialect,
            is_mismatched,
            profile: None,
            is_follower: false,
            recent_ids: VecDeque::new(),
            mesh_identity: MeshIdentity::default(),
        }
    }

    /// Updates the state from a datagram: the time, the dialect, the mismatch flag and, if needed,
    /// the address.
    pub(super) fn refresh(
        &mut self,
        source: SocketAddr,
        body: &DatagramBody,
        dialect: Dialect,
        is_mismatched: bool,
        now: BootMs,
    ) {
        // Another program may send with the user id of this peer. It must not redirect messages for
        // a peer whose claimed address is valid.
        if is_mismatched && !self.is_mismatched {
            return;
        }
        self.last_seen_at = now;
        self.dialect = dialect;
        self.is_mismatched = is_mismatched;
        self.addr.ip = source.ip();
        if let DatagramBody::Discovery { port } = body {
            self.addr.announced_port = Some(*port);
        }
    }

    /// Records a message id. Returns whether it is new.
    pub(super) fn insert_id(&mut self, id: u64) -> bool {
        if self.recent_ids.contains(&id) {
            return false;
        }
        self.recent_ids.push_back(id);
        if self.recent_ids.len() > MAX_RECENT_IDS {
            self.recent_ids.pop_front();
        }
        true
    }

    /// The contact that is shown to the user.
    pub(super) fn contact(&self, user: &LanUserId) -> Contact {
        Contact::on_lan(user, self.profile.as_ref())
    }
}
