//! LAN datagrams and their codec in both dialects. Pure.

use bytes::Bytes;

use super::fields::{Dialect, FieldWriter, Fields};
use crate::lan_user_id::LanUserId;
use crate::profile::{Avatar, InvalidAvatar, PeerProfile};
use crate::text::MAX_TEXT_BYTES;

/// Longest payload of a UDP datagram over IPv4, in bytes.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Largest number of names read from one peer list. Further names are ignored.
const MAX_LISTED: usize = 256;
/// Lifetime of tokens, and of posts in the draft dialect ([`Dialect::Spaced`]), in seconds.
const TTL_SECONDS: i64 = 3600;

/// Datagram of the LAN.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Sender as the datagram claims it; `None` for an ACK. A REVOKE names it in its token.
    pub from: Option<LanUserId>,
    /// Message id, if there is one. In an ACK, the id of the acknowledged message.
    pub id: Option<u64>,
    /// Time of sending by the sender's clock, in Unix seconds; 0 if unknown.
    pub sent_at: i64,
    /// Type and fields.
    pub body: DatagramBody,
}

/// Type and fields of a datagram.
#[derive(Clone, Debug, PartialEq)]
pub enum DatagramBody {
    /// Announcement of a peer.
    Discovery {
        /// UDP port at which the peer receives answers.
        port: u16,
    },
    /// Text to all peers.
    Post(String),
    /// Text to one peer.
    Direct {
        /// Recipient.
        to: LanUserId,
        /// Text of the message.
        text: String,
    },
    /// Profile of the sender.
    Profile {
        /// The profile. An invalid avatar is left out.
        profile: PeerProfile,
        /// Error of an avatar that was left out because it is invalid.
        refused: Option<InvalidAvatar>,
    },
    /// Request for the list of known peers.
    ListRequest,
    /// List of known peers.
    ListResponse(Vec<LanUserId>),
    /// The sender wants the posts of the recipient. Some programs send their posts to followers
    /// only.
    Follow {
        /// Recipient.
        to: LanUserId,
    },
    /// The sender no longer wants the posts of the recipient.
    Unfollow {
        /// Recipient.
        to: LanUserId,
    },
    /// The sender leaves the chat.
    Revoke,
    /// Liveness message of the draft dialect.
    Ping,
    /// Acknowledgement of a message in the draft dialect.
    Ack,
}

impl Datagram {
    /// Parses a datagram and its dialect; `None` if it is invalid or of an unknown type.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, Dialect)> {
        let (fields, dialect) = Fields::read(std::str::from_utf8(bytes).ok()?);
        let user = |key: &str| fields.get(key).and_then(LanUserId::parse);
        let content = || fields.get("CONTENT").filter(|text| text.len() <= MAX_TEXT_BYTES).map(str::to_owned);
        let (from, body) = match fields.get("TYPE")? {
            "PEER_DISCOVERY" => {
                let port = fields.get("PORT").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
                // Without a port it is only a sign of life.
                let body = port.map_or(DatagramBody::Ping, |port| DatagramBody::Discovery { port });
                (user("USER_ID")?, body)
            }
            "POST" => (user("USER_ID")?, DatagramBody::Post(content()?)),
            "DM" => (user("FROM")?, DatagramBody::Direct { to: user("TO")?, text: content()? }),
            "PROFILE" => (user("USER_ID")?, read_profile(&fields)),
            "PEER_LIST_REQUEST" => (user("FROM")?, DatagramBody::ListRequest),
            "PEER_LIST_RESPONSE" => {
                let names: Vec<String> = serde_json::from_str(fields.get("PEERS")?).ok()?;
                let users = names.iter().take(MAX_LISTED).filter_map(|name| LanUserId::parse(name)).collect();
                (user("FROM")?, DatagramBody::ListResponse(users))
            }
            "FOLLOW" => (user("FROM")?, DatagramBody::Follow { to: user("TO")? }),
            "UNFOLLOW" => (user("FROM")?, DatagramBody::Unfollow { to: user("TO")? }),
            "REVOKE" => (token_user(fields.get("TOKEN")?)?, DatagramBody::Revoke),
            "PING" => (user("USER_ID")?, DatagramBody::Ping),
            "ACK" => {
                let datagram = Self { from: None, id: message_id(&fields), sent_at: 0, body: DatagramBody::Ack };
                return Some((datagram, dialect));
            }
            _ => return None,
        };
        let sent_at = fields.get("TIMESTAMP").and_then(|text| text.parse().ok()).unwrap_or(0);
        Some((Self { from: Some(from), id: message_id(&fields), sent_at, body }, dialect))
    }

    /// Encodes the datagram in a dialect; `None` if it is too long or lacks a required field.
    #[must_use]
    pub fn write(&self, dialect: Dialect) -> Option<Bytes> {
        let mut writer = FieldWriter::new(dialect);
        let is_draft = dialect == Dialect::Spaced;
        writer.add("TYPE", self.body.kind());
        match &self.body {
            DatagramBody::Discovery { port } => {
                writer.add("USER_ID", self.from.as_ref()?).add("PORT", port);
                self.write_timestamp_and_id(&mut writer);
            }
            DatagramBody::Post(text) => {
                writer.add("USER_ID", self.from.as_ref()?).add("CONTENT", text);
                if is_draft {
                    writer.add("TTL", TTL_SECONDS);
                }
                self.write_timestamp_and_id(&mut writer);
                writer.add("TOKEN", self.token("broadcast")?);
            }
            DatagramBody::Direct { to, text } => {
                writer.add("FROM", self.from.as_ref()?).add("TO", to).add("CONTENT", text);
                self.write_timestamp_and_id(&mut writer);
                writer.add("TOKEN", self.token("chat")?);
            }
            DatagramBody::Profile { profile, .. } => {
                writer.add("USER_ID", self.from.as_ref()?);
                writer.add("DISPLAY_NAME", &profile.display_name).add("STATUS", &profile.status);
                if !is_draft {
                    self.write_timestamp_and_id(&mut writer);
                }
                if let Some(avatar) = &profile.avatar {
                    writer.add("AVATAR_TYPE", avatar.media_type()).add("AVATAR_ENCODING", "base64");
                    writer.add("AVATAR_DATA", avatar.base64());
                }
            }
            DatagramBody::ListRequest => {
                writer.add("FROM", self.from.as_ref()?);
                // The documented request has no id. A scan adds an id, by which it recognises its
                // own requests when they return.
                if let Some(id) = self.id {
                    writer.add("MESSAGE_ID", hex_id(id));
                }
            }
            DatagramBody::ListResponse(users) => {
                writer.add("FROM", self.from.as_ref()?).add("PEERS", serde_json::to_string(users).ok()?);
                writer.add("COUNT", users.len());
                self.write_timestamp_and_id(&mut writer);
            }
            DatagramBody::Follow { to } | DatagramBody::Unfollow { to } => {
                writer.add("FROM", self.from.as_ref()?).add("TO", to);
                self.write_timestamp_and_id(&mut writer);
                writer.add("TOKEN", self.token("follow")?);
            }
            DatagramBody::Revoke => {
                writer.add("TOKEN", self.token("broadcast")?);
            }
            DatagramBody::Ping => {
                writer.add("USER_ID", self.from.as_ref()?);
            }
            DatagramBody::Ack => {
                writer.add("MESSAGE_ID", hex_id(self.id?)).add("STATUS", "RECEIVED");
            }
        }
        let text = writer.finish();
        (text.len() <= MAX_DATAGRAM_BYTES).then(|| text.into())
    }

    /// Token of the sender for a scope: `user_id|expiry|scope`, the expiry in Unix seconds.
    ///
    /// Some programs reject messages without a token. A token proves nothing, because everybody
    /// can write one, so this program does not check the tokens that it receives.
    fn token(&self, scope: &str) -> Option<String> {
        Some(format!("{}|{}|{scope}", self.from.as_ref()?, self.sent_at.saturating_add(TTL_SECONDS)))
    }

    fn write_timestamp_and_id(&self, writer: &mut FieldWriter) {
        writer.add("TIMESTAMP", self.sent_at);
        if let Some(id) = self.id {
            writer.add("MESSAGE_ID", hex_id(id));
        }
    }
}

impl DatagramBody {
    fn kind(&self) -> &'static str {
        match self {
            Self::Discovery { .. } => "PEER_DISCOVERY",
            Self::Post(_) => "POST",
            Self::Direct { .. } => "DM",
            Self::Profile { .. } => "PROFILE",
            Self::ListRequest => "PEER_LIST_REQUEST",
            Self::ListResponse(_) => "PEER_LIST_RESPONSE",
            Self::Follow { .. } => "FOLLOW",
            Self::Unfollow { .. } => "UNFOLLOW",
            Self::Revoke => "REVOKE",
            Self::Ping => "PING",
            Self::Ack => "ACK",
        }
    }
}

/// The user of a token. It is read from the right, because a user id can contain `|`.
fn token_user(token: &str) -> Option<LanUserId> {
    let mut parts = token.rsplitn(3, '|');
    let (_scope, expiry) = (parts.next()?, parts.next()?);
    expiry.parse::<i64>().ok()?;
    LanUserId::parse(parts.next()?)
}

fn hex_id(id: u64) -> String {
    format!("{id:016x}")
}

/// Reads the message id as a number. An id of 16 lower-case hex digits is parsed. Any other id
/// comes from another program and is hashed (FNV-1a).
fn message_id(fields: &Fields<'_>) -> Option<u64> {
    let text = fields.get("MESSAGE_ID")?;
    if text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return u64::from_str_radix(text, 16).ok();
    }
    Some(
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

fn read_profile(fields: &Fields<'_>) -> DatagramBody {
    let text = |key| fields.get(key).unwrap_or_default();
    let avatar = fields.get("AVATAR_DATA").filter(|data| !data.is_empty()).map(Avatar::from_base64);
    let (avatar, refused) = match avatar {
        Some(Ok(avatar)) => (Some(avatar), None),
        Some(Err(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    DatagramBody::Profile { profile: PeerProfile::new(text("DISPLAY_NAME"), text("STATUS"), avatar), refused }
}

#[cfg(test)]
mod tests;
