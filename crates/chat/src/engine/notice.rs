//! Notices to the user. With `--json` each is printed as one line of JSON, so the serialised names
//! are a public format.

use std::net::IpAddr;

use serde::Serialize;

use super::known_profile::KnownProfile;
use crate::endpoint::PeerEndpoint;
use crate::lan_user_id::LanUserId;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;

/// A peer as shown to the user.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Contact {
    /// Name that identifies the peer: `name@ip` on the LAN; on the mesh, `name@` and the first 8
    /// digits of the peer id, or the whole peer id if the nickname is not known.
    pub uid: String,
    /// The display name in the peer's profile, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Transport by which the peer is reached.
    pub via: ChatTransport,
}

impl Contact {
    /// A mesh peer, from its id, nickname and profile.
    pub(super) fn on_mesh(peer: PeerId, name: Option<&Nickname>, profile: Option<&KnownProfile>) -> Self {
        // Built with one allocation, because each received message builds it.
        let uid = name.map_or_else(|| peer.to_string(), |name| [name.as_str(), "@", &peer.short()].concat());
        Self { uid, display_name: display_name(profile), via: ChatTransport::Mesh }
    }

    /// A LAN peer, from its user id and profile.
    pub(super) fn on_lan(user: &LanUserId, profile: Option<&KnownProfile>) -> Self {
        Self { uid: user.to_string(), display_name: display_name(profile), via: ChatTransport::Lan }
    }
}

fn display_name(profile: Option<&KnownProfile>) -> Option<String> {
    profile.map(|profile| profile.display_name.clone()).filter(|name| !name.trim().is_empty())
}

/// Transport between two peers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatTransport {
    /// Datagrams on the LAN.
    Lan,
    /// TCP connections of the mesh.
    Mesh,
}

/// A notice to the user.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A peer was found, or found again.
    #[serde(rename = "found")]
    PeerFound {
        /// The peer.
        peer: Contact,
        /// Its address, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<String>,
    },
    /// A peer was lost.
    #[serde(rename = "lost")]
    PeerLost {
        /// The peer.
        peer: Contact,
        /// The reason.
        #[serde(rename = "why")]
        reason: String,
    },
    /// A chat message of another peer to everybody.
    Post {
        /// The author.
        from: Contact,
        /// The text.
        text: String,
        /// Time of sending by the author's clock, in Unix seconds.
        said_at: i64,
        /// The author's number of the message, in decimal digits.
        number: String,
    },
    /// A direct message to this peer.
    Direct {
        /// The author.
        from: Contact,
        /// The text.
        text: String,
        /// Time of sending by the author's clock, in Unix seconds.
        said_at: i64,
    },
    /// A peer sent its profile.
    Profile {
        /// The peer.
        from: Contact,
        /// The profile.
        profile: PeerProfile,
        /// Error of an avatar that was left out because it is invalid.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// A LAN peer claims an address that differs from the source of its datagrams.
    #[serde(rename = "mismatch")]
    AddressMismatch {
        /// The user id that it claims.
        uid: String,
        /// The source address of its datagrams.
        source: IpAddr,
    },
    /// Another program on the LAN uses this peer's user id.
    #[serde(rename = "doubled")]
    DuplicateName {
        /// The user id.
        uid: String,
        /// The source address of the datagrams of the other program.
        source: IpAddr,
    },
    /// A LAN peer sent the user ids of the peers that it knows.
    #[serde(rename = "listed")]
    NamesReceived {
        /// The LAN peer.
        from: Contact,
        /// The user ids.
        uids: Vec<String>,
    },
    /// A LAN peer follows this peer, or no longer does.
    Follower {
        /// The LAN peer.
        from: Contact,
        /// Whether it follows this peer now.
        follows: bool,
    },
    /// This peer follows a LAN peer, or no longer does.
    Following {
        /// The LAN peer.
        to: Contact,
        /// Whether this peer follows it now.
        follows: bool,
    },
    /// A configured address cannot be reached. It will be dialled again.
    Unreachable {
        /// The address.
        endpoint: PeerEndpoint,
        /// The reason.
        #[serde(rename = "why")]
        reason: String,
    },
    /// A chat message or a profile was sent.
    Sent {
        /// Number of peers to which this peer itself sent it. Other peers may forward it to more.
        peers: usize,
    },
    /// A direct message was sent.
    #[serde(rename = "sent_to")]
    DirectSent {
        /// The recipient.
        to: Contact,
    },
    /// This peer ends, and still sends its last messages.
    #[serde(rename = "sending")]
    SendingLast {
        /// Largest number of messages to one peer.
        messages: usize,
    },
    /// This peer ends, and its last messages do not reach a peer.
    NotSent {
        /// Number of messages.
        messages: usize,
        /// The peer; `None` if no peer was connected.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<Contact>,
    },
    /// A request of the user was not carried out.
    #[serde(rename = "refused")]
    Rejected {
        /// The reason, with a remedy for the user.
        #[serde(rename = "why")]
        reason: String,
    },
}

/// Approximate memory of a notice without its long texts, in bytes.
const NOTICE_OVERHEAD_BYTES: usize = 256;

impl Notice {
    /// Approximate memory of the notice, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let texts = match self {
            Self::Post { text, .. } | Self::Direct { text, .. } => text.len(),
            Self::Profile { profile, .. } => {
                let avatar = profile.avatar.as_ref().map_or(0, |avatar| avatar.base64().len());
                profile.display_name.len() + profile.status.len() + avatar
            }
            Self::NamesReceived { uids, .. } => uids.iter().map(|uid| uid.len() + size_of::<String>()).sum(),
            Self::PeerLost { reason, .. } | Self::Unreachable { reason, .. } | Self::Rejected { reason } => {
                reason.len()
            }
            Self::PeerFound { .. }
            | Self::AddressMismatch { .. }
            | Self::DuplicateName { .. }
            | Self::Follower { .. }
            | Self::Following { .. }
            | Self::Sent { .. }
            | Self::DirectSent { .. }
            | Self::SendingLast { .. }
            | Self::NotSent { .. } => 0,
        };
        NOTICE_OVERHEAD_BYTES + texts
    }
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
                Notice::Follower { from: al(), follows: true },
                json!({"event": "follower", "from": from_al, "follows": true}),
            ),
            (
                Notice::Following { to: al(), follows: false },
                json!({"event": "following", "to": from_al, "follows": false}),
            ),
            (
                Notice::Unreachable { endpoint, reason: "refused".into() },
                json!({"event": "unreachable", "endpoint": "10.0.0.9:1", "why": "refused"}),
            ),
            (Notice::Sent { peers: 2 }, json!({"event": "sent", "peers": 2})),
            (Notice::SendingLast { messages: 9 }, json!({"event": "sending", "messages": 9})),
            (
                Notice::NotSent { messages: 9, to: Some(bob()) },
                json!({"event": "not_sent", "messages": 9, "to": from_bob}),
            ),
            (Notice::NotSent { messages: 9, to: None }, json!({"event": "not_sent", "messages": 9})),
            (Notice::DirectSent { to: bob() }, json!({"event": "sent_to", "to": from_bob})),
            (Notice::Rejected { reason: "no".into() }, json!({"event": "refused", "why": "no"})),
        ];
        for (notice, json) in expected {
            assert_eq!(serde_json::to_value(&notice).unwrap(), json, "{notice:?}");
        }
    }
}
