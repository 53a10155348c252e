//! What the person at the peer is told.

use std::net::IpAddr;

use serde::Serialize;

use crate::endpoint::PeerEndpoint;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;

/// Somebody, as people see it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Contact {
    /// What tells it apart: `name@ip` on the LAN, `name@` and the first digits of its id on the mesh.
    pub uid: String,
    /// The display name of its profile, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The link.
    pub via: ChatTransport,
}

impl Contact {
    /// A peer of the mesh, by what is known of it.
    pub(super) fn on_mesh(peer: PeerId, name: Option<&Nickname>, profile: Option<&PeerProfile>) -> Self {
        // It is made for every message.
        let uid = name.map_or_else(|| peer.to_string(), |name| [name.as_str(), "@", &peer.short()].concat());
        Self { uid, display_name: display_name(profile), via: ChatTransport::Mesh }
    }

    /// A peer of the LAN.
    pub(super) fn on_lan(user: &LanUserId, profile: Option<&PeerProfile>) -> Self {
        Self { uid: user.to_string(), display_name: display_name(profile), via: ChatTransport::Lan }
    }
}

fn display_name(profile: Option<&PeerProfile>) -> Option<String> {
    profile.map(|profile| profile.display_name.clone()).filter(|name| !name.trim().is_empty())
}

/// The links.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatTransport {
    /// Datagrams on the LAN.
    Lan,
    /// Connections of the mesh.
    Mesh,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A peer is there that was not, or came back.
    #[serde(rename = "found")]
    PeerFound {
        /// Who.
        peer: Contact,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// A peer is gone.
    #[serde(rename = "lost")]
    PeerLost {
        /// Who.
        peer: Contact,
        /// Why.
        #[serde(rename = "why")]
        reason: String,
    },
    /// Somebody said something to everybody.
    Post {
        /// Who.
        from: Contact,
        /// What.
        text: String,
        /// When, by the author's clock, in Unix seconds.
        said_at: i64,
        /// The author's number of it, in decimal digits.
        number: String,
    },
    /// Somebody said something to this peer.
    Direct {
        /// Who.
        from: Contact,
        /// What.
        text: String,
        /// When, by the author's clock, in Unix seconds.
        said_at: i64,
    },
    /// Somebody said who it is.
    Profile {
        /// Who.
        from: Contact,
        /// What it said.
        profile: PeerProfile,
        /// Why its avatar was left out, if it was.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// A peer of the LAN claims an address that it does not write from.
    #[serde(rename = "mismatch")]
    AddressMismatch {
        /// Who it says it is.
        uid: String,
        /// Where it writes from.
        source: IpAddr,
    },
    /// Another program on the LAN has this peer's own name.
    #[serde(rename = "doubled")]
    DuplicateName {
        /// The name.
        uid: String,
        /// Where it writes from.
        source: IpAddr,
    },
    /// Names that a peer of the LAN knows.
    #[serde(rename = "listed")]
    NamesReceived {
        /// Who told.
        from: Contact,
        /// Whom it knows.
        uids: Vec<String>,
    },
    /// An address is not reached; it is tried again.
    Unreachable {
        /// The address.
        endpoint: PeerEndpoint,
        /// Why.
        #[serde(rename = "why")]
        reason: String,
    },
    /// Something was said.
    Sent {
        /// To how many peers it goes directly.
        peers: usize,
    },
    /// A direct message was sent.
    #[serde(rename = "sent_to")]
    DirectSent {
        /// Whom.
        to: Contact,
    },
    /// What the person wanted was not done.
    #[serde(rename = "refused")]
    Rejected {
        /// Why, and what can be done.
        #[serde(rename = "why")]
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_json_of_each_notice_has_its_documented_names() {
        let al = || Contact { uid: "al@10.0.0.1".into(), display_name: Some("Al".into()), via: ChatTransport::Lan };
        let bob = || Contact { uid: "bob@00000000".into(), display_name: None, via: ChatTransport::Mesh };
        let source = "10.0.0.9".parse().unwrap();
        let endpoint = PeerEndpoint::parse("10.0.0.9:1").unwrap();
        let profile = PeerProfile::new("Al", "here", None);
        let profile_json = serde_json::to_value(&profile).unwrap();
        let (from_al, from_bob) = (
            json!({"uid": "al@10.0.0.1", "display_name": "Al", "via": "lan"}),
            json!({"uid": "bob@00000000", "via": "mesh"}),
        );
        let expected: Vec<(Notice, Value)> = vec![
            (
                Notice::PeerFound { peer: al(), at: Some("10.0.0.1:8000".into()) },
                json!({"event": "found", "peer": from_al, "at": "10.0.0.1:8000"}),
            ),
            (Notice::PeerFound { peer: bob(), at: None }, json!({"event": "found", "peer": from_bob})),
            (
                Notice::PeerLost { peer: bob(), reason: "gone".into() },
                json!({"event": "lost", "peer": from_bob, "why": "gone"}),
            ),
            (
                Notice::Post { from: bob(), text: "hi".into(), said_at: 5, number: "7".into() },
                json!({"event": "post", "from": from_bob, "text": "hi", "said_at": 5, "number": "7"}),
            ),
            (
                Notice::Direct { from: bob(), text: "hi".into(), said_at: 5 },
                json!({"event": "direct", "from": from_bob, "text": "hi", "said_at": 5}),
            ),
            (
                Notice::Profile { from: al(), profile, refused: Some("too large".into()) },
                json!({"event": "profile", "from": from_al, "profile": profile_json, "refused": "too large"}),
            ),
            (
                Notice::AddressMismatch { uid: "al@10.0.0.1".into(), source },
                json!({"event": "mismatch", "uid": "al@10.0.0.1", "source": "10.0.0.9"}),
            ),
            (
                Notice::DuplicateName { uid: "al@10.0.0.1".into(), source },
                json!({"event": "doubled", "uid": "al@10.0.0.1", "source": "10.0.0.9"}),
            ),
            (
                Notice::NamesReceived { from: al(), uids: vec!["x".into()] },
                json!({"event": "listed", "from": from_al, "uids": ["x"]}),
            ),
            (
                Notice::Unreachable { endpoint, reason: "refused".into() },
                json!({"event": "unreachable", "endpoint": "10.0.0.9:1", "why": "refused"}),
            ),
            (Notice::Sent { peers: 2 }, json!({"event": "sent", "peers": 2})),
            (Notice::DirectSent { to: bob() }, json!({"event": "sent_to", "to": from_bob})),
            (Notice::Rejected { reason: "no".into() }, json!({"event": "refused", "why": "no"})),
        ];
        for (notice, json) in expected {
            assert_eq!(serde_json::to_value(&notice).unwrap(), json, "{notice:?}");
        }
    }
}
