//! Known nodes of a client, and the presumed leader.
//!
//! Every request goes to a known node, and with it perhaps a token or a password. So a node is
//! known only if the user gave its URL, or if a node whose URL the user gave lists it in
//! `GET /cluster`. A node that is named as the leader only does not become known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ServerUrl;
use rollcall_core::api::Health;

/// Number of known base URLs at which a client adds no more URLs named by nodes. A cluster has
/// fewer nodes.
const MAX_KNOWN_NODES: usize = 16;

/// Base URLs of the nodes that a client knows.
pub(super) struct NodeList {
    state: Mutex<NodeListState>,
}

struct NodeListState {
    /// The given URLs, then the learned ones.
    all: Vec<String>,
    /// Number of the given URLs.
    given: usize,
    /// The presumed leader.
    leader: Option<String>,
}

impl NodeList {
    /// A list of the given base URLs without a leader; `None` if no URL is given.
    pub(super) fn new(servers: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut all: Vec<String> = Vec::new();
        for server in servers {
            let server = server.trim_end_matches('/').to_owned();
            if !all.contains(&server) {
                all.push(server);
            }
        }
        let given = all.len();
        (!all.is_empty()).then_some(Self { state: Mutex::new(NodeListState { all, given, leader: None }) })
    }

    /// The URLs that the user gave. Only these nodes are asked for the list of nodes.
    pub(super) fn given(&self) -> Vec<String> {
        let state = self.lock();
        state.all[..state.given].to_vec()
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.lock().all.clone()
    }

    pub(super) fn leader(&self) -> Option<String> {
        self.lock().leader.clone()
    }

    /// Sets the leader if it is a known node; otherwise clears it. Returns whether it is known.
    pub(super) fn set_leader(&self, leader: &str) -> bool {
        let mut state = self.lock();
        let leader = leader.parse::<ServerUrl>().ok().map(String::from);
        state.leader = leader.filter(|leader| state.all.contains(leader));
        state.leader.is_some()
    }

    /// Adds a node from the list of nodes of the given node `named_by`, if it is acceptable and
    /// there is room.
    pub(super) fn add(&self, named_by: &str, server: &str) {
        let Ok(server) = server.parse::<ServerUrl>() else { return };
        let mut state = self.lock();
        let server = String::from(server);
        if may_learn(named_by, &server) && !state.all.contains(&server) && state.all.len() < MAX_KNOWN_NODES {
            state.all.push(server);
        }
    }

    /// Forgets which node is the leader.
    pub(super) fn clear_leader(&self) {
        self.lock().leader = None;
    }

    /// Takes the lock. A poisoned lock is usable, because no operation leaves a partial change.
    fn lock(&self) -> MutexGuard<'_, NodeListState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node may be learned from the list of another one. A node with HTTPS must not lead to
/// plain HTTP, because tokens and passwords would be sent unencrypted.
fn may_learn(named_by: &str, server: &str) -> bool {
    let is_secure = |url: &str| url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    is_secure(server) || !is_secure(named_by)
}

/// Base URL of the leader, according to the health of several nodes.
///
/// A node that reports itself as leader is chosen first. Otherwise it is the leader that was named
/// with the highest term.
pub(super) fn choose_leader(responses: impl IntoIterator<Item = (String, Health)>) -> Option<String> {
    let mut named_leader = None;
    for (base, health) in responses {
        if health.is_leader {
            return Some(base);
        }
        if let Some(url) = health.leader_url {
            named_leader = named_leader.max(Some((health.term, url)));
        }
    }
    named_leader.map(|(_, url)| url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_core::MemberRole;
    use rollcall_core::Term;
    use rollcall_core::api::{Service, Status};

    fn health(is_leader: bool, term: u64, leader_url: Option<&str>) -> Health {
        Health {
            status: Status::Ok,
            service: Service::Rollcall,
            is_leader,
            online_clients_count: 0,
            current_leader: None,
            leader_url: leader_url.map(str::to_owned),
            term: Term(term),
            node: "127.0.0.1:1".parse().unwrap(),
            role: MemberRole::Follower,
            version: String::new(),
            uptime_seconds: 0,
        }
    }

    #[test]
    fn a_node_that_reports_itself_as_leader_is_preferred_to_reports_about_others() {
        let follower = ("http://a".to_owned(), health(false, 9, Some("http://dead")));
        let leader = ("http://b".to_owned(), health(true, 3, None));
        assert_eq!(choose_leader([follower, leader]), Some("http://b".into()));
    }

    #[test]
    fn of_two_reported_leaders_the_one_of_the_higher_term_is_chosen() {
        let old = ("http://a".to_owned(), health(false, 3, Some("http://z")));
        let new = ("http://b".to_owned(), health(false, 4, Some("http://c")));
        assert_eq!(choose_leader([old.clone(), new.clone()]), Some("http://c".into()));
        assert_eq!(choose_leader([new, old]), Some("http://c".into()));
        assert_eq!(choose_leader([("http://a".to_owned(), health(false, 5, None))]), None);
    }

    #[test]
    fn nodes_are_added_to_the_list_up_to_the_limit() {
        let nodes = NodeList::new(["http://a/".to_owned(), "http://a".to_owned()]).unwrap();
        nodes.add("http://a", "http://b/");
        nodes.add("http://a", "file:///etc/passwd");
        assert_eq!((nodes.all(), nodes.given()), (vec!["http://a".into(), "http://b".into()], vec!["http://a".into()]));
        (0..100).for_each(|n| nodes.add("http://a", &format!("http://n{n}")));
        assert_eq!((nodes.all().len(), nodes.given().len()), (MAX_KNOWN_NODES, 1));
    }

    #[test]
    fn only_a_known_node_becomes_the_leader() {
        let nodes = NodeList::new(["http://a".to_owned()]).unwrap();
        nodes.add("http://a", "http://b");
        assert!(nodes.set_leader("http://b/"));
        assert_eq!(nodes.leader(), Some("http://b".into()));
        for unknown in ["http://evil", "http://b.evil", "https://b", "http://b:81", "http://b/x", "file:///etc/passwd"]
        {
            assert!(!nodes.set_leader(unknown), "{unknown}");
            assert_eq!((nodes.leader(), nodes.all().len()), (None, 2), "{unknown}");
        }
        assert!(nodes.set_leader("http://a"));
        nodes.clear_leader();
        assert_eq!(nodes.leader(), None);
    }

    #[test]
    fn a_node_with_https_never_leads_to_plain_http() {
        for (named_by, server, expected) in [
            ("http://a", "http://b", true),
            ("http://a", "https://b", true),
            ("https://a", "https://b", true),
            ("https://a", "http://b", false),
            ("https://a", "http://a", false),
            ("HTTPS://a", "http://b", false),
        ] {
            assert_eq!(may_learn(named_by, server), expected, "{named_by} {server}");
            let nodes = NodeList::new([named_by.to_owned()]).unwrap();
            nodes.add(named_by, server);
            assert_eq!(nodes.set_leader(server), expected, "{named_by} {server}");
        }
        // One given URL with plain HTTP does not change the rule for the others.
        let nodes = NodeList::new(["https://a".to_owned(), "http://c".to_owned()]).unwrap();
        nodes.add("https://a", "http://b");
        assert!(!nodes.set_leader("http://b"));
        assert!(nodes.set_leader("http://c"), "the user gave it");
    }
}
