//! What became visible in the table, in order: who joined, who moved and who left.
//!
//! The feed answers "what changed since version v" for as long as it remembers. It knows neither the time nor who is
//! online; it takes what it is told.

use std::collections::{BTreeMap, VecDeque};

use super::types::Online;
use rollcall_core::{Addr, Username};

/// Changes that are remembered, which is some 1 MB. Who missed more reads the whole list.
const MOST_CHANGES: usize = 16_384;

/// Why a client left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// No heartbeat came for a TTL.
    Timeout,
}

/// What can happen to a client that others see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// It came online and is reached there, if it ever told where.
    Joined(Option<Addr>),
    /// It stayed online and is reached elsewhere now.
    Moved(Option<Addr>),
    /// It went offline.
    Left(Reason),
}

/// One visible change of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Whose.
    pub username: Username,
    /// What happened.
    pub event: Event,
}

/// The last visible changes, oldest first.
///
/// Invariant: the changes that are remembered have the versions `forgotten` + 1, `forgotten` + 2, ... without a gap, and there
/// are at most `most`.
#[derive(Debug)]
pub(super) struct Feed {
    changes: VecDeque<Change>,
    forgotten: u64,
    most: usize,
}

impl Default for Feed {
    fn default() -> Self {
        Self::remembering(MOST_CHANGES)
    }
}

impl Feed {
    /// A feed that remembers so many changes.
    fn remembering(most: usize) -> Self {
        Self { changes: VecDeque::new(), forgotten: 0, most }
    }

    /// The version of the last change; 0 before the first.
    pub(super) fn version(&self) -> u64 {
        self.forgotten + self.changes.len() as u64
    }

    /// Notes a change, which is the next version.
    pub(super) fn push(&mut self, username: Username, event: Event) {
        if self.changes.len() == self.most {
            self.changes.pop_front();
            self.forgotten += 1;
        }
        self.changes.push_back(Change { username, event });
    }

    /// The changes after `version`, oldest first, at most `limit`; `None` if not all of them are remembered, or there was
    /// no such version yet.
    pub(super) fn after(&self, version: u64, limit: usize) -> Option<Vec<Change>> {
        let first = usize::try_from(version.checked_sub(self.forgotten)?).ok()?;
        let known = first <= self.changes.len();
        known.then(|| self.changes.iter().skip(first).take(limit).cloned().collect())
    }
}

/// What changed between two versions, each client once.
///
/// Put into a list, what [`Self::joined`] and [`Self::moved`] say and taken out whom [`Self::left`] names, it makes the
/// list of the first version that of the second; and so it does with any list that was read page by page meanwhile. For the
/// sake of the latter a client is also named that joined and left again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes(BTreeMap<Username, Sum>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sum {
    was_listed: bool,
    last: Event,
}

/// Adds the changes that came next.
impl Extend<Change> for Changes {
    fn extend<I: IntoIterator<Item = Change>>(&mut self, changes: I) {
        for Change { username, event } in changes {
            let was_listed = !matches!(event, Event::Joined(_));
            self.0.entry(username).and_modify(|sum| sum.last = event).or_insert(Sum { was_listed, last: event });
        }
    }
}

impl Changes {
    /// Who is listed now and was not, sorted by name.
    pub fn joined(&self) -> impl Iterator<Item = Online> {
        self.listed(false)
    }

    /// Who was listed, and is now or again, sorted by name. One that left and came back has perhaps its old address.
    pub fn moved(&self) -> impl Iterator<Item = Online> {
        self.listed(true)
    }

    /// Who is not listed any more and why, sorted by name.
    pub fn left(&self) -> impl Iterator<Item = (&Username, Reason)> {
        self.0.iter().filter_map(|(username, sum)| match sum.last {
            Event::Left(reason) => Some((username, reason)),
            Event::Joined(_) | Event::Moved(_) => None,
        })
    }

    fn listed(&self, was_listed: bool) -> impl Iterator<Item = Online> {
        self.0.iter().filter(move |(_, sum)| sum.was_listed == was_listed).filter_map(|(username, sum)| {
            match sum.last {
                Event::Joined(addr) | Event::Moved(addr) => Some(Online { username: username.clone(), addr }),
                Event::Left(_) => None,
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

    fn change(client: u8, event: Event) -> Change {
        Change { username: name(client), event }
    }

    fn sum(changes: Vec<Change>) -> Changes {
        let mut sum = Changes::default();
        sum.extend(changes);
        sum
    }

    fn replay(list: &mut List, changes: &Changes) {
        list.extend(changes.joined().chain(changes.moved()).map(|online| (online.username, online.addr)));
        changes.left().for_each(|(username, _)| {
            list.remove(username);
        });
    }

    #[test]
    fn what_is_forgotten_or_has_not_been_yet_is_unknown() {
        let mut feed = Feed::remembering(3);
        assert_eq!((feed.version(), feed.after(0, 9), feed.after(1, 9)), (0, Some(vec![]), None));
        (1..=5).for_each(|client| feed.push(name(client), Event::Joined(None)));
        assert_eq!(feed.version(), 5);
        assert_eq!(feed.after(1, 9), None);
        let joined = |client| change(client, Event::Joined(None));
        assert_eq!(feed.after(2, 9), Some(vec![joined(3), joined(4), joined(5)]));
        assert_eq!(feed.after(3, 1), Some(vec![joined(4)]));
        assert_eq!((feed.after(5, 9), feed.after(6, 9), feed.after(u64::MAX, 9)), (Some(vec![]), None, None));
        assert_eq!(feed.changes.len(), 3);
    }

    #[test]
    fn a_client_is_named_once_with_what_is_true_at_the_end() {
        let (here, there) = (addr(1), addr(2));
        let left = Event::Left(Reason::Timeout);
        for (events, expected) in [
            (vec![Event::Joined(here), Event::Moved(there)], "joined"),
            (vec![Event::Moved(here), Event::Moved(there)], "moved"),
            (vec![left, Event::Joined(there)], "moved"),
            (vec![Event::Moved(here), left], "left"),
            (vec![Event::Joined(here), left], "left"),
            (vec![Event::Joined(here), left, Event::Joined(there)], "joined"),
        ] {
            let sum = sum(events.iter().map(|event| change(1, *event)).collect());
            let listed = |is_in| if is_in { vec![Online { username: name(1), addr: there }] } else { vec![] };
            assert_eq!(sum.joined().collect::<Vec<_>>(), listed(expected == "joined"), "{events:?}");
            assert_eq!(sum.moved().collect::<Vec<_>>(), listed(expected == "moved"), "{events:?}");
            assert_eq!(sum.left().count(), usize::from(expected == "left"), "{events:?}");
        }
    }

    /// What clients do: each is toggled, or moves while it is listed.
    fn steps() -> impl Strategy<Value = Vec<(u8, u16)>> {
        proptest::collection::vec((0_u8..6, 0_u16..4), 1..60)
    }

    fn take(list: &mut List, feed: &mut Feed, client: u8, port: u16) {
        let listed = list.contains_key(&name(client));
        let event = match (listed, addr(port)) {
            (false, addr) => Event::Joined(addr),
            (true, None) => Event::Left(Reason::Timeout),
            (true, addr) => Event::Moved(addr),
        };
        match event {
            Event::Joined(addr) | Event::Moved(addr) => list.insert(name(client), addr),
            Event::Left(_) => list.remove(&name(client)),
        };
        feed.push(name(client), event);
    }

    proptest! {
        #[test]
        fn what_changed_since_any_version_makes_the_list_of_then_that_of_now(steps in steps(), most in 1_usize..80) {
            let mut feed = Feed::remembering(most);
            let mut list = List::new();
            let mut lists = vec![list.clone()];
            for (client, port) in steps {
                take(&mut list, &mut feed, client, port);
                lists.push(list.clone());
            }
            for (version, mut then) in lists.iter().cloned().enumerate() {
                let known = feed.after(version as u64, usize::MAX);
                prop_assert_eq!(known.is_some(), lists.len() - 1 - version <= most);
                let Some(changes) = known else { continue };
                replay(&mut then, &sum(changes));
                prop_assert_eq!(&then, &list);
            }
        }

        /// Half of the names are read after the first steps, the others after some more.
        #[test]
        fn a_list_that_was_read_while_it_changed_becomes_right_too(
            before in steps(), between in steps(), after in steps(),
        ) {
            let mut feed = Feed::default();
            let mut list = List::new();
            let run = |steps: Vec<(u8, u16)>, list: &mut List, feed: &mut Feed| {
                for (client, port) in steps {
                    take(list, feed, client, port);
                }
            };
            run(before, &mut list, &mut feed);
            let version = feed.version();
            let mut read: List = list.range(..name(3)).map(|(name, addr)| (name.clone(), *addr)).collect();
            run(between, &mut list, &mut feed);
            read.extend(list.range(name(3)..).map(|(name, addr)| (name.clone(), *addr)));
            run(after, &mut list, &mut feed);
            replay(&mut read, &sum(feed.after(version, usize::MAX).unwrap()));
            prop_assert_eq!(read, list);
        }
    }
}
