//! One peer of the LAN: where it is answered, in which dialect, and which peer of the mesh it is.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::cross_transport::Announced;
use super::notice::Contact;
use super::rules::LAN_REMEMBERED;
use crate::lan::{DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use rollcall_core::BootMs;

/// One peer of the LAN.
#[derive(Clone, Debug)]
pub(super) struct LanPeer {
    /// Where it is answered.
    pub(super) addr: SocketAddr,
    /// Whether it told its port.
    pub(super) told_port: bool,
    pub(super) heard_at: BootMs,
    pub(super) dialect: Dialect,
    /// Whether it claims an address that it does not write from.
    pub(super) is_mismatched: bool,
    pub(super) profile: Option<PeerProfile>,
    /// The latest numbers of its messages.
    remembered: VecDeque<u64>,
    pub(super) on_mesh: OnMesh,
}

/// Who a peer of the LAN is on the mesh.
#[derive(Clone, Debug, Default)]
pub(super) struct OnMesh {
    /// The peer of the mesh that it is, if it is known to be one.
    pub(super) peer: Option<PeerId>,
    /// The latest of its announcements.
    pub(super) announced: Option<Announced>,
}

impl LanPeer {
    /// A peer that was heard for the first time, from there.
    pub(super) fn new(source: SocketAddr, dialect: Dialect, is_mismatched: bool, now: BootMs) -> Self {
        Self {
            addr: source,
            told_port: false,
            heard_at: now,
            dialect,
            is_mismatched,
            profile: None,
            remembered: VecDeque::new(),
            on_mesh: OnMesh::default(),
        }
    }

    /// A datagram of it came from there: it is alive, and may have a new address.
    pub(super) fn refresh(
        &mut self,
        source: SocketAddr,
        body: &DatagramBody,
        dialect: Dialect,
        is_mismatched: bool,
        now: BootMs,
    ) {
        // Somebody else may use the name of a peer whose address was right; its messages still go where they went.
        if is_mismatched && !self.is_mismatched {
            return;
        }
        self.heard_at = now;
        self.dialect = dialect;
        self.is_mismatched = is_mismatched;
        if let DatagramBody::Discovery { port } = body {
            self.addr = SocketAddr::new(source.ip(), *port);
            self.told_port = true;
        } else if !self.told_port || self.addr.ip() != source.ip() {
            self.addr = source;
            self.told_port = false;
        }
    }

    /// Whether a message with this number was not heard before.
    pub(super) fn is_new(&mut self, id: u64) -> bool {
        if self.remembered.contains(&id) {
            return false;
        }
        self.remembered.push_back(id);
        if self.remembered.len() > LAN_REMEMBERED {
            self.remembered.pop_front();
        }
        true
    }

    /// How it is shown.
    pub(super) fn contact(&self, user: &LanUserId) -> Contact {
        Contact::on_lan(user, self.profile.as_ref())
    }
}
