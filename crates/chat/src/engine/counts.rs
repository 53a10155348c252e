//! What happened how often.

use crate::mesh::MessageBody;

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Messages of the mesh that came in.
    pub received: Kinds,
    /// Messages of the mesh that went out, each once for each link.
    pub sent: Kinds,
    /// What others said to everybody and was not heard before, on whatever link.
    pub posts_in: u64,
    /// What was said to everybody here.
    pub posts_out: u64,
    /// Chat that was heard before.
    pub duplicates: u64,
    /// Addresses that were dialled.
    pub dials: u64,
    /// Those of them at which a link was lost or a dial had failed before.
    pub redials: u64,
    /// Dialled addresses that did not answer.
    pub failed_dials: u64,
    /// Links that ended.
    pub lost_links: u64,
    /// Those of them on which no heartbeat came in time.
    pub silent_links: u64,
    /// Datagrams that came in.
    pub datagrams_in: u64,
    /// Datagrams that went out; one to everybody counts once.
    pub datagrams_out: u64,
    /// Answers that were not given because the source had too many.
    pub unanswered: u64,
    /// Datagrams of newcomers for whom there is no room.
    pub crowded_out: u64,
}

/// What a message of the mesh is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Something that was said to everybody.
    Chat,
    /// Something that was said to one peer.
    Direct,
    /// Who somebody is.
    Profile,
    /// Where peers can be dialled.
    PeerList,
    /// A question for history, or the end of an answer; the answer itself is chat.
    History,
    /// Who need not be sent whose chat, and what is there instead.
    LazyPush,
    /// That somebody lives.
    Heartbeat,
    /// What this version does not know.
    Other,
}

impl Kind {
    /// All of them, in the order of their numbers.
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

/// A count of each kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Kinds([u64; Kind::ALL.len()]);

impl Kinds {
    /// How many of this kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// How many of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, kind: Kind, count: usize) {
        self.0[kind as usize] += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_place_of_its_own() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
        let mut kinds = Kinds::default();
        kinds.add(Kind::of(&MessageBody::Chat("hi".into())), 3);
        kinds.add(Kind::of(&MessageBody::HistoryEnd { more: false }), 1);
        assert_eq!(Kind::ALL.map(|kind| kinds.of(kind)), [3, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(kinds.total(), 4);
    }
}
