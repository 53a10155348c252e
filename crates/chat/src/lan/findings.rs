//! Diagnosis of a LAN scan: finds faults in its result, each with a remedy for the user. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::scan_result::{FoundPeer, ProbedAddress, ScanResult, SocketFailure, SocketFailureKind};
use crate::engine::LAN_PORT;
use crate::lan_user_id::LanUserId;

/// Problem or fact that the scan found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Kind of the finding, for programs.
    pub kind: FindingKind,
    /// Description for people.
    pub text: String,
    /// Remedy: the steps that the user can take.
    pub remedy: String,
}

/// Kind of a finding. Its JSON names are a public format and never change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The shared UDP port cannot be bound.
    #[serde(rename = "shared_port_refused")]
    SharedPortUnavailable,
    /// The machine has no network interface except loopback.
    OnlyLoopback,
    /// A query could not be sent.
    NotSent,
    /// A broadcast query did not arrive at the shared port of this machine.
    NotHeardBack,
    /// Of the programs on this machine, only this scan received the queries. Peers on this machine
    /// did not.
    #[serde(rename = "heard_here_alone")]
    HeardByScanOnly,
    /// No peer answered, and the scan found no fault of this machine.
    #[serde(rename = "silence")]
    NoAnswers,
    /// A peer sends from an address that differs from the one it claims.
    #[serde(rename = "mismatch")]
    AddressMismatch,
    /// The same user id is used from several addresses.
    #[serde(rename = "doubled")]
    DuplicateName,
    /// A peer that other peers list, but from which the scan received nothing.
    #[serde(rename = "named_only")]
    MentionedOnly,
}

/// Returns the findings of a scan, the most serious first.
#[must_use]
pub fn findings(scan: &ScanResult) -> Vec<Finding> {
    let mut findings: Vec<Finding> = scan.shared_port_failure.iter().map(shared_port_unavailable).collect();
    findings.extend(only_loopback(scan));
    findings.extend(scan.probed.iter().filter_map(not_sent));
    findings.extend(not_heard_back(scan));
    findings.extend(heard_by_scan_only(scan));
    if findings.is_empty() && scan.peers.is_empty() {
        findings.push(no_answers());
    }
    findings.extend(scan.peers.values().filter(|peer| peer.mismatched).map(address_mismatch));
    findings.extend(duplicate_names(scan));
    findings.extend(mentioned_only(scan));
    findings
}

fn only_loopback(scan: &ScanResult) -> Option<Finding> {
    let is_network = |probed: &ProbedAddress| !probed.interfaces.is_empty() && !probed.to.is_loopback();
    // A scan of given addresses says nothing about the networks of the machine.
    (scan.covers_all_networks && !scan.probed.iter().any(is_network)).then(|| Finding {
        kind: FindingKind::OnlyLoopback,
        text: "this machine has no network with a broadcast address: only peers on this machine can be found".into(),
        remedy: "connect it to a network, or reach peers by address (--peers) or through the registry (--registry)"
            .into(),
    })
}

fn not_heard_back(scan: &ScanResult) -> Option<Finding> {
    let is_sent = |probed: &&ProbedAddress| reaches_all_programs_here(probed) && probed.failure.is_none();
    let sent: Vec<&ProbedAddress> = scan.probed.iter().filter(is_sent).collect();
    let lost: Vec<String> =
        sent.iter().filter(|probed| !probed.was_heard).map(|probed| describe_address(probed)).collect();
    if scan.shared_port_failure.is_some() || lost.is_empty() {
        return None;
    }
    let subject = if lost.len() == sent.len() { "no query" } else { "not every query" };
    Some(Finding {
        kind: FindingKind::NotHeardBack,
        text: format!(
            "{subject} of this machine arrived at its own UDP port {LAN_PORT}; sent, but not received: {}. \
             Announcements of other peers are probably not received either",
            lost.join(", ")
        ),
        remedy: format!("check whether a firewall of this machine drops incoming UDP to port {LAN_PORT}, and allow it"),
    })
}

fn heard_by_scan_only(scan: &ScanResult) -> Option<Finding> {
    let (to_all_programs, to_one_program): (Vec<&ProbedAddress>, Vec<&ProbedAddress>) =
        scan.probed.iter().filter(|probed| probed.was_heard).partition(|probed| reaches_all_programs_here(probed));
    let addresses: Vec<String> = to_one_program.into_iter().map(describe_address).collect();
    // If a broadcast query arrived, the other programs of this machine received it, too.
    (to_all_programs.is_empty() && !addresses.is_empty()).then(|| Finding {
        kind: FindingKind::HeardByScanOnly,
        text: format!(
            "a datagram to {} reaches only one program of this machine, and this scan received it: peers on this \
             machine did not receive the query",
            addresses.join(", ")
        ),
        remedy: "use a broadcast address that reaches all of them: --addresses 127.255.255.255, or omit --addresses"
            .into(),
    })
}

fn duplicate_names(scan: &ScanResult) -> Vec<Finding> {
    let mut sources = BTreeMap::<&LanUserId, Vec<IpAddr>>::new();
    for (user, ip) in scan.peers.keys() {
        sources.entry(user).or_default().push(*ip);
    }
    // Datagrams of a peer on this machine arrive from several addresses of the machine. They are no
    // sign of a second peer.
    let is_own = |ip: &IpAddr| ip.is_loopback() || scan.own_ips.contains(ip);
    sources.retain(|_, ips| ips.len() > 1 && !ips.iter().all(is_own));
    let each = sources.into_iter().map(|(user, ips)| {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        Finding {
            kind: FindingKind::DuplicateName,
            text: format!(
                "{user} sends from {}: two peers use the same name, or one peer is on two networks",
                ips.join(" and ")
            ),
            remedy: "if there are two peers, start one of them with another --name".into(),
        }
    });
    each.collect()
}

fn mentioned_only(scan: &ScanResult) -> Option<Finding> {
    let is_heard = |mentioned: &LanUserId| scan.peers.keys().any(|(user, _)| user == mentioned);
    let missing: Vec<String> = scan
        .mentioned
        .iter()
        .filter(|(mentioned, _)| !is_heard(mentioned))
        .map(|(mentioned, by)| format!("{mentioned} (named by {by})"))
        .collect();
    (!missing.is_empty()).then(|| Finding {
        kind: FindingKind::MentionedOnly,
        text: format!("other peers list peers that did not answer this scan: {}", missing.join(", ")),
        remedy: "they left within the last five minutes, are on a network that the broadcasts of this machine do not \
                 reach, do not answer queries (--wait 35 also receives announcements), or drop queries in a firewall"
            .into(),
    })
}

fn shared_port_unavailable(failure: &SocketFailure) -> Finding {
    let (text, remedy) = match failure.kind {
        SocketFailureKind::InUse => (
            format!(
                "UDP port {LAN_PORT} is in use by another program that does not share it ({}): answers are received, \
                 but announcements are not",
                failure.text
            ),
            format!("find it with `ss -ulpn 'sport = :{LAN_PORT}'` and stop it, or let it bind with address reuse"),
        ),
        SocketFailureKind::Forbidden | SocketFailureKind::NoRoute | SocketFailureKind::Other => (
            format!(
                "UDP port {LAN_PORT} cannot be bound ({}): answers are received, but announcements are not",
                failure.text
            ),
            "allow this program to bind it: check the sandbox or container that it runs in".to_owned(),
        ),
    };
    Finding { kind: FindingKind::SharedPortUnavailable, text, remedy }
}

fn not_sent(probed: &ProbedAddress) -> Option<Finding> {
    let failure = probed.failure.as_ref()?;
    let remedy = match failure.kind {
        SocketFailureKind::Forbidden => {
            format!("allow outgoing UDP to port {LAN_PORT} in the firewall of this machine")
        }
        // 255.255.255.255 needs a default route; the addresses of the interfaces do not.
        SocketFailureKind::NoRoute if probed.interfaces.is_empty() => return None,
        SocketFailureKind::NoRoute => {
            "check whether the interface is up (`ip link`) and has a route (`ip route`)".to_owned()
        }
        SocketFailureKind::InUse | SocketFailureKind::Other => "check the interface and the system log".to_owned(),
    };
    let text = format!("the query to {} could not be sent: {}", describe_address(probed), failure.text);
    Some(Finding { kind: FindingKind::NotSent, text, remedy })
}

fn no_answers() -> Finding {
    Finding {
        kind: FindingKind::NoAnswers,
        text: "no peer answered, but this machine can send and receive: there is no other peer, or none can receive the queries"
            .into(),
        remedy: format!(
            "start a peer on another machine of this network and scan again; if there is still no answer, check the \
             firewall of that machine (UDP port {LAN_PORT}), and whether both machines are in the same network: routers do \
             not forward broadcasts, and many guest networks isolate their guests. --wait 35 also receives announcements \
             of peers that do not answer"
        ),
    }
}

fn address_mismatch(peer: &FoundPeer) -> Finding {
    Finding {
        kind: FindingKind::AddressMismatch,
        text: format!("{} sends from {}, which is not the address it claims", peer.user_id, peer.address.ip()),
        remedy: "the peer has several networks or is behind address translation (NAT); or it uses a false name".into(),
    }
}

/// Whether a datagram to the address reaches all programs of this machine on the shared port.
/// Otherwise it reaches at most one of them.
fn reaches_all_programs_here(probed: &ProbedAddress) -> bool {
    !probed.interfaces.is_empty() || probed.to == Ipv4Addr::BROADCAST
}

fn describe_address(probed: &ProbedAddress) -> String {
    if probed.interfaces.is_empty() {
        probed.to.to_string()
    } else {
        format!("{} ({})", probed.to, probed.interfaces.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::datagram::DatagramBody;
    use super::super::scan_result::tests::{ETH, healthy, receive};
    use super::super::scan_result::{FoundBy, SpokenDialects};
    use super::*;

    fn failure(kind: SocketFailureKind) -> SocketFailure {
        SocketFailure { kind, text: "why".into() }
    }

    fn kinds(scan: &ScanResult) -> Vec<FindingKind> {
        findings(scan).iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn there_is_no_finding_if_a_peer_answers_and_there_is_no_fault() {
        let mut scan = healthy();
        receive(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), []);
        let bob = scan.peers().next().unwrap();
        assert_eq!((bob.name.as_str(), bob.found_by, bob.dialect), ("bob", FoundBy::Answer, SpokenDialects::Compact));
        assert_eq!(bob.address, "10.0.0.2:8002".parse().unwrap());
    }

    #[test]
    fn without_answers_and_local_faults_the_remedy_names_the_other_machines_and_the_network() {
        let findings = findings(&healthy());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].kind, FindingKind::NoAnswers);
        assert!(findings[0].remedy.contains("firewall") && findings[0].remedy.contains("50999"));
    }

    #[test]
    fn a_shared_port_in_use_is_reported_with_a_command_that_finds_the_program() {
        let scan = ScanResult { shared_port_failure: Some(failure(SocketFailureKind::InUse)), ..healthy() };
        assert_eq!(kinds(&scan), [FindingKind::SharedPortUnavailable], "no other finding explains the missing answers");
        assert!(findings(&scan)[0].remedy.contains("ss -ulpn"));
        let scan = ScanResult { shared_port_failure: Some(failure(SocketFailureKind::Forbidden)), ..healthy() };
        assert!(findings(&scan)[0].text.contains("cannot be bound (why)"));
    }

    #[test]
    fn a_machine_with_only_loopback_is_reported() {
        let mut scan = healthy();
        scan.probed.retain(|probed| probed.to != ETH);
        assert_eq!(kinds(&scan), [FindingKind::OnlyLoopback]);
    }

    #[test]
    fn a_query_that_could_not_be_sent_is_reported_with_its_address_and_a_remedy_for_its_error() {
        for (kind, remedy) in [(SocketFailureKind::Forbidden, "firewall"), (SocketFailureKind::NoRoute, "ip link")] {
            let mut scan = healthy();
            scan.probed[0].failure = Some(failure(kind));
            scan.probed[0].was_heard = false;
            let findings = findings(&scan);
            assert_eq!(kinds(&scan), [FindingKind::NotSent]);
            assert!(findings[0].text.contains("10.0.0.255 (eth0)") && findings[0].remedy.contains(remedy));
        }
        let mut scan = healthy();
        scan.probed[3].failure = Some(failure(SocketFailureKind::NoRoute));
        assert_eq!(kinds(&scan), [FindingKind::NoAnswers], "255.255.255.255 is not needed");
        scan.probed[3].failure = Some(failure(SocketFailureKind::Forbidden));
        assert_eq!(kinds(&scan), [FindingKind::NotSent]);
    }

    #[test]
    fn queries_that_do_not_return_to_this_machine_are_reported_as_a_firewall_problem() {
        let mut scan = healthy();
        scan.probed[0].was_heard = false;
        assert_eq!(kinds(&scan), [FindingKind::NotHeardBack]);
        assert!(findings(&scan)[0].text.contains("not every query") && findings(&scan)[0].text.contains("(eth0)"));
        scan.probed.iter_mut().for_each(|probed| probed.was_heard = false);
        assert!(findings(&scan)[0].text.contains("no query"));
        assert!(
            !findings(&scan)[0].text.contains("127.0.0.1,"),
            "a datagram that is not a broadcast reaches only one program"
        );
        scan.shared_port_failure = Some(failure(SocketFailureKind::InUse));
        assert_eq!(
            kinds(&scan),
            [FindingKind::SharedPortUnavailable],
            "without the shared port nothing can be received"
        );
    }

    #[test]
    fn a_query_received_only_by_the_scan_is_reported() {
        let mut scan = ScanResult { covers_all_networks: false, ..healthy() };
        scan.probed.retain(|probed| probed.to == Ipv4Addr::LOCALHOST);
        assert_eq!(kinds(&scan), [FindingKind::HeardByScanOnly]);
        assert!(findings(&scan)[0].text.contains("127.0.0.1 reaches only one program"));
        // Another program received the query.
        scan.probed[0].was_heard = false;
        assert_eq!(
            kinds(&scan),
            [FindingKind::NoAnswers],
            "a query to an address that is not broadcast need not return"
        );
    }

    #[test]
    fn a_claimed_address_that_differs_from_the_source_is_reported() {
        let mut scan = healthy();
        receive(&mut scan, "eve@10.0.0.9", "10.0.0.3:8003", DatagramBody::ListResponse(vec![]));
        receive(&mut scan, "me@10.0.0.1", "127.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), [FindingKind::AddressMismatch], "all addresses of this machine count as one");
        assert!(findings(&scan)[0].text.starts_with("eve@10.0.0.9 sends from 10.0.0.3,"));
    }

    #[test]
    fn a_name_used_at_two_addresses_is_reported() {
        let mut scan = healthy();
        receive(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(vec![]));
        receive(&mut scan, "bob@10.0.0.2", "10.0.0.4:8002", DatagramBody::ListResponse(vec![]));
        receive(&mut scan, "me@10.0.0.1", "127.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        receive(&mut scan, "me@10.0.0.1", "10.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), [FindingKind::AddressMismatch, FindingKind::DuplicateName]);
        assert!(findings(&scan)[1].text.contains("10.0.0.2 and 10.0.0.4"));
    }

    #[test]
    fn a_listed_peer_without_an_answer_is_reported_and_another_scan_is_not_a_peer() {
        let mut scan = healthy();
        let names =
            ["bob@10.0.0.2", "cat@10.0.0.3", "rollcall-scan@10.0.0.7"].map(|name| LanUserId::parse(name).unwrap());
        receive(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(names.to_vec()));
        receive(&mut scan, "rollcall-scan@10.0.0.7", "10.0.0.7:8002", DatagramBody::ListRequest);
        assert_eq!(kinds(&scan), [FindingKind::MentionedOnly]);
        assert!(findings(&scan)[0].text.ends_with("cat@10.0.0.3 (named by bob@10.0.0.2)"));
        assert_eq!(scan.peers().len(), 1);
    }
}
