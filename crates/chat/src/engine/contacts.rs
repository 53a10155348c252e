//! Contacts: lists the reachable peers, and finds the peer for a name that the user typed.

use super::context::Context;
use super::lan_peers::LanPeers;
use super::mesh_peers::MeshPeers;
use super::notice::Contact;
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use crate::text::{MAX_TEXT_BYTES, replace_line_breaks, sanitize_line};
use rollcall_core::BootMs;

/// One row of the peer list.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct PeerInfo {
    /// The peer.
    #[serde(flatten)]
    pub contact: Contact,
    /// The address at which the peer is reached; `linked` if the address is not known.
    pub at: String,
    /// Whether the peer claims an address that differs from the source of its datagrams.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mismatched: bool,
    /// Time since the latest message or datagram of the peer, in seconds.
    pub seen_seconds_ago: u64,
    /// Whether the peer follows this peer. Only LAN peers do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follows_you: bool,
    /// Whether this peer follows the peer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub you_follow: bool,
}

/// Largest number of peers that the reason of a rejected name lists.
const MAX_SUGGESTED: usize = 16;

/// Recipient of a direct message.
enum Recipient {
    Mesh(PeerId),
    Lan(LanUserId),
}

/// The reachable peers: first the peers of the mesh, then the peers of the LAN.
pub(super) fn list_peers(mesh: &MeshPeers, lan: Option<&LanPeers>, now: BootMs) -> Vec<PeerInfo> {
    let linked = mesh.links.peers().map(|peer| {
        let at = mesh.links.addresses.address_of(peer).map_or_else(|| "linked".to_owned(), ToString::to_string);
        let link = mesh.links.link_to(peer).and_then(|link| mesh.links.get(link));
        PeerInfo {
            contact: mesh.contact(peer),
            at,
            mismatched: false,
            seen_seconds_ago: link.map_or(0, |link| now.since(link.heartbeats.last_seen_at) / 1000),
            follows_you: false,
            you_follow: false,
        }
    });
    let lan_peers = lan.into_iter().flat_map(|lan| lan.table.peers.iter().map(move |peer| (lan, peer)));
    let lan_peers = lan_peers.map(|(lan, (user, peer))| PeerInfo {
        contact: peer.contact(user),
        at: peer.addr.to_socket_addr().to_string(),
        mismatched: peer.is_mismatched,
        seen_seconds_ago: now.since(peer.last_seen_at) / 1000,
        follows_you: peer.is_follower,
        you_follow: lan.is_followed(user),
    });
    linked.chain(lan_peers).collect()
}

/// Sends a direct message. `to` is the name of the recipient as the user typed it.
pub(super) fn send_direct(to: &str, text: String, mesh: &MeshPeers, lan: Option<&LanPeers>, cx: &mut Context) {
    if text.len() > MAX_TEXT_BYTES {
        cx.reject(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len()));
        return;
    }
    match find_recipient(to, mesh, lan) {
        Ok(Recipient::Mesh(peer)) => mesh.send_direct(peer, text, cx),
        Ok(Recipient::Lan(user)) => {
            if let Some(lan) = lan {
                lan.send_direct(user, text, cx);
            }
        }
        Err(reason) => cx.reject(reason),
    }
}

/// Follows a LAN peer, or no longer follows it. `to` is its name as the user typed it.
pub(super) fn follow(to: &str, follows: bool, mesh: &MeshPeers, lan: Option<&mut LanPeers>, cx: &mut Context) {
    let found = match lan.as_deref().map(|lan| find_followed(to, lan)) {
        Some(Ok(Some(user))) if !follows => Ok(Recipient::Lan(user)),
        Some(Err(reason)) if !follows => Err(reason),
        _ => find_recipient(to, mesh, lan.as_deref()),
    };
    let user = match found {
        Ok(Recipient::Lan(user)) => Some(user),
        // The peer may be on the LAN, too.
        Ok(Recipient::Mesh(peer)) => lan.as_deref().and_then(|lan| lan.table.user_of(peer, &mesh.links)),
        Err(reason) => {
            cx.reject(reason);
            return;
        }
    };
    match (user, lan) {
        (Some(user), Some(lan)) => lan.follow(&user, follows, cx),
        _ => cx.reject(
            "this peer is on the mesh only, where everybody gets all posts; only peers of the LAN are followed",
        ),
    }
}

/// Checks that a name means one peer, or with `may_have_left` one followed user. The reason of an
/// error lists peers.
pub(super) fn check_name(
    wanted: &str,
    may_have_left: bool,
    mesh: &MeshPeers,
    lan: Option<&LanPeers>,
) -> Result<(), String> {
    match lan.filter(|_| may_have_left).map_or(Ok(None), |lan| find_followed(wanted, lan))? {
        Some(_) => Ok(()),
        None => find_recipient(wanted, mesh, lan).map(|_| ()),
    }
}

/// Finds a followed user by the user id, then by the part before the `@`. The user may have left.
fn find_followed(wanted: &str, lan: &LanPeers) -> Result<Option<LanUserId>, String> {
    let wanted = wanted.trim();
    let found: Vec<&LanUserId> =
        lan.followed().filter(|user| user.as_str() == wanted || user.name() == wanted).collect();
    match found[..] {
        [] => Ok(None),
        [user] => Ok(Some(user.clone())),
        _ => Err(ambiguous_name(found.into_iter().map(LanUserId::as_str))),
    }
}

/// The reason for the user if several peers have the name.
fn ambiguous_name<'u>(uids: impl Iterator<Item = &'u str>) -> String {
    format!("several peers have this name: {}; give the full name", uids.collect::<Vec<_>>().join(", "))
}

/// Finds a peer by its full name, then by the part before the `@`, then by its display name.
fn find_recipient(wanted: &str, mesh: &MeshPeers, lan: Option<&LanPeers>) -> Result<Recipient, String> {
    let wanted = wanted.trim();
    let (mut found, mut displayed) = (Vec::new(), Vec::new());
    let has_name = |uid: &str| uid.rsplit_once('@').map_or(uid, |(name, _)| name) == wanted;
    for peer in mesh.links.peers() {
        let contact = mesh.contact(peer);
        if contact.uid == wanted || peer.to_string() == wanted {
            return Ok(Recipient::Mesh(peer));
        }
        if has_name(&contact.uid) {
            found.push((contact.uid, Recipient::Mesh(peer)));
        } else if has_display_name(&contact, wanted) {
            displayed.push((contact.uid, Recipient::Mesh(peer)));
        }
    }
    for (lan, (user, peer)) in lan.into_iter().flat_map(|lan| lan.table.peers.iter().map(move |peer| (lan, peer))) {
        // A user id without an `@` is no more than the name of others.
        if user.as_str() == wanted && wanted.contains('@') {
            return Ok(Recipient::Lan(user.clone()));
        }
        // A LAN peer that is also a linked mesh peer is reached over the mesh.
        if lan.table.linked_mesh_peer(peer, &mesh.links).is_some() {
            continue;
        }
        if has_name(user.as_str()) {
            found.push((user.to_string(), Recipient::Lan(user.clone())));
        } else if has_display_name(&peer.contact(user), wanted) {
            displayed.push((user.to_string(), Recipient::Lan(user.clone())));
        }
    }
    if found.is_empty() && !is_reserved(wanted, mesh) {
        found = displayed;
    }
    match found.len() {
        0 => Err(format!(
            "no peer is called {:?}, so nothing was sent; {}; POST sends any text to everybody",
            replace_line_breaks(wanted),
            describe_peers(mesh, lan)
        )),
        1 => Ok(found.remove(0).1),
        _ => Err(ambiguous_name(found.iter().map(|(uid, _)| uid.as_str()))),
    }
}

/// Lists the first peers, for a user who typed a name that no peer has.
fn describe_peers(mesh: &MeshPeers, lan: Option<&LanPeers>) -> String {
    let linked = mesh.links.peers().map(|peer| mesh.contact(peer).uid);
    let uids: Vec<String> =
        linked.chain(lan.into_iter().flat_map(|lan| lan.table.peers.keys()).map(ToString::to_string)).collect();
    let shown = uids.iter().take(MAX_SUGGESTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match uids.len() {
        0 => "no peers are known yet".to_owned(),
        count if count > MAX_SUGGESTED => format!("the peers are {shown} and {} more", count - MAX_SUGGESTED),
        _ => format!("the peers are {shown}"),
    }
}

/// Whether a display name must not be used to find a peer. Anybody can choose any display name, so
/// a peer could pose as another. A display name is not used if it looks like a full name or a peer
/// id, or if it is the nickname of a known mesh peer, even one that is not linked or has left.
fn is_reserved(wanted: &str, mesh: &MeshPeers) -> bool {
    wanted.contains('@') || PeerId::parse(wanted).is_ok() || mesh.tree.authors.has_name(wanted)
}

/// Whether the display name of the contact, in the form that the user sees, equals `wanted`.
fn has_display_name(contact: &Contact, wanted: &str) -> bool {
    contact.display_name.as_ref().is_some_and(|name| sanitize_line(name, name.len()).trim() == wanted)
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::super::{Engine, EngineConfig, Event, EventRng, LinkId, Now};
    use super::*;
    use crate::mesh::{MeshMessage, MessageBody};
    use crate::nickname::Nickname;
    use crate::profile::PeerProfile;
    use rollcall_core::BootMs;

    const NOW: Now = Now { boot: BootMs(0), unix_s: 1_728_938_500 };

    /// An engine linked to peers 1, 2, ... Each peer has a nickname and a display name.
    fn engine_with_peers(peers: &[(&str, &str)]) -> Engine {
        let config = EngineConfig { peers: Vec::new(), max_connections: 9, ..config() };
        let mut engine = Engine::new(config, Vec::new(), NOW);
        for (number, (name, displayed)) in (1..).zip(peers) {
            let (link, peer) = (LinkId(number), PeerId(number.into()));
            engine.handle(
                Event::LinkOpened { link, peer, dialled: None, remote: "10.0.0.9".parse().unwrap() },
                NOW,
                EventRng(number),
            );
            let name = Nickname::parse(name).unwrap();
            for (count, body) in
                (0..).zip([MessageBody::heartbeat(None), MessageBody::Profile(PeerProfile::new(displayed, "", None))])
            {
                let name = Some(name.clone());
                let message = MeshMessage { sender: peer, number: (1 << 60) + count, said_at: 5, name, body };
                engine.handle(Event::MessageReceived { link, message }, NOW, EventRng(number));
            }
        }
        engine
    }

    fn found_id(engine: &Engine, wanted: &str) -> Result<u128, String> {
        find_recipient(wanted, &engine.mesh, engine.lan.as_ref()).map(|target| match target {
            Recipient::Mesh(peer) => peer.0,
            Recipient::Lan(user) => panic!("{user} is not a mesh peer"),
        })
    }

    #[test]
    fn a_display_name_finds_a_peer_unless_it_is_the_name_of_another() {
        let engine = engine_with_peers(&[
            ("bob", "Bob the Builder "),
            ("al", "bob"),
            ("eve", "al@00000000"),
            ("cat", "Tom"),
            ("dan", "Tom"),
        ]);
        assert_eq!(found_id(&engine, "Bob the Builder"), Ok(1));
        assert_eq!(found_id(&engine, "bob"), Ok(1), "a nickname wins over a display name");
        assert_eq!(found_id(&engine, &engine.mesh.contact(PeerId(2)).uid), Ok(2), "a full name wins over both");
        let ambiguous = found_id(&engine, "Tom").unwrap_err();
        assert!(ambiguous.contains("cat@") && ambiguous.contains("dan@"), "{ambiguous}");
        assert!(found_id(&engine, "Bob").unwrap_err().starts_with("no peer is called"));
    }

    #[test]
    fn a_display_name_cannot_stand_for_an_id_a_full_name_or_a_peer_that_left() {
        let departed_id = PeerId(77).to_string();
        let mut engine =
            engine_with_peers(&[("bob", "hi"), ("eve", "bob"), ("fay", &departed_id), ("gus", "x@10.0.0.1")]);
        engine.handle(Event::LinkClosed { link: LinkId(1), reason: String::new() }, NOW, EventRng(1));
        for wanted in ["bob", departed_id.as_str(), "x@10.0.0.1"] {
            assert!(found_id(&engine, wanted).unwrap_err().starts_with("no peer is called"), "{wanted}");
        }
    }
}
