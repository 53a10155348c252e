//! The lines of the log that tell an operator what happens to a peer. What the person at the peer is told besides is never
//! more than `info` here, so that nobody who chats reads it twice.

use std::net::IpAddr;

use tracing::{debug, info, warn};

use super::endpoint::PeerEndpoint;
use super::engine::{ChatTransport, LinkId, Notice};
use super::peer_id::PeerId;

pub(super) fn linked(link: LinkId, peer: PeerId, dialled: Option<&PeerEndpoint>, remote: IpAddr) {
    let address = dialled.map_or_else(|| remote.to_string(), ToString::to_string);
    info!(%peer, link = link.0, %address, dialled = dialled.is_some(), "linked");
}

pub(super) fn unlinked(link: LinkId, peer: PeerId, why: &str) {
    info!(%peer, link = link.0, reason = why, "unlinked");
}

/// What came is no message, or longer than one may be.
pub(super) fn unread(link: LinkId, bytes: usize) {
    debug!(link = link.0, bytes, "something came that is no message");
}

/// What waits for it is of no use to anybody.
pub(super) fn too_slow(link: LinkId, peer: PeerId, queued_bytes: usize) {
    warn!(%peer, link = link.0, queued_bytes, "dropped: it reads too slowly; message_buffer_size says how much may wait");
}

/// `is_expected` if somebody should be there; what was only heard of is often old.
pub(super) fn dial_failed(address: &PeerEndpoint, why: &str, is_expected: bool) {
    if is_expected {
        info!(%address, reason = why, "dial failed; it is tried again");
    } else {
        debug!(%address, reason = why, "dial failed");
    }
}

pub(super) fn dialling(address: &PeerEndpoint) {
    debug!(%address, "dialling");
}

pub(super) fn registered(name: &str, address: &str) {
    info!(name, address, "registered");
}

/// Which is nothing to worry about, as long as it is not for good.
pub(super) fn name_elsewhere(name: &str, address: &str) {
    info!(
        name,
        address, "an earlier run is listed still, at another address; this one is registered when that is forgotten"
    );
}

pub(super) fn name_taken(name: &str, address: &str) {
    warn!(address, "somebody else called {name} is online; choose another --name to be found");
}

pub(super) fn name_refused(name: &str, why: &str) {
    warn!(
        reason = why,
        "the registry does not list this peer as {name}: give the password of that name (--password, --password-file or \
         ROLLCALL_PASSWORD), or choose another --name"
    );
}

/// The password that was given protects nothing.
pub(super) fn password_unasked(name: &str) {
    warn!(
        "the name {name} has no password at the registry, so anybody can be listed by it; choose a --name that is not registered"
    );
}

pub(super) fn registry_gone(why: &str) {
    warn!(reason = why, "the registry does not help at the moment; the chat goes on");
}

pub(super) fn registry_back() {
    info!("the registry answers again");
}

/// What the person is told of the LAN. Of the mesh it is told by who greets, and here by links.
pub(super) fn told(notice: &Notice) {
    match notice {
        Notice::PeerFound { peer, at } if peer.via == ChatTransport::Lan => {
            info!(peer = peer.uid.as_str(), address = at.as_deref(), "found on the LAN");
        }
        Notice::PeerLost { peer, reason } if peer.via == ChatTransport::Lan => {
            info!(peer = peer.uid.as_str(), reason = reason.as_str(), "lost on the LAN");
        }
        Notice::AddressMismatch { uid, source } => {
            info!(peer = uid.as_str(), address = %source, "a peer does not write from the address it claims");
        }
        Notice::DuplicateName { uid, source } => {
            info!(peer = uid.as_str(), address = %source, "another program on the LAN has this peer's name");
        }
        Notice::PeerFound { .. }
        | Notice::PeerLost { .. }
        | Notice::Post { .. }
        | Notice::Direct { .. }
        | Notice::Profile { .. }
        | Notice::NamesReceived { .. }
        | Notice::Unreachable { .. }
        | Notice::Sent { .. }
        | Notice::DirectSent { .. }
        | Notice::Rejected { .. } => {}
    }
}
