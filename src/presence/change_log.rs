//! Change log: the last visible changes of the presence table, numbered.
//!
//! It answers "what changed since version v" while those changes are still in the log. It knows
//! neither the time nor which clients are online; the table appends the changes.

use std::collections::{BTreeMap, VecDeque};

use super::types::OnlineRow;
use rollcall_core::{Addr, Username};

/// Number of changes kept; about 1 MB. A client that missed more must read the whole list again.
const MAX_CHANGES: usize = 16_384;

/// Why a client went offline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfflineReason {
    /// No heartbeat arrived for one TTL.
    Timeout,
}

/// A visible change of one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceEvent {
    /// The client came online. The address is `None` if it never reported one.
    Joined(Option<Addr>),
    /// The client stayed online and its address changed.
    Moved(Option<Addr>),
    /// The client went offline.
    Left(OfflineReason),
}

/// One entry of the change log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceChange {
    /// The client.
    pub username: Username,
    /// The change itself.
    pub event: PresenceEvent,
}

/// Ring buffer of the last visible changes, oldest first.
///
/// Invariant: the changes in the log have the versions `dropped` + 1, `dropped` + 2 and so on,
/// without a gap. There are at most `capacity` of them.
#[derive(Debug)]
pub(super) struct ChangeLog {
    changes: VecDeque<PresenceChange>,
    dropped: u64,
    capacity: usize,
}

impl Default for ChangeLog {
    fn default() -> Self {
        Self::with_capacity(MAX_CHANGES)
    }
}

impl ChangeLog {
    /// An empty log that keeps at most `capacity` changes.
    fn with_capacity(capacity: usize) -> Self {
        Self { changes: VecDeque::new(), dropped: 0, capacity }
    }

    /// The version of the last change; 0 before the first.
    pub(super) fn version(&self) -> u64 {
        self.dropped + self.changes.len() as u64
    }

    /// Appends a change. Its version is the last one plus 1.
    pub(super) fn push(&mut self, username: Username, event: PresenceEvent) {
        if self.changes.len() == self.capacity {
            self.changes.pop_front();
            self.dropped += 1;
        }
        self.changes.push_back(PresenceChange { username, event });
    }

    /// Up to `limit` changes after `version`, oldest first. `None` if some of them were dropped, or
    /// if `version` is higher than the current version.
    pub(super) fn since(&self, version: u64, limit: usize) -> Option<Vec<PresenceChange>> {
        let first = usize::try_from(version.checked_sub(self.dropped)?).ok()?;
        let remembered = first <= self.changes.len();
        remembered.then(|| self.changes.iter().skip(first).take(limit).cloned().collect())
    }
}

/// Net changes between two versions: each client appears once.
///
/// To update a list of the first version, insert [`Self::joined`] and [`Self::moved`] and remove
/// [`Self::left`]. The result is the list of the second version. This also holds for a list that
/// was read page by page while it changed. Such a list may contain a client that joined and left in
/// between, so that client is in [`Self::left`] too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetChanges(BTreeMap<Username, NetChange>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct NetChange {
    was_listed: bool,
    last: PresenceEvent,
}

/// Adds the next changes, oldest first.
impl Extend<PresenceChange> for NetChanges {
    fn extend<I: IntoIterator<Item = PresenceChange>>(&mut self, changes: I) {
        for PresenceChange { username, event } in changes {
            let was_listed = !matches!(event, PresenceEvent::Joined(_));
            self.0.entry(username).and_modify(|net| net.last = event).or_insert(NetChange { was_listed, last: event });
        }
    }
}

impl NetChanges {
    /// Clients that are online now and were not before, sorted by name.
    pub fn joined(&self) -> impl Iterator<Item = OnlineRow> {
        self.listed(false)
    }

    /// Clients that were online before and are online now, sorted by name. The address of a client
    /// that left and came back may be unchanged.
    pub fn moved(&self) -> impl Iterator<Item = OnlineRow> {
        self.listed(true)
    }

    /// Clients that are offline now, with the reason, sorted by name.
    pub fn left(&self) -> impl Iterator<Item = (&Username, OfflineReason)> {
        self.0.iter().filter_map(|(username, net)| match net.last {
            PresenceEvent::Left(reason) => Some((username, reason)),
            PresenceEvent::Joined(_) | PresenceEvent::Moved(_) => None,
        })
    }

    fn listed(&self, was_listed: bool) -> impl Iterator<Item = OnlineRow> {
        self.0.iter().filter(move |(_, net)| net.was_listed == was_listed).filter_map(|(username, net)| {
            match net.last {
                PresenceEvent::Joined(addr) | PresenceEvent::Moved(addr) => {
                    Some(OnlineRow { username: username.clone(), addr })
                }
                PresenceEvent::Left(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type List = BTreeMap<Username, Option<Addr>>;

    fn name(client: u8) -> Username {
        Username::parse(&format!("c{client}")).unwrap()
    }

    fn addr(port: u16) -> Option<Addr> {
        Addr::new(([10, 0, 0, 1], port).into())
    }

    fn change(client: u8, event: PresenceEvent) -> PresenceChange {
        PresenceChange { username: name(client), event }
    }

    fn net(changes: Vec<PresenceChange>) -> NetChanges {
        let mut net = NetChanges::default();
        net.extend(changes);
        net
    }

    fn replay(list: &mut List, changes: &NetChanges) {
        list.extend(changes.joined().chain(changes.moved()).map(|online| (online.username, online.addr)));
        changes.left().for_each(|(username, _)| {
            list.remove(username);
        });
    }

    #[test]
    fn dropped_and_future_versions_are_unknown() {
        let mut change_log = ChangeLog::with_capacity(3);
        assert_eq!((change_log.version(), change_log.since(0, 9), change_log.since(1, 9)), (0, Some(vec![]), None));
        (1..=5).for_each(|client| change_log.push(name(client), PresenceEvent::Joined(None)));
        assert_eq!(change_log.version(), 5);
        assert_eq!(change_log.since(1, 9), None);
        let joined = |client| change(client, PresenceEvent::Joined(None));
        assert_eq!(change_log.since(2, 9), Some(vec![joined(3), joined(4), joined(5)]));
        assert_eq!(change_log.since(3, 1), Some(vec![joined(4)]));
        assert_eq!(
            (change_log.since(5, 9), change_log.since(6, 9), change_log.since(u64::MAX, 9)),
            (Some(vec![]), None, None)
        );
        assert_eq!(change_log.changes.len(), 3);
    }

    #[test]
    fn net_changes_name_a_client_once_with_its_final_state() {
        let (here, there) = (addr(1), addr(2));
        let left = PresenceEvent::Left(OfflineReason::Timeout);
        for (events, expected) in [
            (vec![PresenceEvent::Joined(here), PresenceEvent::Moved(there)], "joined"),
            (vec![PresenceEvent::Moved(here), PresenceEvent::Moved(there)], "moved"),
            (vec![left, PresenceEvent::Joined(there)], "moved"),
            (vec![PresenceEvent::Moved(here), left], "left"),
            (vec![PresenceEvent::Joined(here), left], "left"),
            (vec![PresenceEvent::Joined(here), left, PresenceEvent::Joined(there)], "joined"),
        ] {
            let net = net(events.iter().map(|event| change(1, *event)).collect());
            let listed =
                |is_listed| if is_listed { vec![OnlineRow { username: name(1), addr: there }] } else { vec![] };
            assert_eq!(net.joined().collect::<Vec<_>>(), listed(expected == "joined"), "{events:?}");
            assert_eq!(net.moved().collect::<Vec<_>>(), listed(expected == "moved"), "{events:?}");
            assert_eq!(net.left().count(), usize::from(expected == "left"), "{events:?}");
        }
    }

    /// Random client actions: a client joins, moves or leaves.
    fn steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
        proptest::collection::vec((0_u8..6, 0_u16..4), 1..60)
    }

    fn apply_step(list: &mut List, change_log: &mut ChangeLog, client: u8, port: u16) {
        let listed = list.contains_key(&name(client));
        let event = match (listed, addr(port)) {
            (false, addr) => PresenceEvent::Joined(addr),
            (true, None) => PresenceEvent::Left(OfflineReason::Timeout),
            (true, addr) => PresenceEvent::Moved(addr),
        };
        match event {
            PresenceEvent::Joined(addr) | PresenceEvent::Moved(addr) => list.insert(name(client), addr),
            PresenceEvent::Left(_) => list.remove(&name(client)),
        };
        change_log.push(name(client), event);
    }

    proptest! {
        #[test]
        fn the_changes_since_a_version_turn_the_list_of_that_version_into_the_current_list(steps in steps(), capacity in 1_usize..80) {
            let mut change_log = ChangeLog::with_capacity(capacity);
            let mut list = List::new();
            let mut lists = vec![list.clone()];
            for (client, port) in steps {
                apply_step(&mut list, &mut change_log, client, port);
                lists.push(list.clone());
            }
            for (version, mut then) in lists.iter().cloned().enumerate() {
                let remembered = change_log.since(version as u64, usize::MAX);
                prop_assert_eq!(remembered.is_some(), lists.len() - 1 - version <= capacity);
                let Some(changes) = remembered else { continue };
                replay(&mut then, &net(changes));
                prop_assert_eq!(&then, &list);
            }
        }

        /// The list is read in two halves: the first after the steps `before`, the second after
        /// `between`.
        #[test]
        fn a_list_read_while_it_changed_becomes_the_current_list_too(
            before in steps(), between in steps(), after in steps(),
        ) {
            let mut change_log = ChangeLog::default();
            let mut list = List::new();
            let run = |steps: Vec<(u8, u16)>, list: &mut List, change_log: &mut ChangeLog| {
                for (client, port) in steps {
                    apply_step(list, change_log, client, port);
                }
            };
            run(before, &mut list, &mut change_log);
            let version = change_log.version();
            let mut read: List = list.range(..name(3)).map(|(name, addr)| (name.clone(), *addr)).collect();
            run(between, &mut list, &mut change_log);
            read.extend(list.range(name(3)..).map(|(name, addr)| (name.clone(), *addr)));
            run(after, &mut list, &mut change_log);
            replay(&mut read, &net(change_log.since(version, usize::MAX).unwrap()));
            prop_assert_eq!(read, list);
        }
    }
}
