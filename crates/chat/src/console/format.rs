//! Formats notices, peer lists and the history as lines.
//!
//! Texts of other peers can contain terminal escapes. This module replaces them in every text; the
//! callers print the lines unchanged.

use crate::engine::{ChatEntry, ChatTransport, Contact, Notice, PeerInfo};
use crate::text::sanitize_line;
use rollcall_core::WallMs;

/// Longest name, user id or address in the output, in characters.
const NAME_CHARS: usize = 64;
/// Longest other text in the output, in characters.
const TEXT_CHARS: usize = 8 * 1024;

/// Formats a notice for the verbose or the normal mode; no lines if this mode does not show the
/// notice.
#[must_use]
pub fn notice_lines(notice: &Notice, is_verbose: bool) -> Vec<String> {
    match notice {
        // A message of white space only is not shown: its line would contain only a name.
        Notice::Post { text, .. } | Notice::Direct { text, .. } if text.trim().is_empty() => Vec::new(),
        Notice::PeerFound { peer, .. } if is_verbose => {
            vec![format!("[DISCOVERY] Found peer: {}", sanitized_uid(peer))]
        }
        Notice::PeerLost { peer, reason } if is_verbose => {
            vec![format!("[DISCOVERY] Lost peer: {}: {}", sanitized_uid(peer), sanitized_text(reason))]
        }
        Notice::Post { from, text: content, .. } if is_verbose => {
            vec![format!("[POST] {}: {}", sanitized_uid(from), sanitized_text(content))]
        }
        Notice::Direct { from, text: content, .. } if is_verbose => {
            vec![format!("[DM] From {}: {}", sanitized_uid(from), sanitized_text(content))]
        }
        Notice::Post { from, text: content, .. } | Notice::Direct { from, text: content, .. } => {
            vec![format!("{}: {}", shown_name(from), sanitized_text(content))]
        }
        Notice::Profile { from, profile, refused } => {
            let avatar = profile.avatar.as_ref();
            let mut lines = if is_verbose {
                let mut lines = vec![
                    format!("[PROFILE UPDATE] {} ({})", sanitized_name(&profile.display_name), sanitized_uid(from)),
                    format!("  Status: {}", sanitized_text(&profile.status)),
                ];
                lines.extend(
                    avatar.map(|avatar| format!("  Avatar: {} ({} bytes)", avatar.media_type(), avatar.size())),
                );
                lines
            } else {
                let avatar = avatar.map_or_else(String::new, |avatar| format!(" [{}]", avatar.media_type()));
                vec![format!("{}: {}{avatar}", shown_name(from), sanitized_text(&profile.status))]
            };
            lines.extend(
                refused.as_ref().map(|reason| format!("! the avatar of {} is left out: {reason}", sanitized_uid(from))),
            );
            lines
        }
        Notice::AddressMismatch { uid, source } => {
            vec![format!("! {} sends from {source}, which is not the address it claims", sanitized_name(uid))]
        }
        Notice::DuplicateName { uid, source } => {
            vec![format!("! another program at {source} uses the name {}", sanitized_name(uid))]
        }
        Notice::Unreachable { endpoint, reason } => {
            vec![format!("! cannot reach {endpoint}: {}; trying again", sanitized_text(reason))]
        }
        Notice::Rejected { reason } => vec![format!("! {}", sanitized_text(reason))],
        Notice::NamesReceived { from, uids } if is_verbose => {
            let names: Vec<String> = uids.iter().map(|uid| sanitized_name(uid)).collect();
            vec![format!("[PEER LIST] From {}: {}", sanitized_uid(from), names.join(", "))]
        }
        Notice::Follower { from, follows } => {
            let change = if *follows { "follows you" } else { "no longer follows you" };
            vec![format!("[FOLLOW] {} {change}", sanitized_uid(from))]
        }
        Notice::Following { to, follows } => {
            let change = if *follows { "You follow" } else { "You no longer follow" };
            vec![format!("[FOLLOW] {change} {}", sanitized_uid(to))]
        }
        Notice::SendingLast { messages } => vec![format!("sending the last {messages} messages")],
        Notice::NotSent { messages, to } => {
            let to = to.as_ref().map_or_else(|| "the mesh, because no peer was connected".to_owned(), sanitized_uid);
            vec![format!("! not sent to {to}: the last {messages} messages")]
        }
        // The user may have named the recipient by its display name, which is not unique. So the id
        // is shown.
        Notice::DirectSent { to } if to.display_name.is_some() => {
            vec![format!("[DM] To {} ({})", shown_name(to), sanitized_uid(to))]
        }
        Notice::PeerFound { .. }
        | Notice::PeerLost { .. }
        | Notice::NamesReceived { .. }
        | Notice::Sent { .. }
        | Notice::DirectSent { .. } => Vec::new(),
    }
}

/// Formats the list of known peers, with a header.
#[must_use]
pub fn peer_list_lines(known: &[PeerInfo]) -> Vec<String> {
    let header = format!("[KNOWN PEERS] ({} peers):", known.len());
    let rows = known.iter().map(|known| {
        let via = match known.contact.via {
            ChatTransport::Lan => "LAN",
            ChatTransport::Mesh => "mesh",
        };
        let display_name = known.contact.display_name.as_ref();
        let display_name = display_name.map_or_else(String::new, |name| format!(" ({})", sanitized_name(name)));
        let warning = if known.mismatched { ", which is not the address it claims" } else { "" };
        let follows_you = if known.follows_you { ", follows you" } else { "" };
        let you_follow = if known.you_follow { ", you follow it" } else { "" };
        let (uid, at) = (sanitized_uid(&known.contact), sanitized_name(&known.at));
        let seen = known.seen_seconds_ago;
        format!("  {uid}{display_name} at {at} [{via}]{warning}, seen {seen} s ago{follows_you}{you_follow}")
    });
    [header].into_iter().chain(rows).collect()
}

/// Formats the history.
#[must_use]
pub fn history_lines(messages: &[(Contact, ChatEntry)]) -> Vec<String> {
    let header = format!("[HISTORY] ({} messages):", messages.len());
    let rows = messages.iter().map(|(from, entry)| {
        let when = WallMs::new(entry.said_at.saturating_mul(1000)).to_rfc3339();
        format!("  {when} {}: {}", shown_name(from), sanitized_text(&entry.text))
    });
    [header].into_iter().chain(rows).collect()
}

/// Display name of a contact; its id if it has no display name.
fn shown_name(contact: &Contact) -> String {
    contact.display_name.as_ref().map_or_else(|| sanitized_uid(contact), |name| sanitized_name(name))
}

fn sanitized_uid(contact: &Contact) -> String {
    sanitized_name(&contact.uid)
}

fn sanitized_name(given: &str) -> String {
    sanitize_line(given, NAME_CHARS)
}

fn sanitized_text(content: &str) -> String {
    sanitize_line(content, TEXT_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Avatar, PeerProfile};
    use crate::text::is_hidden;

    fn al() -> Contact {
        Contact { uid: "alice@192.168.1.11".into(), display_name: Some("Al".into()), via: ChatTransport::Lan }
    }

    fn peer_info(contact: Contact) -> PeerInfo {
        let (follows_you, you_follow) = (false, false);
        PeerInfo { contact, at: String::new(), mismatched: false, seen_seconds_ago: 12, follows_you, you_follow }
    }

    #[test]
    fn each_notice_is_shown_as_documented() {
        let post = Notice::Post { from: al(), text: "hi".into(), said_at: 0, number: "1".into() };
        let direct = Notice::Direct { from: Contact { display_name: None, ..al() }, text: "psst".into(), said_at: 0 };
        let found = Notice::PeerFound { peer: al(), at: None };
        let avatar = Avatar::new(b"\xff\xd8\xff\xe0").unwrap();
        let profile = PeerProfile::new("Al", "here", Some(avatar));
        let profile = Notice::Profile { from: al(), profile, refused: None };
        assert_eq!(notice_lines(&found, true), ["[DISCOVERY] Found peer: alice@192.168.1.11"]);
        assert_eq!(notice_lines(&post, true), ["[POST] alice@192.168.1.11: hi"]);
        assert_eq!(notice_lines(&direct, true), ["[DM] From alice@192.168.1.11: psst"]);
        assert_eq!(
            notice_lines(&profile, true),
            ["[PROFILE UPDATE] Al (alice@192.168.1.11)", "  Status: here", "  Avatar: image/jpeg (4 bytes)"]
        );
        assert_eq!(notice_lines(&found, false), Vec::<String>::new());
        assert_eq!(notice_lines(&post, false), ["Al: hi"]);
        assert_eq!(notice_lines(&direct, false), ["alice@192.168.1.11: psst"]);
        assert_eq!(notice_lines(&profile, false), ["Al: here [image/jpeg]"]);
        let known = PeerInfo { at: "192.168.1.11:8500".into(), ..peer_info(al()) };
        let followed = PeerInfo { follows_you: true, you_follow: true, ..known.clone() };
        let row = "  alice@192.168.1.11 (Al) at 192.168.1.11:8500 [LAN], seen 12 s ago";
        assert_eq!(
            peer_list_lines(&[known, followed]),
            ["[KNOWN PEERS] (2 peers):".to_owned(), row.to_owned(), format!("{row}, follows you, you follow it")]
        );
        for (follows, lines) in [
            (true, ["[FOLLOW] alice@192.168.1.11 follows you", "[FOLLOW] You follow alice@192.168.1.11"]),
            (
                false,
                [
                    "[FOLLOW] alice@192.168.1.11 no longer follows you",
                    "[FOLLOW] You no longer follow alice@192.168.1.11",
                ],
            ),
        ] {
            assert_eq!(notice_lines(&Notice::Follower { from: al(), follows }, false), lines[..1]);
            assert_eq!(notice_lines(&Notice::Following { to: al(), follows }, false), lines[1..]);
        }
    }

    #[test]
    fn the_id_of_a_recipient_with_a_display_name_is_shown() {
        let to = |display_name| notice_lines(&Notice::DirectSent { to: Contact { display_name, ..al() } }, false);
        assert_eq!(to(al().display_name), ["[DM] To Al (alice@192.168.1.11)"]);
        assert_eq!(to(None), Vec::<String>::new());
    }

    #[test]
    fn messages_that_are_sent_at_the_end_or_not_at_all_are_counted() {
        let line = |notice: Notice| notice_lines(&notice, false).join("|");
        assert_eq!(line(Notice::SendingLast { messages: 90 }), "sending the last 90 messages");
        let not_sent = |to| line(Notice::NotSent { messages: 3, to });
        assert_eq!(not_sent(Some(al())), "! not sent to alice@192.168.1.11: the last 3 messages");
        assert_eq!(not_sent(None), "! not sent to the mesh, because no peer was connected: the last 3 messages");
    }

    #[test]
    fn a_message_of_only_white_space_is_not_shown() {
        for (text, is_blank) in [("", true), (" \t\r\n\u{a0}\u{2003}\u{2028}", true), (" . ", false)] {
            let post = Notice::Post { from: al(), text: text.into(), said_at: 0, number: "1".into() };
            let direct = Notice::Direct { from: al(), text: text.into(), said_at: 0 };
            for (notice, is_verbose) in [(&post, true), (&post, false), (&direct, true), (&direct, false)] {
                assert_eq!(notice_lines(notice, is_verbose).is_empty(), is_blank, "{text:?}");
            }
        }
    }

    #[test]
    fn texts_of_other_peers_reach_the_terminal_without_escapes() {
        let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\r\n[POST] bob: forged".repeat(999);
        let from = Contact { uid: evil.clone(), display_name: Some(evil.clone()), via: ChatTransport::Mesh };
        let profile = PeerProfile::new(&evil, &evil, None);
        let known = PeerInfo { at: evil.clone(), mismatched: true, ..peer_info(from.clone()) };
        for is_verbose in [true, false] {
            let notices = [
                Notice::Post { from: from.clone(), text: evil.clone(), said_at: 0, number: "1".into() },
                Notice::Direct { from: from.clone(), text: evil.clone(), said_at: 0 },
                Notice::Profile { from: from.clone(), profile: profile.clone(), refused: None },
                Notice::PeerFound { peer: from.clone(), at: Some(evil.clone()) },
                Notice::PeerLost { peer: from.clone(), reason: evil.clone() },
                Notice::AddressMismatch { uid: evil.clone(), source: "1.2.3.4".parse().unwrap() },
                Notice::NamesReceived { from: from.clone(), uids: vec![evil.clone()] },
                Notice::DirectSent { to: from.clone() },
                Notice::NotSent { messages: 2, to: Some(from.clone()) },
                Notice::Follower { from: from.clone(), follows: true },
                Notice::Following { to: from.clone(), follows: true },
                Notice::Rejected { reason: evil.clone() },
            ];
            let lines = notices.iter().flat_map(|notice| notice_lines(notice, is_verbose));
            for line in lines.chain(peer_list_lines(std::slice::from_ref(&known))) {
                assert!(!line.chars().any(is_hidden), "{line:?}");
                assert!(line.chars().count() < 10_000);
            }
        }
    }
}
