//! Mesh messages and their JSON codec. Pure.
//!
//! The base protocol has the fields `sender_id`, `sequence_no`, `type`, `payload` and `timestamp`.
//! This program adds the fields `rollcall` (version of its protocol extension), `name`, `listen`
//! and `to`, which other programs ignore. It also adds message types, which it sends only to peers
//! that have announced the extension.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::chat_fast_path::{self, ChatHeader};
use super::framer::MAX_MESSAGE_BYTES;
use super::timestamp::Timestamp;
use crate::endpoint::PeerEndpoint;
use crate::nickname::Nickname;
use crate::peer_id::PeerId;
use crate::profile::PeerProfile;
use crate::text::MAX_TEXT_BYTES;

/// Longest message to a peer without the extension, in bytes, line break included. Such a peer may
/// read at most 4096 bytes at a time and parse the bytes of each read as one message.
pub const MAX_PLAIN_BYTES: usize = 4095;
/// Version of the protocol extension of this program. Version 1 has names, profiles, direct
/// messages and history. Version 2 adds lazy push.
const EXTENSION: u32 = LAZY_PUSH;
/// First version of the extension with [`MessageBody::Prune`] and [`MessageBody::Have`].
pub const LAZY_PUSH: u32 = 2;
/// Largest number of addresses that are read from one peer list. Further addresses are ignored.
const MAX_LISTED: usize = 256;
/// Largest number of authors in a history request or a `have` message, and of ranges per author.
pub const MAX_ASKED: usize = 512;

/// Decoded message of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshMessage {
    /// Peer that created the message. Forwarding does not change it.
    pub sender: PeerId,
    /// Sequence number, unique among the messages of the sender.
    pub number: u64,
    /// Creation time by the sender's clock, in Unix seconds. It is only displayed.
    pub said_at: i64,
    /// Name of the sender, if the message has it.
    pub name: Option<Nickname>,
    /// Type and payload.
    pub body: MessageBody,
}

/// Message numbers of one author as inclusive ranges `(first, last)`, in ascending order.
pub type SeqRanges = Vec<(u64, u64)>;

/// Type and payload of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageBody {
    /// Text to all peers.
    Chat(String),
    /// Proof that the sender is alive. With the extension it also announces the version and the
    /// dialable address of the sender.
    Heartbeat {
        /// Version of the extension; `None` without the extension.
        extension: Option<u32>,
        /// Listen address of the sender. If its host is unspecified (`0.0.0.0`), the source address
        /// of the connection is used.
        listen: Option<PeerEndpoint>,
    },
    /// Dialable addresses of other peers.
    PeerList(Vec<PeerEndpoint>),
    /// Extension: text to one peer.
    Direct {
        /// Recipient.
        to: PeerId,
        /// Text of the message.
        text: String,
    },
    /// Extension: profile of the sender.
    Profile(PeerProfile),
    /// Extension: the numbers of the chat that the sender has, by author. The receiver answers with
    /// the chat that the sender lacks.
    HistoryRequest(BTreeMap<PeerId, SeqRanges>),
    /// Extension: the end of one batch of an answer to a history request.
    HistoryEnd {
        /// Whether another request would return more.
        more: bool,
    },
    /// Extension, Plumtree PRUNE: the receiver sends this author's chat lazily from now on, as
    /// [`Self::Have`], until the sender requests history.
    Prune(PeerId),
    /// Extension, Plumtree IHAVE: the numbers of new chat, by author, that the sender has not sent
    /// on this link. The receiver can request it.
    Have(BTreeMap<PeerId, SeqRanges>),
    /// A type that this version does not know.
    Unknown,
}

/// Encoding that a peer understands.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageFormat {
    /// The peer has announced the extension.
    pub extended: bool,
}

/// JSON form of a message.
#[derive(Serialize, Deserialize)]
struct WireMessage<'w> {
    sender_id: PeerId,
    sequence_no: u64,
    // Borrowed where possible: duplicates are dropped after parsing, and need no copies.
    #[serde(borrow, rename = "type")]
    type_name: Cow<'w, str>,
    #[serde(borrow, default)]
    payload: Cow<'w, str>,
    #[serde(default)]
    timestamp: Timestamp,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'w, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollcall: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<PeerId>,
}

impl MeshMessage {
    /// Parses one message. `None` if the bytes are not a valid message.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let wire: WireMessage = serde_json::from_slice(bytes).ok()?;
        let body = match wire.type_name.as_ref() {
            "chat" => MessageBody::Chat(within_text_limit(wire.payload.into_owned())?),
            "heartbeat" => {
                let listen = wire.listen.and_then(|text| PeerEndpoint::parse(&text).ok());
                MessageBody::Heartbeat { extension: wire.rollcall, listen }
            }
            "peer_list" => {
                let texts: Vec<String> = serde_json::from_str(&wire.payload).ok()?;
                MessageBody::PeerList(
                    texts.iter().take(MAX_LISTED).filter_map(|text| PeerEndpoint::parse(text).ok()).collect(),
                )
            }
            "dm" => MessageBody::Direct { to: wire.to?, text: within_text_limit(wire.payload.into_owned())? },
            "profile" => MessageBody::Profile(serde_json::from_str(&wire.payload).ok()?),
            "history_request" => MessageBody::HistoryRequest(read_ranges(&wire.payload)?),
            "have" => MessageBody::Have(read_ranges(&wire.payload)?),
            "prune" => MessageBody::Prune(PeerId::parse(&wire.payload).ok()?),
            "history_end" => MessageBody::HistoryEnd { more: serde_json::from_str(&wire.payload).ok()? },
            _ => MessageBody::Unknown,
        };
        let name = wire.name.and_then(|name| Nickname::parse(&name).ok());
        let said_at = wire.timestamp.unix_seconds();
        Some(Self { sender: wire.sender_id, number: wire.sequence_no, said_at, name, body })
    }

    /// Parses only the sender and the number of a chat message, for the duplicate check. Most
    /// duplicates are dropped after this check. `None` if the message has another type, or not the
    /// layout that this program writes. The bytes after the header are not checked.
    #[must_use]
    pub fn read_chat_header(bytes: &[u8]) -> Option<ChatHeader> {
        ChatHeader::read(bytes)
    }

    /// Fast path: parses the rest of a chat message after its header. `None` if the layout is not
    /// the one that this program writes, or if a text has an escape. The result equals that of
    /// [`MeshMessage::read`].
    #[must_use]
    pub fn read_chat_fast(bytes: &[u8], header: ChatHeader) -> Option<Self> {
        let rest = header.read_rest(bytes)?;
        let body = MessageBody::Chat(within_text_limit(rest.text.to_owned())?);
        let name = Nickname::parse(rest.name).ok();
        Some(Self { sender: header.sender, number: header.number, said_at: rest.said_at, name, body })
    }

    /// Encodes the message, with a line break at the end. `None` if a peer with this format cannot
    /// read the message: the peer does not know its type, or it is too long.
    #[must_use]
    pub fn write(&self, format: MessageFormat) -> Option<Bytes> {
        let mut bytes = match self.write_chat_fast() {
            Some(bytes) => bytes,
            None => self.write_json()?,
        };
        bytes.push(b'\n');
        let max_bytes = if format.extended { MAX_MESSAGE_BYTES } else { MAX_PLAIN_BYTES };
        let is_known = format.extended || self.body.is_plain();
        (is_known && bytes.len() <= max_bytes).then(|| bytes.into())
    }

    /// Fast path: encodes a chat message that has a name and no text with escapes.
    pub(super) fn write_chat_fast(&self) -> Option<Vec<u8>> {
        match (&self.body, &self.name) {
            (MessageBody::Chat(text), Some(name)) => {
                chat_fast_path::write(self.sender, self.number, self.said_at, name, text)
            }
            _ => None,
        }
    }

    /// General encoder for all message types.
    pub(super) fn write_json(&self) -> Option<Vec<u8>> {
        let mut wire = WireMessage {
            sender_id: self.sender,
            sequence_no: self.number,
            type_name: self.body.type_name().into(),
            payload: Cow::default(),
            timestamp: Timestamp::encode(self.said_at),
            name: self.name.as_ref().map(|name| name.as_str().into()),
            rollcall: None,
            listen: None,
            to: None,
        };
        match &self.body {
            MessageBody::Chat(text) => wire.payload = text.into(),
            MessageBody::Heartbeat { extension, listen } => {
                wire.rollcall = *extension;
                wire.listen = listen.as_ref().map(ToString::to_string);
            }
            MessageBody::PeerList(endpoints) => wire.payload = serde_json::to_string(endpoints).ok()?.into(),
            MessageBody::Direct { to, text } => {
                wire.to = Some(*to);
                wire.payload = text.into();
            }
            MessageBody::Profile(profile) => wire.payload = serde_json::to_string(profile).ok()?.into(),
            MessageBody::HistoryRequest(ranges) | MessageBody::Have(ranges) => {
                wire.payload = serde_json::to_string(ranges).ok()?.into();
            }
            MessageBody::Prune(author) => wire.payload = author.to_string().into(),
            MessageBody::HistoryEnd { more } => wire.payload = more.to_string().into(),
            MessageBody::Unknown => return None,
        }
        serde_json::to_vec(&wire).ok()
    }
}

impl MessageBody {
    /// Heartbeat with the extension of this program.
    #[must_use]
    pub fn heartbeat(listen: Option<PeerEndpoint>) -> Self {
        Self::Heartbeat { extension: Some(EXTENSION), listen }
    }

    /// Whether the type belongs to the base protocol, which every peer knows.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Chat(_) | Self::Heartbeat { .. } | Self::PeerList(_))
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Heartbeat { .. } => "heartbeat",
            Self::PeerList(_) => "peer_list",
            Self::Direct { .. } => "dm",
            Self::Profile(_) => "profile",
            Self::HistoryRequest(_) => "history_request",
            Self::HistoryEnd { .. } => "history_end",
            Self::Prune(_) => "prune",
            Self::Have(_) => "have",
            Self::Unknown => "unknown",
        }
    }
}

/// Parses the ranges of a history request or a `have` message; `None` if there are too many.
fn read_ranges(payload: &str) -> Option<BTreeMap<PeerId, SeqRanges>> {
    let ranges: BTreeMap<PeerId, SeqRanges> = serde_json::from_str(payload).ok()?;
    (ranges.len() <= MAX_ASKED && ranges.values().all(|ranges| ranges.len() <= MAX_ASKED)).then_some(ranges)
}

fn within_text_limit(text: String) -> Option<String> {
    (text.len() <= MAX_TEXT_BYTES).then_some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) const EXTENDED: MessageFormat = MessageFormat { extended: true };

    pub(in super::super) fn chat(text: &str) -> MeshMessage {
        let name = Some(Nickname::parse("alice").unwrap());
        MeshMessage {
            sender: PeerId(7),
            number: 5,
            said_at: 1_728_938_500,
            name,
            body: MessageBody::Chat(text.to_owned()),
        }
    }

    #[test]
    fn a_chat_has_the_documented_fields() {
        let bytes = chat("hi").write(MessageFormat::default()).unwrap();
        let id = PeerId(7);
        let expected = format!(
            r#"{{"sender_id":"{id}","sequence_no":5,"type":"chat","payload":"hi","timestamp":"2024-10-14T20:41:40Z","name":"alice"}}"#
        );
        assert_eq!(bytes, format!("{expected}\n"));
    }

    #[test]
    fn a_message_of_another_program_is_parsed() {
        let id = PeerId(9);
        for (time, seconds) in [
            ("1728938500", 1_728_938_500),
            ("1728938500123", 1_728_938_500),
            ("1728938500123456789", 1_728_938_500),
            ("\"2024-10-14T20:41:40Z\"", 1_728_938_500),
            ("\"2024-10-14T22:41:40.123456789+02:00\"", 1_728_938_500),
            ("\"yesterday\"", 0),
            ("null", 0),
            ("1.5e9", 0),
        ] {
            let text = format!(
                r#"{{"sender_id":"{id}","sequence_no":1,"type":"peer_list","payload":"[\"peer1:8080\",\"x\"]","timestamp":{time},"more":1}}"#
            );
            let message = MeshMessage::read(text.as_bytes()).unwrap();
            assert_eq!(message.said_at, seconds, "{time}");
            assert_eq!(message.body, MessageBody::PeerList(vec![PeerEndpoint::parse("peer1:8080").unwrap()]));
        }
    }

    #[test]
    fn every_message_to_every_peer_has_a_timestamp_of_rfc_3339() {
        for body in [MessageBody::heartbeat(None), MessageBody::PeerList(vec![]), MessageBody::Chat("a \"b\"".into())] {
            for format in [MessageFormat::default(), EXTENDED] {
                let bytes = MeshMessage { body: body.clone(), ..chat("") }.write(format).unwrap();
                assert!(String::from_utf8_lossy(&bytes).contains(r#""timestamp":"2024-10-14T20:41:40Z""#), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_peer_without_the_extension_gets_only_short_messages_of_the_base_protocol() {
        let fits = MAX_PLAIN_BYTES - chat("").write(MessageFormat::default()).unwrap().len();
        assert!(chat(&"x".repeat(fits)).write(MessageFormat::default()).is_some());
        assert!(chat(&"x".repeat(fits + 1)).write(MessageFormat::default()).is_none());
        assert!(
            chat(&"\u{1}".repeat(MAX_TEXT_BYTES)).write(EXTENDED).is_some(),
            "a text of the largest length fits, even if each byte is escaped"
        );
        let direct = MeshMessage { body: MessageBody::Direct { to: PeerId(1), text: "psst".into() }, ..chat("") };
        assert!(direct.write(MessageFormat::default()).is_none());
        assert!(direct.write(EXTENDED).is_some());
    }

    #[test]
    fn an_invalid_message_is_not_parsed() {
        let id = PeerId(9);
        for bad in [
            "{}".to_owned(),
            r#"{"sender_id":"x","sequence_no":1,"type":"chat","payload":"hi","timestamp":1}"#.to_owned(),
            format!(r#"{{"sender_id":"{id}","sequence_no":-1,"type":"chat","payload":"hi","timestamp":1}}"#),
            format!(r#"{{"sender_id":"{id}","sequence_no":1,"type":"peer_list","payload":"hi","timestamp":1}}"#),
            format!(r#"{{"sender_id":"{id}","sequence_no":1,"type":"dm","payload":"hi","timestamp":1}}"#),
        ] {
            assert!(MeshMessage::read(bad.as_bytes()).is_none(), "{bad}");
        }
        let unknown = format!(r#"{{"sender_id":"{id}","sequence_no":1,"type":"dance"}}"#);
        assert_eq!(MeshMessage::read(unknown.as_bytes()).unwrap().body, MessageBody::Unknown);
        for (count, is_parsed) in [(MAX_ASKED, true), (MAX_ASKED + 1, false)] {
            let ranges = BTreeMap::from([(PeerId(1), vec![(1, 2); count])]);
            let request =
                MeshMessage { body: MessageBody::HistoryRequest(ranges), ..chat("") }.write(EXTENDED).unwrap();
            assert_eq!(MeshMessage::read(&request).is_some(), is_parsed, "{count} ranges of one author");
        }
        let long = chat(&"x".repeat(MAX_TEXT_BYTES + 1)).write(EXTENDED).unwrap();
        assert!(MeshMessage::read(&long).is_none(), "the text is too long");
    }

    fn body() -> impl Strategy<Value = MessageBody> {
        let endpoint = (1u16..).prop_map(|port| PeerEndpoint::parse(&format!("peer{port}:{port}")).unwrap());
        let ranges = prop::collection::vec((any::<u64>(), any::<u64>()), 0..5);
        prop_oneof![
            any::<String>().prop_map(MessageBody::Chat),
            (any::<Option<u32>>(), prop::option::of(endpoint.clone()))
                .prop_map(|(extension, listen)| MessageBody::Heartbeat { extension, listen }),
            prop::collection::vec(endpoint, 0..9).prop_map(MessageBody::PeerList),
            (any::<u128>(), any::<String>()).prop_map(|(to, text)| MessageBody::Direct { to: PeerId(to), text }),
            prop::collection::btree_map(any::<u128>().prop_map(PeerId), ranges.clone(), 0..4)
                .prop_map(MessageBody::HistoryRequest),
            prop::collection::btree_map(any::<u128>().prop_map(PeerId), ranges, 0..4).prop_map(MessageBody::Have),
            any::<u128>().prop_map(|author| MessageBody::Prune(PeerId(author))),
            any::<bool>().prop_map(|more| MessageBody::HistoryEnd { more }),
        ]
    }

    proptest! {
        #[test]
        fn every_message_round_trips(body in body(), number in any::<u64>()) {
            let message = MeshMessage { number, body, ..chat("") };
            if let Some(bytes) = message.write(EXTENDED) {
                let is_chat = matches!(message.body, MessageBody::Chat(_));
                let header = MeshMessage::read_chat_header(&bytes);
                let expected = is_chat.then_some((message.sender, number));
                prop_assert_eq!(header.map(|header| (header.sender, header.number)), expected);
                prop_assert_eq!(MeshMessage::read(&bytes), Some(message));
            }
        }

        #[test]
        fn random_bytes_never_panic(noise in any::<Vec<u8>>()) {
            let _ = MeshMessage::read(&noise);
        }
    }
}
