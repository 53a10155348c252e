//! Counters of the engine.

use crate::mesh::MessageBody;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Mesh messages received.
    pub received: MessageCounts,
    /// Mesh messages sent, counted once per link.
    pub sent: MessageCounts,
    /// New chat messages of other peers, on either transport.
    pub posts_received: u64,
    /// Chat messages that the user of this peer posted.
    pub posts_sent: u64,
    /// Chat messages that had been received before.
    pub duplicates: u64,
    /// Dials. Each dial of an address counts.
    pub dials: u64,
    /// Those of `dials` to an address at which a link was lost or a dial failed before.
    pub redials: u64,
    /// Dials that did not lead to a link.
    pub failed_dials: u64,
    /// Links that were closed, for any reason.
    pub lost_links: u64,
    /// Those of `lost_links` that were closed because a heartbeat was overdue.
    pub timed_out_links: u64,
    /// LAN datagrams received.
    pub datagrams_received: u64,
    /// LAN datagrams sent; a broadcast counts once.
    pub datagrams_sent: u64,
    /// LAN replies that were not sent because of the limit per source address.
    pub limited_replies: u64,
    /// Datagrams of new LAN peers that were ignored because the table of LAN peers was full.
    pub rejected_lan_peers: u64,
}

/// Kind of a mesh message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageKind {
    /// A message to everybody.
    Chat,
    /// A direct message.
    Direct,
    /// A profile.
    Profile,
    /// Addresses of peers.
    PeerList,
    /// A history request, or the end of its answer. The answer itself consists of chat messages.
    History,
    /// A control message of lazy push: `prune` or `have`.
    LazyPush,
    /// A heartbeat.
    Heartbeat,
    /// A message of a type that this version does not know.
    Other,
}

impl MessageKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Direct,
        Self::Profile,
        Self::PeerList,
        Self::History,
        Self::LazyPush,
        Self::Heartbeat,
        Self::Other,
    ];

    pub(super) fn of(body: &MessageBody) -> Self {
        match body {
            MessageBody::Chat(_) => Self::Chat,
            MessageBody::Direct { .. } => Self::Direct,
            MessageBody::Profile(_) => Self::Profile,
            MessageBody::PeerList(_) => Self::PeerList,
            MessageBody::HistoryRequest(_) | MessageBody::HistoryEnd { .. } => Self::History,
            MessageBody::Prune(_) | MessageBody::Have(_) => Self::LazyPush,
            MessageBody::Heartbeat { .. } => Self::Heartbeat,
            MessageBody::Unknown => Self::Other,
        }
    }
}

/// A counter per message kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MessageCounts([u64; MessageKind::ALL.len()]);

impl MessageCounts {
    /// The count of one kind.
    #[must_use]
    pub fn of(&self, kind: MessageKind) -> u64 {
        self.0[kind as usize]
    }

    /// The sum over all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, kind: MessageKind, count: usize) {
        self.0[kind as usize] += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_counter() {
        for (index, kind) in MessageKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        let mut kinds = MessageCounts::default();
        kinds.add(MessageKind::of(&MessageBody::Chat("hi".into())), 3);
        kinds.add(MessageKind::of(&MessageBody::HistoryEnd { more: false }), 1);
        assert_eq!(MessageKind::ALL.map(|kind| kinds.of(kind)), [3, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(kinds.total(), 4);
    }
}
