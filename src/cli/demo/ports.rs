//! Ports of the demo's nodes: the documented ports if they are free, otherwise the next free ports.

use std::net::{Ipv4Addr, TcpListener};

/// Number of nodes. Three is the smallest cluster that survives the loss of one node.
pub(super) const NODES: u16 = 3;
const FIRST_API_PORT: u16 = 3000;
const FIRST_ELECTION_PORT: u16 = 8080;
/// Largest number of ports above the documented range that are tried.
const MAX_TRIES: u16 = 1000;

/// Ports of one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ports {
    pub(super) election: u16,
    pub(super) api: u16,
}

/// Chooses ports for all nodes; `None` if too few ports are free.
pub(super) fn choose(is_free: impl Fn(u16) -> bool) -> Option<Vec<Ports>> {
    let api = range(FIRST_API_PORT, &is_free)?;
    let election = range(FIRST_ELECTION_PORT, &is_free)?;
    Some(election.into_iter().zip(api).map(|(election, api)| Ports { election, api }).collect())
}

/// The documented ports from `first` on. A port that is not free is replaced by the next free one
/// above the documented range.
fn range(first: u16, is_free: &impl Fn(u16) -> bool) -> Option<Vec<u16>> {
    let mut spare = (first + NODES..first + NODES + MAX_TRIES).filter(|port| is_free(*port));
    (first..first + NODES).map(|port| if is_free(port) { Some(port) } else { spare.next() }).collect()
}

/// Whether a node could listen on this port now. Another program may still take it; then the node
/// reports an error.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// One notice for each port that is not the documented one.
pub(super) fn notices(ports: &[Ports]) -> Vec<String> {
    let documented = (FIRST_ELECTION_PORT..).zip(FIRST_API_PORT..);
    let pairs = ports.iter().zip(documented);
    pairs
        .flat_map(|(used, (election, api))| [(used.api, api), (used.election, election)])
        .filter(|(used, documented)| used != documented)
        .map(|(used, documented)| format!("Port {documented} is taken; using {used} instead."))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_ports_are_used_when_they_are_free() {
        let ports = choose(|_| true).unwrap();
        assert_eq!(ports.iter().map(|node| node.api).collect::<Vec<_>>(), [3000, 3001, 3002]);
        assert_eq!(ports.iter().map(|node| node.election).collect::<Vec<_>>(), [8080, 8081, 8082]);
        assert!(notices(&ports).is_empty());
    }

    #[test]
    fn a_port_that_is_not_free_is_replaced_and_reported() {
        let ports = choose(|port| ![3001, 3003, 8080].contains(&port)).unwrap();
        assert_eq!(ports.iter().map(|node| node.api).collect::<Vec<_>>(), [3000, 3004, 3002]);
        assert_eq!(ports.iter().map(|node| node.election).collect::<Vec<_>>(), [8083, 8081, 8082]);
        assert_eq!(
            notices(&ports),
            ["Port 8080 is taken; using 8083 instead.", "Port 3001 is taken; using 3004 instead."]
        );
    }

    #[test]
    fn the_search_ends_if_no_port_is_free() {
        assert_eq!(choose(|_| false), None);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
