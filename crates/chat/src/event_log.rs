//! Log lines about the links and the registry, for operators.
//!
//! Events that the user also sees as a notice are logged at `info` or below. By default, a terminal
//! shows only log lines from `warn` up, so the user does not see such an event twice.

use std::net::IpAddr;

use tracing::{debug, info, warn};

use super::endpoint::PeerEndpoint;
use super::engine::{ChatTransport, LinkId, Notice};
use super::peer_id::PeerId;

pub(super) fn linked(link: LinkId, peer: PeerId, dialled: Option<&PeerEndpoint>, remote: IpAddr) {
    let address = dialled.map_or_else(|| remote.to_string(), ToString::to_string);
    info!(%peer, link = link.0, %address, dialled = dialled.is_some(), "linked");
}

pub(super) fn unlinked(link: LinkId, peer: PeerId, reason: &str) {
    info!(%peer, link = link.0, reason, "unlinked");
}

/// A received JSON object is not a valid message.
pub(super) fn invalid_message(link: LinkId, bytes: usize) {
    debug!(link = link.0, bytes, "received an invalid message");
}

/// The link is closed because its send queue was full or did not drain in time.
pub(super) fn too_slow(link: LinkId, peer: PeerId, queued_bytes: usize) {
    warn!(%peer, link = link.0, queued_bytes, "disconnected: the peer reads too slowly; message_buffer_size sets the size of the send queue");
}

/// `is_expected` is true if a peer should be at the address. A failure at another address is only
/// logged at `debug`, because addresses from other peers are often out of date.
pub(super) fn dial_failed(address: &PeerEndpoint, reason: &str, is_expected: bool) {
    if is_expected {
        info!(%address, reason, "dial failed; trying again later");
    } else {
        debug!(%address, reason, "dial failed");
    }
}

pub(super) fn dialling(address: &PeerEndpoint) {
    debug!(%address, "dialling");
}

pub(super) fn registered(name: &str, address: &str) {
    info!(name, address, "registered");
}

/// Logged at `info`: after a restart this is harmless, because the entry of the earlier run
/// expires.
pub(super) fn name_elsewhere(name: &str, address: &str) {
    info!(
        name,
        address, "an earlier run is still listed at another address; this peer registers when that entry expires"
    );
}

pub(super) fn name_taken(name: &str, address: &str) {
    warn!(name, address, "the name is online at another address; choose another --name to be found");
}

pub(super) fn name_refused(name: &str, reason: &str) {
    warn!(
        name,
        reason,
        "the registry does not list this peer: give the password of the name (--password, --password-file or \
         ROLLCALL_PASSWORD), or choose another --name"
    );
}

/// The registry did not ask for the password, so the password does not protect the name.
pub(super) fn password_unused(name: &str) {
    warn!(
        name,
        "the name has no password at the registry, so anybody can use it; choose a --name that is not registered"
    );
}

pub(super) fn registry_unreachable(reason: &str) {
    warn!(reason, "the registry cannot be used at the moment; the chat continues without it");
}

pub(super) fn registry_reachable_again() {
    info!("the registry can be used again");
}

/// Logs the notices about the LAN. Peers of the mesh are logged as links.
pub(super) fn lan_notice(notice: &Notice) {
    match notice {
        Notice::PeerFound { peer, at } if peer.via == ChatTransport::Lan => {
            info!(peer = peer.uid.as_str(), address = at.as_deref(), "found on the LAN");
        }
        Notice::PeerLost { peer, reason } if peer.via == ChatTransport::Lan => {
            info!(peer = peer.uid.as_str(), reason = reason.as_str(), "lost on the LAN");
        }
        Notice::AddressMismatch { uid, source } => {
            info!(peer = uid.as_str(), address = %source, "a peer sends from another address than it claims");
        }
        Notice::DuplicateName { uid, source } => {
            info!(peer = uid.as_str(), address = %source, "another program on the LAN uses the name of this peer");
        }
        Notice::PeerFound { .. }
        | Notice::PeerLost { .. }
        | Notice::Post { .. }
        | Notice::Direct { .. }
        | Notice::Profile { .. }
        | Notice::NamesReceived { .. }
        | Notice::Follower { .. }
        | Notice::Following { .. }
        | Notice::Unreachable { .. }
        | Notice::Sent { .. }
        | Notice::DirectSent { .. }
        | Notice::SendingLast { .. }
        | Notice::NotSent { .. }
        | Notice::Rejected { .. } => {}
    }
}
