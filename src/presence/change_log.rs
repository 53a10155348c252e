//! What became visible in the table, in order: who joined, who moved and who left.
//!
//! The change_log answers "what changed since version v" for as long as it remembers. It knows neither the time nor who is
//! online; it takes what it is told.

use std::collections::{BTreeMap, VecDeque};

use super::types::OnlineRow;
use rollcall_core::{Addr, Username};

/// NetChanges that are remembered, which is some 1 MB. Who missed more reads the whole list.
const MAX_CHANGES: usize = 16_384;

/// Why a client left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OfflineReason {
    /// No heartbeat came for a TTL.
    Timeout,
}

/// What can happen to a client that others see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceEvent {
    /// It came online and is reached there, if it ever told where.
    Joined(Option<Addr>),
    /// It stayed online and is reached elsewhere now.
    Moved(Option<Addr>),
    /// It went offline.
    Left(OfflineReason),
}

/// One visible change of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceChange {
    /// Whose.
    pub username: Username,
    /// What happened.
    pub event: PresenceEvent,
}

/// The last visible changes, oldest first.
///
/// Invariant: the changes that are remembered have the versions `dropped` + 1, `dropped` + 2, ... without a gap, and there
/// are at capacity `capacity`.
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
    /// A change_log that remembers so many changes.
    fn with_capacity(capacity: usize) -> Self {
        Self { changes: VecDeque::new(), dropped: 0, capacity }
    }

    /// The version of the last change; 0 before the first.
    pub(super) fn version(&self) -> u64 {
        self.dropped + self.changes.len() as u64
    }

    /// Notes a change, which is the next version.
    pub(super) fn push(&mut self, username: Username, event: PresenceEvent) {
        if self.changes.len() == self.capacity {
            self.changes.pop_front();
            self.dropped += 1;
        }
        self.changes.push_back(PresenceChange { username, event });
    }

    /// The changes after `version`, oldest first, at capacity `limit`; `None` if not all of them are remembered, or there was
    /// no such version yet.
    pub(super) fn since(&self, version: u64, limit: usize) -> Option<Vec<PresenceChange>> {
        let first = usize::try_from(version.checked_sub(self.dropped)?).ok()?;
        let remembered = first <= self.changes.len();
        remembered.then(|| self.changes.iter().skip(first).take(limit).cloned().collect())
    }
}

/// What changed between two versions, each client once.
///
/// Put into a list, what [`Self::joined`] and [`Self::moved`] say and taken out whom [`Self::left`] names, it makes the
/// list of the first version that of the second; and so it does with any list that was read page by page meanwhile. For the
/// sake of the latter a client is also named that joined and left again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NetChanges(BTreeMap<Username, NetChange>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct NetChange {
    was_listed: bool,
    last: PresenceEvent,
}

/// Adds the changes that came next.
impl Extend<PresenceChange> for NetChanges {
    fn extend<I: IntoIterator<Item = PresenceChange>>(&mut self, changes: I) {
        for PresenceChange { username, event } in changes {
            let was_listed = !matches!(event, PresenceEvent::Joined(_));
            self.0.entry(username).and_modify(|sum| sum.last = event).or_insert(NetChange { was_listed, last: event });
        }
    }
}

impl NetChanges {
    /// Who is listed now and was not, sorted by name.
    pub fn joined(&self) -> impl Iterator<Item = OnlineRow> {
        self.listed(false)
    }

    /// Who was listed, and is now or again, sorted by name. One that left and came back has perhaps its old address.
    pub fn moved(&self) -> impl Iterator<Item = OnlineRow> {
        self.listed(true)
    }

    /// Who is not listed any more and why, sorted by name.
    pub fn left(&self) -> impl Iterator<Item = (&Username, OfflineReason)> {
        self.0.iter().filter_map(|(username, sum)| match sum.last {
            PresenceEvent::Left(reason) => Some((username, reason)),
            PresenceEvent::Joined(_) | PresenceEvent::Moved(_) => None,
        })
    }

    fn listed(&self, was_listed: bool) -> impl Iterator<Item = OnlineRow> {
        self.0.iter().filter(move |(_, sum)| sum.was_listed == was_listed).filter_map(|(username, sum)| {
            match sum.last {
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

    fn sum(changes: Vec<PresenceChange>) -> NetChanges {
        let mut sum = NetChanges::default();
        sum.extend(changes);
        sum
    }

    fn replay(list: &mut List, changes: &NetChanges) {
        list.extend(changes.joined().chain(changes.moved()).map(|online| (online.username, online.addr)));
        changes.left().for_each(|(username, _)| {
            list.remove(username);
        });
    }

    #[test]
    fn what_is_forgotten_or_has_not_been_yet_is_unknown() {
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
    fn a_client_is_named_once_with_what_is_true_at_the_end() {
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
            let sum = sum(events.iter().map(|event| change(1, *event)).collect());
            let listed =
                |is_listed| if is_listed { vec![OnlineRow { username: name(1), addr: there }] } else { vec![] };
            assert_eq!(sum.joined().collect::<Vec<_>>(), listed(expected == "joined"), "{events:?}");
            assert_eq!(sum.moved().collect::<Vec<_>>(), listed(expected == "moved"), "{events:?}");
            assert_eq!(sum.left().count(), usize::from(expected == "left"), "{events:?}");
        }
    }

    /// What clients do: each is toggled, or moves while it is listed.
    fn steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
        proptest::collection::vec((0_u8..6, 0_u16..4), 1..60)
    }

    fn take(list: &mut List, change_log: &mut ChangeLog, client: u8, port: u16) {
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
        fn what_changed_since_any_version_makes_the_list_of_then_that_of_now(steps in steps(), capacity in 1_usize..80) {
            let mut change_log = ChangeLog::with_capacity(capacity);
            let mut list = List::new();
            let mut lists = vec![list.clone()];
            for (client, port) in steps {
                take(&mut list, &mut change_log, client, port);
                lists.push(list.clone());
            }
            for (version, mut then) in lists.iter().cloned().enumerate() {
                let remembered = change_log.since(version as u64, usize::MAX);
                prop_assert_eq!(remembered.is_some(), lists.len() - 1 - version <= capacity);
                let Some(changes) = remembered else { continue };
                replay(&mut then, &sum(changes));
                prop_assert_eq!(&then, &list);
            }
        }

        /// Half of the names are read after the first steps, the others after some more.
        #[test]
        fn a_list_that_was_read_while_it_changed_becomes_right_too(
            before in steps(), between in steps(), after in steps(),
        ) {
            let mut change_log = ChangeLog::default();
            let mut list = List::new();
            let run = |steps: Vec<(u8, u16)>, list: &mut List, change_log: &mut ChangeLog| {
                for (client, port) in steps {
                    take(list, change_log, client, port);
                }
            };
            run(before, &mut list, &mut change_log);
            let version = change_log.version();
            let mut read: List = list.range(..name(3)).map(|(name, addr)| (name.clone(), *addr)).collect();
            run(between, &mut list, &mut change_log);
            read.extend(list.range(name(3)..).map(|(name, addr)| (name.clone(), *addr)));
            run(after, &mut list, &mut change_log);
            replay(&mut read, &sum(change_log.since(version, usize::MAX).unwrap()));
            prop_assert_eq!(read, list);
        }
    }
}
