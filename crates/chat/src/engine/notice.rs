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
    pub via: Via,
}

impl Contact {
    /// A peer of the mesh, by what is known of it.
    pub(super) fn on_mesh(peer: PeerId, name: Option<&Nickname>, profile: Option<&PeerProfile>) -> Self {
        // It is made for every message.
        let uid = name.map_or_else(|| peer.to_string(), |name| [name.as_str(), "@", &peer.short()].concat());
        Self { uid, display_name: display_name(profile), via: Via::Mesh }
    }

    /// A peer of the LAN.
    pub(super) fn on_lan(user: &LanUserId, profile: Option<&PeerProfile>) -> Self {
        Self { uid: user.to_string(), display_name: display_name(profile), via: Via::Lan }
    }
}

fn display_name(profile: Option<&PeerProfile>) -> Option<String> {
    profile.map(|profile| profile.display_name.clone()).filter(|name| !name.trim().is_empty())
}

/// The links.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
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
    Found {
        /// Who.
        peer: Contact,
        /// Where.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// A peer is gone.
    Lost {
        /// Who.
        peer: Contact,
        /// Why.
        why: String,
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
    Mismatch {
        /// Who it says it is.
        uid: String,
        /// Where it writes from.
        source: IpAddr,
    },
    /// Another program on the LAN has this peer's own name.
    Doubled {
        /// The name.
        uid: String,
        /// Where it writes from.
        source: IpAddr,
    },
    /// Names that a peer of the LAN knows.
    Listed {
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
        why: String,
    },
    /// Something was said.
    Sent {
        /// To how many peers it goes directly.
        peers: usize,
    },
    /// A direct message was sent.
    SentTo {
        /// Whom.
        to: Contact,
    },
    /// What the person wanted was not done.
    Refused {
        /// Why, and what can be done.
        why: String,
    },
}
