//! What follows from what a look around the LAN saw. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::scan_result::{FoundPeer, ProbedAddress, ScanResult, SocketFailure, SocketFailureKind};
use crate::engine::LAN_PORT;
use crate::lan_user_id::LanUserId;

/// One thing that a person should know.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What kind it is, for programs.
    pub kind: FindingKind,
    /// What was seen and what it means.
    pub text: String,
    /// What can be done.
    pub remedy: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The shared port cannot be bound.
    #[serde(rename = "shared_port_refused")]
    SharedPortUnavailable,
    /// There is no network but loopback.
    OnlyLoopback,
    /// A question could not be sent.
    NotSent,
    /// A question was sent, and this machine did not hear it.
    NotHeardBack,
    /// A question came to this look around itself, and so to no other program of this machine.
    #[serde(rename = "heard_here_alone")]
    HeardByScanOnly,
    /// Nobody answered, and nothing is wrong here.
    #[serde(rename = "silence")]
    NoAnswers,
    /// A peer writes from another address than it claims.
    #[serde(rename = "mismatch")]
    AddressMismatch,
    /// Two addresses use one name.
    #[serde(rename = "doubled")]
    DuplicateName,
    /// Peers know somebody who was not heard.
    #[serde(rename = "named_only")]
    MentionedOnly,
}

/// What follows from what was seen, the gravest first.
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
    // Who wants to look at some addresses only does not ask about the others.
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
    let whose = if lost.len() == sent.len() { "no question" } else { "not every question" };
    Some(Finding {
        kind: FindingKind::NotHeardBack,
        text: format!(
            "{whose} of this machine came to its own UDP port {LAN_PORT}; sent, and not heard: {}. What others \
             announce is probably not heard either",
            lost.join(", ")
        ),
        remedy: format!("look whether a firewall of this machine drops incoming UDP to port {LAN_PORT}, and allow it"),
    })
}

fn heard_by_scan_only(scan: &ScanResult) -> Option<Finding> {
    let (for_all, for_one): (Vec<&ProbedAddress>, Vec<&ProbedAddress>) =
        scan.probed.iter().filter(|probed| probed.was_heard).partition(|probed| reaches_all_programs_here(probed));
    let places: Vec<String> = for_one.into_iter().map(describe_address).collect();
    // Peers of this machine have heard what was for all.
    (for_all.is_empty() && !places.is_empty()).then(|| Finding {
        kind: FindingKind::HeardByScanOnly,
        text: format!(
            "what is sent to {} comes to one program of this machine, and now that was this look around: peers here \
             did not hear the question",
            places.join(", ")
        ),
        remedy: "ask where all of them hear: --addresses 127.255.255.255, or leave --addresses out".into(),
    })
}

fn duplicate_names(scan: &ScanResult) -> Vec<Finding> {
    let mut sources = BTreeMap::<&LanUserId, Vec<IpAddr>>::new();
    for (user, ip) in scan.peers.keys() {
        sources.entry(user).or_default().push(*ip);
    }
    // A peer of this machine is heard from each of its addresses.
    let is_own = |ip: &IpAddr| ip.is_loopback() || scan.own_ips.contains(ip);
    sources.retain(|_, ips| ips.len() > 1 && !ips.iter().all(is_own));
    let each = sources.into_iter().map(|(user, ips)| {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        Finding {
            kind: FindingKind::DuplicateName,
            text: format!(
                "{user} was heard from {}: two peers use one name, or one has two networks",
                ips.join(" and ")
            ),
            remedy: "if they are two, start one of them with another --name".into(),
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
        text: format!("others know peers that were not heard here: {}", missing.join(", ")),
        remedy: "they left within the last five minutes, are on a network that this machine's broadcasts do not \
                 reach, do not answer questions (--wait 35 hears what they announce), or drop them in a firewall"
            .into(),
    })
}

fn shared_port_unavailable(failure: &SocketFailure) -> Finding {
    let (text, remedy) = match failure.kind {
        SocketFailureKind::InUse => (
            format!(
                "UDP port {LAN_PORT} is held by another program that does not share it ({}): answers are heard, and \
                 announcements are not",
                failure.text
            ),
            format!("find it with `ss -ulpn 'sport = :{LAN_PORT}'` and end it, or let it bind with address reuse"),
        ),
        SocketFailureKind::Forbidden | SocketFailureKind::NoRoute | SocketFailureKind::Other => (
            format!(
                "UDP port {LAN_PORT} cannot be bound ({}): answers are heard, and announcements are not",
                failure.text
            ),
            "allow this program to bind it: look at the sandbox or container it runs in".to_owned(),
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
        // The general address needs a default route; those of the interfaces do without it.
        SocketFailureKind::NoRoute if probed.interfaces.is_empty() => return None,
        SocketFailureKind::NoRoute => {
            "look whether the interface is up (`ip link`) and has a route (`ip route`)".to_owned()
        }
        SocketFailureKind::InUse | SocketFailureKind::Other => {
            "look at the interface and the log of the system".to_owned()
        }
    };
    let text = format!("the question to {} could not be sent: {}", describe_address(probed), failure.text);
    Some(Finding { kind: FindingKind::NotSent, text, remedy })
}

fn no_answers() -> Finding {
    Finding {
        kind: FindingKind::NoAnswers,
        text: "nobody answered, and this machine can send and hear: nobody else is there, or nobody can hear it".into(),
        remedy: format!(
            "start a peer on another machine of this network and look again; if both are silent, look at that \
             machine's firewall (UDP port {LAN_PORT}), and whether both are in one network: broadcasts pass no router, \
             and many guest networks keep their guests apart. --wait 35 also hears peers that do not answer"
        ),
    }
}

fn address_mismatch(peer: &FoundPeer) -> Finding {
    Finding {
        kind: FindingKind::AddressMismatch,
        text: format!("{} writes from {}, which is not the address it claims", peer.user_id, peer.address.ip()),
        remedy: "it has several networks or stands behind a translation of addresses; or it is not who it says".into(),
    }
}

/// Whether this machine's programs on the shared port all hear what is sent there; else one of them does, or none.
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
    use super::super::scan_result::tests::{ETH, heard, well};
    use super::super::scan_result::{FoundBy, SpokenDialects};
    use super::*;

    fn failure(kind: SocketFailureKind) -> SocketFailure {
        SocketFailure { kind, text: "why".into() }
    }

    fn kinds(scan: &ScanResult) -> Vec<FindingKind> {
        findings(scan).iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn nothing_is_said_when_somebody_is_there_and_all_is_well() {
        let mut scan = well();
        heard(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), []);
        let bob = scan.peers().next().unwrap();
        assert_eq!((bob.name.as_str(), bob.found_by, bob.dialect), ("bob", FoundBy::Answer, SpokenDialects::Compact));
        assert_eq!(bob.address, "10.0.0.2:8002".parse().unwrap());
    }

    #[test]
    fn silence_without_a_fault_here_points_at_the_others_and_the_network() {
        let findings = findings(&well());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].kind, FindingKind::NoAnswers);
        assert!(findings[0].remedy.contains("firewall") && findings[0].remedy.contains("50999"));
    }

    #[test]
    fn a_shared_port_that_another_program_holds_is_said_with_how_to_find_it() {
        let scan = ScanResult { shared_port_failure: Some(failure(SocketFailureKind::InUse)), ..well() };
        assert_eq!(kinds(&scan), [FindingKind::SharedPortUnavailable], "that nobody is heard needs no other reason");
        assert!(findings(&scan)[0].remedy.contains("ss -ulpn"));
        let scan = ScanResult { shared_port_failure: Some(failure(SocketFailureKind::Forbidden)), ..well() };
        assert!(findings(&scan)[0].text.contains("cannot be bound (why)"));
    }

    #[test]
    fn a_machine_with_loopback_alone_is_told_so() {
        let mut scan = well();
        scan.probed.retain(|probed| probed.to != ETH);
        assert_eq!(kinds(&scan), [FindingKind::OnlyLoopback]);
    }

    #[test]
    fn a_question_that_could_not_be_sent_is_said_with_its_address_and_the_remedy_for_its_error() {
        for (kind, remedy) in [(SocketFailureKind::Forbidden, "firewall"), (SocketFailureKind::NoRoute, "ip link")] {
            let mut scan = well();
            scan.probed[0].failure = Some(failure(kind));
            scan.probed[0].was_heard = false;
            let findings = findings(&scan);
            assert_eq!(kinds(&scan), [FindingKind::NotSent]);
            assert!(findings[0].text.contains("10.0.0.255 (eth0)") && findings[0].remedy.contains(remedy));
        }
        let mut scan = well();
        scan.probed[3].failure = Some(failure(SocketFailureKind::NoRoute));
        assert_eq!(kinds(&scan), [FindingKind::NoAnswers], "the general address is not needed");
        scan.probed[3].failure = Some(failure(SocketFailureKind::Forbidden));
        assert_eq!(kinds(&scan), [FindingKind::NotSent]);
    }

    #[test]
    fn questions_that_this_machine_does_not_hear_itself_point_at_its_own_firewall() {
        let mut scan = well();
        scan.probed[0].was_heard = false;
        assert_eq!(kinds(&scan), [FindingKind::NotHeardBack]);
        assert!(findings(&scan)[0].text.contains("not every question") && findings(&scan)[0].text.contains("(eth0)"));
        scan.probed.iter_mut().for_each(|probed| probed.was_heard = false);
        assert!(findings(&scan)[0].text.contains("no question"));
        assert!(!findings(&scan)[0].text.contains("127.0.0.1,"), "only one program gets what is not broadcast");
        scan.shared_port_failure = Some(failure(SocketFailureKind::InUse));
        assert_eq!(kinds(&scan), [FindingKind::SharedPortUnavailable], "where nothing can be heard this says nothing");
    }

    #[test]
    fn a_question_that_only_this_look_around_heard_is_no_silence() {
        let mut scan = ScanResult { covers_all_networks: false, ..well() };
        scan.probed.retain(|probed| probed.to == Ipv4Addr::LOCALHOST);
        assert_eq!(kinds(&scan), [FindingKind::HeardByScanOnly]);
        assert!(findings(&scan)[0].text.contains("127.0.0.1 comes to one program"));
        // Another program has it.
        scan.probed[0].was_heard = false;
        assert_eq!(kinds(&scan), [FindingKind::NoAnswers], "a plain address is not expected to be heard here");
    }

    #[test]
    fn a_claimed_address_that_is_not_the_source_is_said() {
        let mut scan = well();
        heard(&mut scan, "eve@10.0.0.9", "10.0.0.3:8003", DatagramBody::ListResponse(vec![]));
        heard(&mut scan, "me@10.0.0.1", "127.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), [FindingKind::AddressMismatch], "all addresses of this machine are one");
        assert!(findings(&scan)[0].text.starts_with("eve@10.0.0.9 writes from 10.0.0.3,"));
    }

    #[test]
    fn a_name_that_is_used_at_two_addresses_is_said() {
        let mut scan = well();
        heard(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(vec![]));
        heard(&mut scan, "bob@10.0.0.2", "10.0.0.4:8002", DatagramBody::ListResponse(vec![]));
        heard(&mut scan, "me@10.0.0.1", "127.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        heard(&mut scan, "me@10.0.0.1", "10.0.0.1:8004", DatagramBody::ListResponse(vec![]));
        assert_eq!(kinds(&scan), [FindingKind::AddressMismatch, FindingKind::DuplicateName]);
        assert!(findings(&scan)[1].text.contains("10.0.0.2 and 10.0.0.4"));
    }

    #[test]
    fn who_is_named_and_not_heard_is_said_and_a_look_around_is_nobody() {
        let mut scan = well();
        let names =
            ["bob@10.0.0.2", "cat@10.0.0.3", "rollcall-scan@10.0.0.7"].map(|name| LanUserId::parse(name).unwrap());
        heard(&mut scan, "bob@10.0.0.2", "10.0.0.2:8002", DatagramBody::ListResponse(names.to_vec()));
        heard(&mut scan, "rollcall-scan@10.0.0.7", "10.0.0.7:8002", DatagramBody::ListRequest);
        assert_eq!(kinds(&scan), [FindingKind::MentionedOnly]);
        assert!(findings(&scan)[0].text.ends_with("cat@10.0.0.3 (named by bob@10.0.0.2)"));
        assert_eq!(scan.peers().len(), 1);
    }
}
