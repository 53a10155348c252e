//! Whom a person means, and how somebody is shown.

use super::event::{Action, Now};
use super::neighbours::Neighbour;
use super::notice::{Contact, Notice, Via};
use super::{Actions, Engine};
use crate::peer::nickname::Nickname;
use crate::peer::peer_id::PeerId;
use crate::peer::profile::Profile;
use crate::peer::text::{MAX_TEXT_BYTES, one_line};
use crate::peer::user_id::UserId;

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
    Lan(UserId),
}

impl Engine {
    /// Who is there now: the mesh, then the LAN.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        let mesh = self.by_peer.keys().map(|peer| {
            let at = self.book.address_of(*peer).map_or_else(|| "linked".to_owned(), ToString::to_string);
            Known { contact: self.contact(*peer), at, mismatched: false }
        });
        let lan = self.neighbours.iter().flat_map(|lan| &lan.peers).map(|(user, peer)| Known {
            contact: lan_contact(user, peer),
            at: peer.addr.to_string(),
            mismatched: peer.is_mismatched,
        });
        mesh.chain(lan).collect()
    }

    /// How somebody who said something is shown.
    #[must_use]
    pub fn author(&self, author: &super::Author, name: Option<&Nickname>) -> Contact {
        match author {
            super::Author::Mesh(id) => {
                let sender = self.senders.get(id);
                let name = sender.and_then(|sender| sender.name.as_ref()).or(name);
                mesh_contact(*id, Some((name, sender.and_then(|sender| sender.profile.as_ref()))))
            }
            super::Author::Lan(uid) => Contact { uid: uid.clone(), display_name: None, via: Via::Lan },
        }
    }

    /// The person says something to whom it calls `to`.
    pub(super) fn whisper(&mut self, to: &str, text: String, now: Now, out: &mut Actions) {
        if text.len() > MAX_TEXT_BYTES {
            let why = format!("a message of {} bytes is too long: at most {MAX_TEXT_BYTES}", text.len());
            out.push(Action::Tell(Notice::Refused { why }));
            return;
        }
        match self.find(to) {
            Ok(Target::Mesh(peer)) => self.whisper_on_mesh(peer, text, now, out),
            Ok(Target::Lan(user)) => self.whisper_on_lan(user, text, now, out),
            Err(why) => out.push(Action::Tell(Notice::Refused { why })),
        }
    }

    /// Looks for somebody by the whole name, then by the part before the `@`.
    fn find(&self, wanted: &str) -> Result<Target, String> {
        let wanted = wanted.trim();
        let mut found: Vec<(String, Target)> = Vec::new();
        let named = |uid: &str| uid.rsplit_once('@').map_or(uid, |(name, _)| name) == wanted;
        for peer in self.by_peer.keys() {
            let uid = self.contact(*peer).uid;
            if uid == wanted || peer.to_string() == wanted {
                return Ok(Target::Mesh(*peer));
            }
            if named(&uid) {
                found.push((uid, Target::Mesh(*peer)));
            }
        }
        for (user, peer) in self.neighbours.iter().flat_map(|lan| &lan.peers) {
            if user.as_str() == wanted {
                return Ok(Target::Lan(user.clone()));
            }
            // One who is known to be a linked peer of the mesh is reached there.
            let is_linked = peer.peer.is_some_and(|peer| self.by_peer.contains_key(&peer));
            if named(user.as_str()) && !is_linked {
                found.push((user.to_string(), Target::Lan(user.clone())));
            }
        }
        match found.len() {
            0 => Err(format!("nobody here is called {:?}; LIST shows who is there", one_line(wanted))),
            1 => Ok(found.remove(0).1),
            _ => {
                let uids: Vec<String> = found.into_iter().map(|(uid, _)| uid).collect();
                Err(format!("several are called so: {}; give the whole name", uids.join(", ")))
            }
        }
    }
}

pub(super) fn mesh_contact(peer: PeerId, known: Option<(Option<&Nickname>, Option<&Profile>)>) -> Contact {
    let (name, profile) = known.unwrap_or_default();
    let uid = name.map_or_else(|| peer.to_string(), |name| format!("{name}@{}", peer.short()));
    Contact { uid, display_name: display_name(profile), via: Via::Mesh }
}

pub(super) fn lan_contact(user: &UserId, peer: &Neighbour) -> Contact {
    Contact { uid: user.to_string(), display_name: display_name(peer.profile.as_ref()), via: Via::Lan }
}

fn display_name(profile: Option<&Profile>) -> Option<String> {
    profile.map(|profile| profile.display_name.clone()).filter(|name| !name.trim().is_empty())
}
