//! Names of peers: the peer that a typed name stands for, and how a peer is shown.

use super::context::Context;
use super::lan_peers::LanPeers;
use super::mesh::Mesh;
use super::notice::Contact;
use crate::lan_user_id::LanUserId;
use crate::peer_id::PeerId;
use crate::text::{MAX_TEXT_BYTES, replace_line_breaks, sanitize_line};

/// One line of the list of who is there.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Known {
    /// Who.
    #[serde(flatten)]
    pub contact: Contact,
    /// Where it is reached.
    pub at: String,
    /// Whether it claims an address that it does not write from.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mismatched: bool,
}

/// Whom a message is for.
enum Target {
    Mesh(PeerId),
    Lan(LanUserId),
}

/// Who is there now: the mesh, then the LAN.
pub(super) fn known(mesh: &Mesh, lan: Option<&LanPeers>) -> Vec<Known> {
    let linked = mesh.links.peers().map(|peer| {
        let at = mesh.links.book.address_of(peer).map_or_else(|| "linked".to_owned(), ToString::to_string);
        Known { contact: mesh.contact(peer), at, mismatched: false }
    });
    let near = lan.into_iter().flat_map(|lan| &lan.peers).map(|(user, peer)| Known {
        contact: peer.contact(user),
        at: peer.addr.to_string(),
        mismatched: peer.is_mismatched,
    });
    linked.chain(near).collect()
}

/// The person says something to whom it calls `to`.
pub(super) fn whisper(to: &str, text: String, mesh: &Mesh, lan: Option<&LanPeers>, cx: &mut Context) {
    if text.len() > MAX_TEXT_BYTES {
        cx.refuse(format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len()));
        return;
    }
    match find(to, mesh, lan) {
        Ok(Target::Mesh(peer)) => mesh.whisper(peer, text, cx),
        Ok(Target::Lan(user)) => {
            if let Some(lan) = lan {
                lan.whisper(user, text, cx);
            }
        }
        Err(why) => cx.refuse(why),
    }
}

/// Looks for somebody by the whole name, then by the part before the `@`, then by the name that is displayed.
fn find(wanted: &str, mesh: &Mesh, lan: Option<&LanPeers>) -> Result<Target, String> {
    let wanted = wanted.trim();
    let (mut found, mut displayed) = (Vec::new(), Vec::new());
    let named = |uid: &str| uid.rsplit_once('@').map_or(uid, |(name, _)| name) == wanted;
    for peer in mesh.links.peers() {
        let contact = mesh.contact(peer);
        if contact.uid == wanted || peer.to_string() == wanted {
            return Ok(Target::Mesh(peer));
        }
        if named(&contact.uid) {
            found.push((contact.uid, Target::Mesh(peer)));
        } else if is_displayed(&contact, wanted) {
            displayed.push((contact.uid, Target::Mesh(peer)));
        }
    }
    for (lan, (user, peer)) in lan.into_iter().flat_map(|lan| lan.peers.iter().map(move |peer| (lan, peer))) {
        if user.as_str() == wanted {
            return Ok(Target::Lan(user.clone()));
        }
        // One who is known to be a linked peer of the mesh is reached there.
        if lan.linked_peer(peer, &mesh.links).is_some() {
            continue;
        }
        if named(user.as_str()) {
            found.push((user.to_string(), Target::Lan(user.clone())));
        } else if is_displayed(&peer.contact(user), wanted) {
            displayed.push((user.to_string(), Target::Lan(user.clone())));
        }
    }
    if found.is_empty() && !is_reserved(wanted, mesh) {
        found = displayed;
    }
    match found.len() {
        0 => Err(format!("nobody here is called {:?}; LIST shows who is there", replace_line_breaks(wanted))),
        1 => Ok(found.remove(0).1),
        _ => {
            let uids: Vec<String> = found.into_iter().map(|(uid, _)| uid).collect();
            Err(format!("several are called so: {}; give the whole name", uids.join(", ")))
        }
    }
}

/// Whether nobody is found by displaying this. Anybody may display anything, so it must not stand for what tells peers
/// apart, nor for somebody else of the mesh who is not linked, or has left.
fn is_reserved(wanted: &str, mesh: &Mesh) -> bool {
    wanted.contains('@') || PeerId::parse(wanted).is_ok() || mesh.tree.senders.has_name(wanted)
}

/// Whether this is what a person sees as the name.
fn is_displayed(contact: &Contact, wanted: &str) -> bool {
    contact.display_name.as_ref().is_some_and(|name| sanitize_line(name, name.len()).trim() == wanted)
}

#[cfg(test)]
mod tests {
    use super::super::tests::rules;
    use super::super::{Draw, Engine, Event, LinkId, Now, Rules};
    use super::*;
    use crate::mesh::{MeshMessage, MessageBody};
    use crate::nickname::Nickname;
    use crate::profile::PeerProfile;
    use rollcall_core::BootMs;

    const NOW: Now = Now { boot: BootMs(0), unix_s: 1_728_938_500 };

    /// An engine that is linked to peers 1, 2, ... of these names, each with what it displays.
    fn among(peers: &[(&str, &str)]) -> Engine {
        let rules = Rules { peers: Vec::new(), max_connections: 9, ..rules() };
        let mut engine = Engine::new(rules, Vec::new(), NOW);
        for (number, (name, displayed)) in (1..).zip(peers) {
            let (link, peer) = (LinkId(number), PeerId(number.into()));
            engine.handle(
                Event::Linked { link, peer, dialled: None, remote: "10.0.0.9".parse().unwrap() },
                NOW,
                Draw(number),
            );
            let name = Nickname::parse(name).unwrap();
            for (count, body) in
                (0..).zip([MessageBody::heartbeat(None), MessageBody::Profile(PeerProfile::new(displayed, "", None))])
            {
                let name = Some(name.clone());
                let message = MeshMessage { sender: peer, number: (1 << 60) + count, said_at: 5, name, body };
                engine.handle(Event::Heard { link, message, text_times: false }, NOW, Draw(number));
            }
        }
        engine
    }

    fn found(engine: &Engine, wanted: &str) -> Result<u128, String> {
        find(wanted, &engine.mesh, engine.lan.as_ref()).map(|target| match target {
            Target::Mesh(peer) => peer.0,
            Target::Lan(user) => panic!("{user} is not of the mesh"),
        })
    }

    #[test]
    fn somebody_is_found_by_the_name_that_is_displayed_unless_it_is_anothers() {
        let engine = among(&[
            ("bob", "Bob the Builder "),
            ("al", "bob"),
            ("eve", "al@00000000"),
            ("cat", "Tom"),
            ("dan", "Tom"),
        ]);
        assert_eq!(found(&engine, "Bob the Builder"), Ok(1));
        assert_eq!(found(&engine, "bob"), Ok(1), "a name wins over one that is displayed");
        assert_eq!(found(&engine, &engine.mesh.contact(PeerId(2)).uid), Ok(2), "and a whole name over everything");
        let several = found(&engine, "Tom").unwrap_err();
        assert!(several.contains("cat@") && several.contains("dan@"), "{several}");
        assert!(found(&engine, "Bob").unwrap_err().starts_with("nobody here is called"));
    }

    #[test]
    fn nobody_displays_an_id_a_whole_name_or_the_name_of_who_has_left() {
        let gone = PeerId(77).to_string();
        let mut engine = among(&[("bob", "hi"), ("eve", "bob"), ("fay", &gone), ("gus", "x@10.0.0.1")]);
        engine.handle(Event::Unlinked { link: LinkId(1), why: String::new() }, NOW, Draw(1));
        for wanted in ["bob", gone.as_str(), "x@10.0.0.1"] {
            assert!(found(&engine, wanted).unwrap_err().starts_with("nobody here is called"), "{wanted}");
        }
    }
}
