//! Datagrams of this peer: they name it as the sender, and replies have a limit per address.

use std::net::{IpAddr, SocketAddr};

use super::config::LanConfig;
use super::context::Context;
use super::cross_transport::announcement_id;
use super::event::{Action, Now};
use super::lan_peer::LanPeer;
use super::limits::{REPLIES_PER_SECOND, REPLY_BURST};
use super::rate_limits::RateLimits;
use crate::lan::{Datagram, DatagramBody, Dialect};
use crate::lan_user_id::LanUserId;
use rollcall_core::Rate;

/// Burst and rate of replies to one source address.
const REPLY_RATE: Rate = Rate::new(REPLY_BURST, 1000 / REPLIES_PER_SECOND);

/// Sender of the datagrams of this peer.
#[derive(Clone, Debug)]
pub(super) struct LanSender {
    /// The user id and the port of this peer.
    user: LanUserId,
    port: u16,
    reply_limit: RateLimits<IpAddr>,
}

impl LanSender {
    /// A sender that has sent nothing.
    pub(super) fn new(config: &LanConfig) -> Self {
        Self { user: config.user.clone(), port: config.port, reply_limit: RateLimits::new(REPLY_RATE) }
    }

    /// A datagram of this peer.
    pub(super) fn datagram(&self, body: DatagramBody, id: u64, now: Now) -> Datagram {
        Datagram { from: Some(self.user.clone()), id: Some(id), sent_at: now.unix_s, body }
    }

    /// This peer's announcement (`DISCOVERY`).
    pub(super) fn announcement(&self, cx: &Context) -> Datagram {
        let id = announcement_id(cx.local.config.id, &self.user, cx.now.unix_s);
        self.datagram(DatagramBody::Discovery { port: self.port }, id, cx.now)
    }

    /// Takes a token for a reply to an address. Returns false if the limit is reached.
    pub(super) fn may_reply_to(&mut self, ip: IpAddr, cx: &mut Context) -> bool {
        let is_allowed = self.reply_limit.allows(ip, cx.now.boot);
        cx.counters.limited_replies += u64::from(!is_allowed);
        is_allowed
    }

    /// As [`Self::may_reply_to`], for a datagram that is no reply and is not counted as one.
    pub(super) fn may_probe(&mut self, ip: IpAddr, cx: &Context) -> bool {
        self.reply_limit.allows(ip, cx.now.boot)
    }

    /// Sends a datagram with a new message id to a peer.
    pub(super) fn send_to(&self, peer: &LanPeer, body: DatagramBody, cx: &mut Context) {
        let id = cx.local.next_lan_message_id();
        send(peer.addr.to_socket_addr(), self.datagram(body, id, cx.now), peer.dialect, cx);
    }
}

/// Sends a datagram to an address.
pub(super) fn send(to: SocketAddr, datagram: Datagram, dialect: Dialect, cx: &mut Context) {
    cx.counters.datagrams_sent += 1;
    cx.actions.push(Action::SendDatagram { to, datagram, dialect });
}
