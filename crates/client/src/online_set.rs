//! Local copy of the list of online clients, updated with the leader's changes. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use rollcall_core::api::{Discovered, DiscoveredChanges, LeftReason, OnlineClient};
use rollcall_core::{Addr, Username};

/// Cursor of a client that has no list yet.
const INITIAL_CURSOR: &str = "0";

/// Response of `GET /discover?since=`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum OnlineUpdate {
    /// The changes since the cursor.
    Changes(DiscoveredChanges),
    /// The whole list, because the leader does not know the changes: the client had no list yet,
    /// the leader is new, or the cursor is old.
    Snapshot(Discovered),
}

/// One change of the set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OnlineChange {
    /// A client came online.
    Joined(OnlineClient),
    /// A client changed its address.
    Moved {
        /// The client with its new address.
        client: OnlineClient,
        /// Its old address.
        from: Option<Addr>,
    },
    /// A client went offline.
    Left {
        /// Name of the user.
        username: Username,
        /// Reason; `None` after a whole list, which contains no reasons.
        reason: Option<LeftReason>,
    },
}

/// Set of online clients with their addresses, and the cursor of the last update.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OnlineSet {
    online: BTreeMap<Username, Option<Addr>>,
    cursor: String,
}

impl Default for OnlineSet {
    fn default() -> Self {
        Self { online: BTreeMap::new(), cursor: INITIAL_CURSOR.to_owned() }
    }
}

impl OnlineSet {
    /// Cursor for the next request for changes.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Number of online clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.online.len()
    }

    /// Whether no client is online.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.online.is_empty()
    }

    /// Applies an update, and returns the changes that had an effect. Clients that left come last.
    pub fn apply(&mut self, update: OnlineUpdate) -> Vec<OnlineChange> {
        match update {
            OnlineUpdate::Changes(DiscoveredChanges { changes: listed, cursor, .. }) => {
                self.cursor = cursor;
                let mut changes: Vec<OnlineChange> =
                    listed.joined.into_iter().chain(listed.moved).filter_map(|client| self.insert(client)).collect();
                for left in listed.left {
                    changes.extend(self.remove(left.username, Some(left.reason)));
                }
                changes
            }
            OnlineUpdate::Snapshot(Discovered { online_clients, cursor, .. }) => {
                // Without a cursor, the next request gets the whole list again.
                self.cursor = cursor.unwrap_or_else(|| INITIAL_CURSOR.to_owned());
                let missing: Vec<Username> = {
                    let named: std::collections::BTreeSet<&Username> =
                        online_clients.iter().map(|client| &client.username).collect();
                    self.online.keys().filter(|username| !named.contains(username)).cloned().collect()
                };
                let mut changes: Vec<OnlineChange> =
                    online_clients.into_iter().filter_map(|client| self.insert(client)).collect();
                changes.extend(missing.into_iter().filter_map(|username| self.remove(username, None)));
                changes
            }
        }
    }

    /// Adds the client or updates its address; returns the change, if any.
    fn insert(&mut self, client: OnlineClient) -> Option<OnlineChange> {
        match self.online.insert(client.username.clone(), client.addr) {
            None => Some(OnlineChange::Joined(client)),
            Some(from) if from != client.addr => Some(OnlineChange::Moved { client, from }),
            Some(_) => None,
        }
    }

    fn remove(&mut self, username: Username, reason: Option<LeftReason>) -> Option<OnlineChange> {
        self.online.remove(&username).map(|_| OnlineChange::Left { username, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::api::{ClientLeft, ListChanges};

    fn name(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    fn client(of: &str, addr: &str) -> OnlineClient {
        OnlineClient {
            username: name(of),
            addr: Some(addr.parse::<std::net::SocketAddr>().unwrap().try_into().unwrap()),
        }
    }

    fn whole(cursor: &str, clients: &[OnlineClient]) -> OnlineUpdate {
        OnlineUpdate::Snapshot(Discovered {
            online_clients: clients.to_vec(),
            count: clients.len(),
            is_leader: true,
            reset: true,
            cursor: Some(cursor.to_owned()),
        })
    }

    fn changed(cursor: &str, joined: &[OnlineClient], left: &[&str], moved: &[OnlineClient]) -> OnlineUpdate {
        let left = left.iter().map(|username| ClientLeft { username: name(username), reason: LeftReason::Timeout });
        let changes = ListChanges { joined: joined.to_vec(), left: left.collect(), moved: moved.to_vec() };
        OnlineUpdate::Changes(DiscoveredChanges { changes, cursor: cursor.to_owned(), count: 0, is_leader: true })
    }

    #[test]
    fn an_update_returns_only_the_changes_that_have_an_effect() {
        let mut online_set = OnlineSet::default();
        assert_eq!(online_set.cursor(), "0");
        assert_eq!(
            online_set.apply(whole("a", &[client("alice", "1.1.1.1:1")])),
            [OnlineChange::Joined(client("alice", "1.1.1.1:1"))]
        );
        let changes =
            online_set.apply(changed("b", &[client("bob", "1.1.1.1:2")], &[], &[client("alice", "1.1.1.1:3")]));
        let from = client("alice", "1.1.1.1:1").addr;
        let moved = OnlineChange::Moved { client: client("alice", "1.1.1.1:3"), from };
        assert_eq!(changes, [OnlineChange::Joined(client("bob", "1.1.1.1:2")), moved]);
        let again = changed("c", &[client("bob", "1.1.1.1:2")], &["nobody"], &[client("alice", "1.1.1.1:3")]);
        assert_eq!(online_set.apply(again), []);
        let left = OnlineChange::Left { username: name("bob"), reason: Some(LeftReason::Timeout) };
        assert_eq!(online_set.apply(changed("d", &[], &["bob"], &[])), [left]);
        assert_eq!((online_set.cursor(), online_set.len()), ("d", 1));
    }

    #[test]
    fn a_whole_list_of_a_new_leader_is_compared_with_the_known_list() {
        let mut online_set = OnlineSet::default();
        online_set.apply(whole("a", &[client("alice", "1.1.1.1:1"), client("bob", "1.1.1.1:2")]));
        let changes = online_set.apply(whole("b", &[client("alice", "1.1.1.1:1"), client("carol", "1.1.1.1:3")]));
        let left = OnlineChange::Left { username: name("bob"), reason: None };
        assert_eq!(changes, [OnlineChange::Joined(client("carol", "1.1.1.1:3")), left]);
        assert_eq!(online_set.cursor(), "b");
    }

    #[test]
    fn both_kinds_of_update_are_parsed() {
        let whole = r#"{"reset":true,"cursor":"1-2-3","online_clients":[],"count":0,"is_leader":true}"#;
        assert!(matches!(serde_json::from_str(whole), Ok(OnlineUpdate::Snapshot(_))));
        let changed = r#"{"changes":{"joined":[],"left":[],"moved":[]},"cursor":"1","count":0,"is_leader":true}"#;
        assert!(matches!(serde_json::from_str(changed), Ok(OnlineUpdate::Changes(_))));
    }
}
