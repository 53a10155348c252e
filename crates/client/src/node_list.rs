//! Known nodes of a client, and the presumed leader.

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
    /// Whether all given URLs use HTTPS. If so, plain HTTP URLs are not accepted from nodes,
    /// because the token must not be sent unencrypted.
    is_secure: bool,
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
        let is_secure = all.iter().all(|server| is_secure(server));
        (!all.is_empty()).then_some(Self { state: Mutex::new(NodeListState { all, is_secure, leader: None }) })
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.lock().all.clone()
    }

    pub(super) fn leader(&self) -> Option<String> {
        self.lock().leader.clone()
    }

    /// Sets the leader, and adds its URL to the list, because the other known nodes may stop.
    ///
    /// A URL that is not acceptable clears the leader.
    pub(super) fn set_leader(&self, leader: &str) {
        let mut state = self.lock();
        state.leader = state.insert(leader);
    }

    /// Adds the URL of a node that another node named, if it is acceptable.
    pub(super) fn add(&self, server: &str) {
        self.lock().insert(server);
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

impl NodeListState {
    /// Adds a base URL if the list has room. Returns its normal form; `None` if the URL is not
    /// valid, or is plain HTTP in a list of HTTPS URLs.
    fn insert(&mut self, server: &str) -> Option<String> {
        let server: String = server.parse::<ServerUrl>().ok()?.into();
        if self.is_secure && !is_secure(&server) {
            return None;
        }
        if !self.all.contains(&server) && self.all.len() < MAX_KNOWN_NODES {
            self.all.push(server.clone());
        }
        Some(server)
    }
}

fn is_secure(server: &str) -> bool {
    server.starts_with("https://")
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
    fn a_new_leader_is_added_to_the_list_up_to_the_limit() {
        let nodes = NodeList::new(["http://a/".to_owned(), "http://a".to_owned()]).unwrap();
        nodes.set_leader("http://b/");
        assert_eq!(nodes.all(), ["http://a", "http://b"]);
        assert_eq!(nodes.leader(), Some("http://b".into()));
        (0..100).for_each(|n| nodes.set_leader(&format!("http://n{n}")));
        assert_eq!(nodes.all().len(), MAX_KNOWN_NODES);
        assert_eq!(nodes.leader(), Some("http://n99".into()));
        nodes.clear_leader();
        assert_eq!(nodes.leader(), None);
    }

    #[test]
    fn a_leader_with_an_invalid_url_or_without_the_required_https_is_not_accepted() {
        let nodes = NodeList::new(["http://a".to_owned()]).unwrap();
        nodes.set_leader("file:///etc/passwd");
        assert_eq!((nodes.leader(), nodes.all().len()), (None, 1));
        let nodes = NodeList::new(["https://a".to_owned()]).unwrap();
        nodes.set_leader("http://b");
        assert_eq!(nodes.leader(), None);
        nodes.set_leader("https://b");
        assert_eq!(nodes.leader(), Some("https://b".into()));
    }
}
