//! Metric families of a peer: names, help texts and values. Pure.

use super::exposition::MetricsPage;
use super::health::PeerIdentity;
use super::stats::PeerStats;
use crate::engine::{Counters, MessageKind};
use crate::io_counters::IoCounters;
use crate::registry_task::{RegistryState, RegistryStatus};

/// Values for the page that do not come from the driver.
pub(super) struct PageContext<'a> {
    pub(super) identity: &'a PeerIdentity,
    pub(super) max_connections: usize,
    pub(super) registry: Option<RegistryStatus>,
    pub(super) io_counters: &'a IoCounters,
    /// Resident memory of the process; `None` if unknown.
    pub(super) resident_bytes: Option<u64>,
}

/// Builds the whole page.
pub(super) fn page(stats: &PeerStats, context: &PageContext<'_>) -> String {
    let mut page = MetricsPage::default();
    state(&mut page, stats, context);
    traffic(&mut page, stats, context.io_counters);
    links(&mut page, stats);
    drops_and_errors(&mut page, stats, context.io_counters);
    page.into_text()
}

fn state(page: &mut MetricsPage, stats: &PeerStats, context: &PageContext<'_>) {
    let PeerIdentity { id, name, version, uptime_seconds } = context.identity;
    let labels = [("id", id.as_str()), ("name", name.as_str()), ("version", version)];
    let _ =
        page.gauge("rollcall_peer_info", "Identity of the peer; the value is always 1.").labelled_sample(&labels, 1);
    page.gauge("rollcall_peer_uptime_seconds", "Time since the start of the process.").sample(uptime_seconds);
    page.gauge("rollcall_peer_connections", "Linked peers of the mesh.").sample(stats.links);
    page.gauge("rollcall_peer_max_connections", "Largest number of linked peers.").sample(context.max_connections);
    let known = page.gauge("rollcall_peer_known_peers", "Known peers by transport.");
    let known = known.labelled_sample(&[("via", "mesh")], stats.links);
    if let Some(peers) = stats.lan_peers {
        let _ = known.labelled_sample(&[("via", "lan")], peers);
    }
    page.gauge("rollcall_peer_known_addresses", "Known mesh addresses.").sample(stats.addresses);
    page.gauge("rollcall_peer_history_entries", "Messages in the history.").sample(stats.history);
    if let Some(registry) = context.registry {
        let up = u8::from(matches!(registry.state, RegistryState::Answered | RegistryState::NameRefused));
        page.gauge("rollcall_peer_registry_up", "Whether the registry answered the latest request.").sample(up);
    }
    if let Some(bytes) = context.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Resident memory of the process.").sample(bytes);
    }
}

fn traffic(page: &mut MetricsPage, stats: &PeerStats, io_counters: &IoCounters) {
    let Counters { received, sent, posts_received, posts_sent, datagrams_received, datagrams_sent, .. } =
        stats.counters;
    page.counter("rollcall_peer_posts_received_total", "Posts of other peers, each counted once.")
        .sample(posts_received);
    page.counter("rollcall_peer_posts_sent_total", "Posts of this peer.").sample(posts_sent);
    let mut family =
        page.counter("rollcall_peer_messages_received_total", "Received mesh messages without heartbeats.");
    for kind in kinds_without_heartbeat() {
        family = family.labelled_sample(&[("kind", kind_name(kind))], received.of(kind));
    }
    let help = "Sent mesh messages without heartbeats, counted per link.";
    let mut family = page.counter("rollcall_peer_messages_sent_total", help);
    for kind in kinds_without_heartbeat() {
        family = family.labelled_sample(&[("kind", kind_name(kind))], sent.of(kind));
    }
    let heartbeats = received.of(MessageKind::Heartbeat);
    page.counter("rollcall_peer_heartbeats_received_total", "Heartbeats received from linked peers.")
        .sample(heartbeats);
    let heartbeats = sent.of(MessageKind::Heartbeat);
    page.counter("rollcall_peer_heartbeats_sent_total", "Heartbeats sent to linked peers.").sample(heartbeats);
    let (read, written) = (io_counters.bytes_in.value(), io_counters.bytes_out.value());
    page.counter("rollcall_peer_received_bytes_total", "Bytes read from mesh connections.").sample(read);
    page.counter("rollcall_peer_sent_bytes_total", "Bytes written to mesh connections.").sample(written);
    page.counter("rollcall_peer_datagrams_received_total", "Received LAN datagrams.").sample(datagrams_received);
    let help = "Sent LAN datagrams; a broadcast counts once.";
    page.counter("rollcall_peer_datagrams_sent_total", help).sample(datagrams_sent);
}

fn links(page: &mut MetricsPage, stats: &PeerStats) {
    let Counters { dials, redials, failed_dials, lost_links, timed_out_links, .. } = stats.counters;
    page.counter("rollcall_peer_dials_total", "Dial attempts.").sample(dials);
    let help = "Dial attempts at addresses at which a link was lost or a dial failed before.";
    page.counter("rollcall_peer_reconnects_total", help).sample(redials);
    page.counter("rollcall_peer_dials_failed_total", "Failed dial attempts.").sample(failed_dials);
    let slow = stats.drops.slow_links;
    let ended = lost_links.saturating_sub(timed_out_links + slow);
    let help =
        "Ended links by reason: ended (any other reason), silent (no heartbeat), slow (the peer read too slowly).";
    let family = page.counter("rollcall_peer_links_lost_total", help);
    let family =
        family.labelled_sample(&[("reason", "ended")], ended).labelled_sample(&[("reason", "silent")], timed_out_links);
    let _ = family.labelled_sample(&[("reason", "slow")], slow);
}

fn drops_and_errors(page: &mut MetricsPage, stats: &PeerStats, io_counters: &IoCounters) {
    let Counters { duplicates, limited_replies, rejected_lan_peers, .. } = stats.counters;
    page.counter("rollcall_peer_duplicates_total", "Duplicate chat messages that were dropped.").sample(duplicates);
    let help = "Dropped by reason: too_long (messages too long for a link), unread (notices that were not read), lan_limit (replies \
                to a rate-limited LAN source), lan_full (new peers on a full LAN).";
    let mut family = page.counter("rollcall_peer_dropped_total", help);
    let drops = stats.drops;
    for (reason, count) in [
        ("too_long", drops.too_long),
        ("unread", drops.unread_notices),
        ("lan_limit", limited_replies),
        ("lan_full", rejected_lan_peers),
    ] {
        family = family.labelled_sample(&[("reason", reason)], count);
    }
    let help = "Errors by kind.";
    let mut family = page.counter("rollcall_peer_errors_total", help);
    for (kind, count) in [
        ("accept", io_counters.accept_errors.value()),
        ("greeting", io_counters.failed_greetings.value()),
        ("message", io_counters.invalid_messages.value()),
        ("stream", io_counters.broken_streams.value()),
        ("datagram", io_counters.invalid_datagrams.value()),
        ("datagram_send", io_counters.datagram_send_errors.value()),
        ("registry", io_counters.registry_failures.value()),
        ("history", drops.unsaved_entries),
    ] {
        family = family.labelled_sample(&[("kind", kind)], count);
    }
}

fn kinds_without_heartbeat() -> impl Iterator<Item = MessageKind> {
    MessageKind::ALL.into_iter().filter(|kind| *kind != MessageKind::Heartbeat)
}

fn kind_name(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Chat => "chat",
        MessageKind::Direct => "direct",
        MessageKind::Profile => "profile",
        MessageKind::PeerList => "peer_list",
        MessageKind::History => "history",
        MessageKind::LazyPush => "lazy_push",
        MessageKind::Heartbeat => "heartbeat",
        MessageKind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn text(stats: &PeerStats, registry: Option<RegistryStatus>, name: &str) -> String {
        let io_counters = IoCounters::default();
        io_counters.bytes_in.add(77);
        io_counters.failed_greetings.add(2);
        let identity = PeerIdentity { id: "00ff".into(), name: name.into(), version: "1", uptime_seconds: 9 };
        let context = PageContext {
            identity: &identity,
            max_connections: 50,
            registry,
            io_counters: &io_counters,
            resident_bytes: Some(4096),
        };
        page(stats, &context)
    }

    fn is_name(text: &str) -> bool {
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    }

    /// Parses the labels from after the `{`. Returns the labels and the text after the `}`.
    fn labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
        let mut labels = Vec::new();
        loop {
            let (name, quoted) = rest.split_once("=\"").expect("a label has a value");
            assert!(is_name(name), "{name}");
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next().expect("a label ends") {
                    (at, '"') => break at + 1,
                    (_, '\\') => match chars.next().expect("an escape has two characters").1 {
                        'n' => value.push('\n'),
                        c @ ('"' | '\\') => value.push(c),
                        c => panic!("invalid escape: {c}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((name.to_owned(), value));
            rest = &quoted[end..];
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return (labels, rest.strip_prefix('}').expect("labels end")),
            }
        }
    }

    /// Parses the page as Prometheus does: samples by name and labels.
    fn parsed(page: &str) -> BTreeMap<String, u64> {
        let mut families: BTreeMap<String, (bool, Option<String>)> = BTreeMap::new();
        let mut last = String::new();
        let mut samples = BTreeMap::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a text follows the name");
                assert!(is_name(name) && !help.is_empty());
                assert_eq!(families.insert(name.to_owned(), (true, None)), None, "{name} is there twice");
                name.clone_into(&mut last);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type follows the name");
                assert_eq!(name, last, "the type follows the help");
                assert!(["gauge", "counter"].contains(&kind));
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                families.get_mut(name).expect("a HELP line precedes the TYPE line").1 = Some(kind.to_owned());
            } else {
                let end = line.find(['{', ' ']).expect("a sample has a value");
                let name = &line[..end];
                assert_eq!(name, last, "samples follow their description");
                assert!(families[name].1.is_some(), "{name} has no type");
                let (labels, rest) =
                    if line[end..].starts_with('{') { labels(&line[end + 1..]) } else { (Vec::new(), &line[end..]) };
                let value = rest.strip_prefix(' ').expect("a space before the value").parse().expect("a number");
                assert_eq!(samples.insert(format!("{name}{labels:?}"), value), None, "{line} is there twice");
            }
        }
        samples
    }

    #[test]
    fn the_page_is_valid_and_each_description_precedes_its_samples() {
        let stats = PeerStats { lan_peers: Some(1), ..PeerStats::default() };
        let samples = parsed(&text(
            &stats,
            Some(RegistryStatus { state: RegistryState::Unreachable, last_answer_at: None }),
            "eve\"} 1\nforged_total 7\\",
        ));
        assert!(samples.len() > 40, "{samples:?}");
        let info = r#"rollcall_peer_info[("id", "00ff"), ("name", "eve\"} 1\nforged_total 7\\"), ("version", "1")]"#;
        assert_eq!(samples.get(info), Some(&1), "{samples:?}");
        assert_eq!(samples["rollcall_peer_registry_up[]"], 0);
    }

    #[test]
    fn each_value_has_its_metric_name() {
        let mut stats = PeerStats { links: 3, history: 12, addresses: 5, ..PeerStats::default() };
        stats.counters.posts_received = 4;
        stats.counters.lost_links = 10;
        stats.counters.timed_out_links = 2;
        stats.drops.slow_links = 1;
        stats.drops.unread_notices = 6;
        stats.counters.redials = 8;
        let samples = parsed(&text(&stats, None, "alice"));
        for (name, value) in [
            ("rollcall_peer_connections[]", 3),
            ("rollcall_peer_history_entries[]", 12),
            ("rollcall_peer_known_addresses[]", 5),
            ("rollcall_peer_posts_received_total[]", 4),
            ("rollcall_peer_reconnects_total[]", 8),
            ("rollcall_peer_received_bytes_total[]", 77),
            (r#"rollcall_peer_links_lost_total[("reason", "ended")]"#, 7),
            (r#"rollcall_peer_links_lost_total[("reason", "silent")]"#, 2),
            (r#"rollcall_peer_links_lost_total[("reason", "slow")]"#, 1),
            (r#"rollcall_peer_dropped_total[("reason", "unread")]"#, 6),
            (r#"rollcall_peer_errors_total[("kind", "greeting")]"#, 2),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name} in {samples:?}");
        }
        assert!(!samples.contains_key("rollcall_peer_registry_up[]"), "there is no registry");
    }
}
