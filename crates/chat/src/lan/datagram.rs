//! The datagrams of the LAN: what each says, and its bytes in both dialects. Pure.

use bytes::Bytes;

use super::fields::{Dialect, Fields, Lines};
use crate::profile::{Avatar, InvalidAvatar, Profile};
use crate::text::MAX_TEXT_BYTES;
use crate::user_id::UserId;

/// The longest payload of a UDP datagram over IPv4.
pub const MAX_DATAGRAM_BYTES: usize = 65_507;
/// The most names that are taken from one list.
const MAX_LISTED: usize = 256;
/// How long the draft's tokens and posts are good, in seconds.
const TTL_SECONDS: i64 = 3600;

/// One datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct Datagram {
    /// Who it is from, as it says; an ACK does not say.
    pub from: Option<UserId>,
    /// Its own number, if it has one. (Of an ACK: the number of what is acknowledged.)
    pub id: Option<u64>,
    /// When it was sent by the sender's clock, in Unix seconds; 0 if it does not say.
    pub sent_at: i64,
    /// What it says.
    pub body: Body,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// "I am here, and answers go to this port."
    Discovery {
        /// The port.
        port: u16,
    },
    /// To everybody.
    Post(String),
    /// To one peer.
    Direct {
        /// Whom.
        to: UserId,
        /// What.
        text: String,
    },
    /// Who the sender is.
    Profile {
        /// What it says of itself; an avatar that was refused is left out.
        profile: Profile,
        /// Why the avatar was refused.
        refused: Option<InvalidAvatar>,
    },
    /// A question for who else is there.
    ListRequest,
    /// The answer.
    ListResponse(Vec<UserId>),
    /// The draft's sign of life.
    Ping,
    /// The draft's "I have it".
    Ack,
}

impl Datagram {
    /// Reads a datagram, and the dialect that it is written in; `None` if it is none that this program knows.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, Dialect)> {
        let (fields, dialect) = Fields::read(std::str::from_utf8(bytes).ok()?);
        let user = |key: &str| fields.value(key).and_then(UserId::parse);
        let content = || fields.value("CONTENT").filter(|text| text.len() <= MAX_TEXT_BYTES).map(str::to_owned);
        let (from, body) = match fields.value("TYPE")? {
            "PEER_DISCOVERY" => {
                let port = fields.value("PORT")?.parse().ok().filter(|port| *port != 0)?;
                (user("USER_ID")?, Body::Discovery { port })
            }
            "POST" => (user("USER_ID")?, Body::Post(content()?)),
            "DM" => (user("FROM")?, Body::Direct { to: user("TO")?, text: content()? }),
            "PROFILE" => (user("USER_ID")?, read_profile(&fields)),
            "PEER_LIST_REQUEST" => (user("FROM")?, Body::ListRequest),
            "PEER_LIST_RESPONSE" => {
                let names: Vec<String> = serde_json::from_str(fields.value("PEERS")?).ok()?;
                let users = names.iter().take(MAX_LISTED).filter_map(|name| UserId::parse(name)).collect();
                (user("FROM")?, Body::ListResponse(users))
            }
            "PING" => (user("USER_ID")?, Body::Ping),
            "ACK" => {
                let datagram = Self { from: None, id: message_id(&fields), sent_at: 0, body: Body::Ack };
                return Some((datagram, dialect));
            }
            _ => return None,
        };
        let sent_at = fields.value("TIMESTAMP").and_then(|text| text.parse().ok()).unwrap_or(0);
        Some((Self { from: Some(from), id: message_id(&fields), sent_at, body }, dialect))
    }

    /// Its bytes in a dialect; `None` if they do not fit into a datagram or it has no sender.
    #[must_use]
    pub fn write(&self, dialect: Dialect) -> Option<Bytes> {
        let mut lines = Lines::new(dialect);
        let is_draft = dialect == Dialect::Spaced;
        let token = |scope: &str| Some(format!("{}|{}|{scope}", self.from.as_ref()?, self.sent_at + TTL_SECONDS));
        lines.add("TYPE", self.body.kind());
        match &self.body {
            Body::Discovery { port } => {
                lines.add("USER_ID", self.from.as_ref()?).add("PORT", port);
                self.stamp(&mut lines);
            }
            Body::Post(text) => {
                lines.add("USER_ID", self.from.as_ref()?).add("CONTENT", text);
                if is_draft {
                    lines.add("TTL", TTL_SECONDS);
                }
                self.stamp(&mut lines);
                if is_draft {
                    lines.add("TOKEN", token("broadcast")?);
                }
            }
            Body::Direct { to, text } => {
                lines.add("FROM", self.from.as_ref()?).add("TO", to).add("CONTENT", text);
                self.stamp(&mut lines);
                if is_draft {
                    lines.add("TOKEN", token("chat")?);
                }
            }
            Body::Profile { profile, .. } => {
                lines.add("USER_ID", self.from.as_ref()?);
                lines.add("DISPLAY_NAME", &profile.display_name).add("STATUS", &profile.status);
                if !is_draft {
                    self.stamp(&mut lines);
                }
                if let Some(avatar) = &profile.avatar {
                    lines.add("AVATAR_TYPE", avatar.media_type()).add("AVATAR_ENCODING", "base64");
                    lines.add("AVATAR_DATA", avatar.base64());
                }
            }
            Body::ListRequest => {
                lines.add("FROM", self.from.as_ref()?);
                // The documented one has no number; a look around needs one to know its own questions.
                if let Some(id) = self.id {
                    lines.add("MESSAGE_ID", digits(id));
                }
            }
            Body::ListResponse(users) => {
                lines.add("FROM", self.from.as_ref()?).add("PEERS", serde_json::to_string(users).ok()?);
                lines.add("COUNT", users.len());
                self.stamp(&mut lines);
            }
            Body::Ping => {
                lines.add("USER_ID", self.from.as_ref()?);
            }
            Body::Ack => {
                lines.add("MESSAGE_ID", digits(self.id?)).add("STATUS", "RECEIVED");
            }
        }
        let text = lines.end();
        (text.len() <= MAX_DATAGRAM_BYTES).then(|| text.into())
    }

    fn stamp(&self, lines: &mut Lines) {
        lines.add("TIMESTAMP", self.sent_at);
        if let Some(id) = self.id {
            lines.add("MESSAGE_ID", digits(id));
        }
    }
}

impl Body {
    fn kind(&self) -> &'static str {
        match self {
            Self::Discovery { .. } => "PEER_DISCOVERY",
            Self::Post(_) => "POST",
            Self::Direct { .. } => "DM",
            Self::Profile { .. } => "PROFILE",
            Self::ListRequest => "PEER_LIST_REQUEST",
            Self::ListResponse(_) => "PEER_LIST_RESPONSE",
            Self::Ping => "PING",
            Self::Ack => "ACK",
        }
    }
}

fn digits(id: u64) -> String {
    format!("{id:016x}")
}

/// 16 hex digits as a number. Whatever else a program writes there is made into one, the same for the same text (FNV-1a).
fn message_id(fields: &Fields<'_>) -> Option<u64> {
    let text = fields.value("MESSAGE_ID")?;
    if text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return u64::from_str_radix(text, 16).ok();
    }
    Some(
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

fn read_profile(fields: &Fields<'_>) -> Body {
    let text = |key| fields.value(key).unwrap_or_default();
    let avatar = fields.value("AVATAR_DATA").filter(|data| !data.is_empty()).map(Avatar::from_base64);
    let (avatar, refused) = match avatar {
        Some(Ok(avatar)) => (Some(avatar), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    Body::Profile { profile: Profile::new(text("DISPLAY_NAME"), text("STATUS"), avatar), refused }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rollcall_core::text::breaks_a_line;

    fn alice() -> UserId {
        UserId::parse("alice@192.168.1.11").unwrap()
    }

    fn from_alice(body: Body) -> Datagram {
        Datagram { from: Some(alice()), id: Some(0x00ab_c123), sent_at: 1_728_938_500, body }
    }

    fn written(datagram: &Datagram, dialect: Dialect) -> String {
        String::from_utf8(datagram.write(dialect).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn each_type_has_its_fields_in_their_order() {
        let stamp = "TIMESTAMP:1728938500\nMESSAGE_ID:0000000000abc123\n";
        let bob = UserId::parse("bob@192.168.1.12").unwrap();
        let avatar = Avatar::new(b"\xff\xd8\xff\xe0").unwrap();
        let profile = Profile::new("Al", "here", Some(avatar));
        for (body, expected) in [
            (
                Body::Discovery { port: 8500 },
                format!("TYPE:PEER_DISCOVERY\nUSER_ID:alice@192.168.1.11\nPORT:8500\n{stamp}\n"),
            ),
            (
                Body::Post("Hello P2P network!".into()),
                format!("TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT:Hello P2P network!\n{stamp}\n"),
            ),
            (
                Body::Direct { to: bob.clone(), text: "psst".into() },
                format!("TYPE:DM\nFROM:alice@192.168.1.11\nTO:bob@192.168.1.12\nCONTENT:psst\n{stamp}\n"),
            ),
            (
                Body::Profile { profile, refused: None },
                format!(
                    "TYPE:PROFILE\nUSER_ID:alice@192.168.1.11\nDISPLAY_NAME:Al\nSTATUS:here\n{stamp}AVATAR_TYPE:image/jpeg\nAVATAR_ENCODING:base64\nAVATAR_DATA:/9j/4A==\n\n"
                ),
            ),
            (
                Body::ListRequest,
                "TYPE:PEER_LIST_REQUEST\nFROM:alice@192.168.1.11\nMESSAGE_ID:0000000000abc123\n\n".into(),
            ),
            (
                Body::ListResponse(vec![alice(), bob]),
                format!(
                    "TYPE:PEER_LIST_RESPONSE\nFROM:alice@192.168.1.11\nPEERS:[\"alice@192.168.1.11\",\"bob@192.168.1.12\"]\nCOUNT:2\n{stamp}\n"
                ),
            ),
        ] {
            assert_eq!(written(&from_alice(body), Dialect::Compact), expected);
        }
        let question = Datagram { id: None, ..from_alice(Body::ListRequest) };
        assert_eq!(written(&question, Dialect::Compact), "TYPE:PEER_LIST_REQUEST\nFROM:alice@192.168.1.11\n\n");
    }

    #[test]
    fn the_draft_has_spaces_and_tokens() {
        let text = written(&from_alice(Body::Post("hi".into())), Dialect::Spaced);
        assert_eq!(
            text,
            "TYPE: POST\nUSER_ID: alice@192.168.1.11\nCONTENT: hi\nTTL: 3600\nTIMESTAMP: 1728938500\nMESSAGE_ID: 0000000000abc123\nTOKEN: alice@192.168.1.11|1728942100|broadcast\n\n"
        );
        let ack = Datagram { from: None, id: Some(5), sent_at: 0, body: Body::Ack };
        assert_eq!(written(&ack, Dialect::Spaced), "TYPE: ACK\nMESSAGE_ID: 0000000000000005\nSTATUS: RECEIVED\n\n");
    }

    #[test]
    fn both_dialects_are_read_and_told_apart() {
        for (text, dialect) in [
            ("TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT: spaced out \nTIMESTAMP:5\n\n", Dialect::Compact),
            ("TYPE: POST\nUSER_ID: alice@192.168.1.11\nCONTENT: spaced out\nTIMESTAMP: 5\n\n", Dialect::Spaced),
            (
                "TYPE:POST\r\nno colon\r\nUSER_ID:alice@192.168.1.11\r\nCONTENT:spaced out\r\nTIMESTAMP:5\r\n",
                Dialect::Compact,
            ),
        ] {
            let (read, found) = Datagram::read(text.as_bytes()).unwrap();
            assert_eq!((read.body, read.sent_at, found), (Body::Post("spaced out".into()), 5, dialect), "{text:?}");
        }
    }

    #[test]
    fn a_line_break_in_a_text_forges_no_sender() {
        let evil = from_alice(Body::Post("hi\nUSER_ID:evil@6.6.6.6\r\u{2028}TYPE:DM\n\nX:1".into()));
        let (read, _) = Datagram::read(&evil.write(Dialect::Compact).unwrap()).unwrap();
        assert_eq!(read.from, Some(alice()));
        assert_eq!(read.body, Body::Post("hi USER_ID:evil@6.6.6.6  TYPE:DM  X:1".into()));
        // Written by a program that does not care: the first USER_ID is the sender's.
        let (read, _) =
            Datagram::read(b"TYPE:POST\nUSER_ID:alice@192.168.1.11\nCONTENT:hi\nUSER_ID:evil@6.6.6.6\n\n").unwrap();
        assert_eq!(read.from, Some(alice()));
    }

    #[test]
    fn an_avatar_that_is_none_is_left_out_and_named() {
        let text = "TYPE:PROFILE\nUSER_ID:a@1.2.3.4\nDISPLAY_NAME:A\nSTATUS:s\nAVATAR_TYPE:image/png\nAVATAR_DATA:R0lGODlh\n\n";
        let (read, _) = Datagram::read(text.as_bytes()).unwrap();
        let Body::Profile { profile, refused } = read.body else { panic!() };
        assert_eq!((profile.avatar, refused), (None, Some(InvalidAvatar::NotAPicture)));
    }

    #[test]
    fn what_is_no_datagram_is_none() {
        for bad in [
            "",
            "\n\n",
            "TYPE:DANCE\nUSER_ID:a@1.2.3.4\n\n",
            "TYPE:PEER_DISCOVERY\nUSER_ID:a@1.2.3.4\n\n",
            "TYPE:PEER_DISCOVERY\nUSER_ID:a@1.2.3.4\nPORT:0\n\n",
            "TYPE:PEER_DISCOVERY\nUSER_ID:a@1.2.3.4\nPORT:65536\n\n",
            "TYPE:POST\nCONTENT:hi\n\n",
            "TYPE:POST\nUSER_ID:a b\nCONTENT:hi\n\n",
            "TYPE:POST\n\nUSER_ID:a@1.2.3.4\nCONTENT:behind the end\n\n",
        ] {
            assert_eq!(Datagram::read(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Datagram::read(b"TYPE:POST\nUSER_ID:a@1.2.3.4\nCONTENT:\xff\n\n"), None);
        let long = from_alice(Body::Post("x".repeat(MAX_DATAGRAM_BYTES)));
        assert_eq!(long.write(Dialect::Compact), None);
    }

    fn text() -> impl Strategy<Value = String> {
        any::<String>().prop_map(|text| text.trim().to_owned())
    }

    fn body() -> impl Strategy<Value = Body> {
        let user = "[a-z]{1,9}@10\\.0\\.0\\.[1-9]".prop_map(|text: String| UserId::parse(&text).unwrap());
        prop_oneof![
            (1u16..).prop_map(|port| Body::Discovery { port }),
            text().prop_map(Body::Post),
            (user.clone(), text()).prop_map(|(to, text)| Body::Direct { to, text }),
            Just(Body::ListRequest),
            prop::collection::vec(user, 0..9).prop_map(Body::ListResponse),
            Just(Body::Ping),
        ]
    }

    proptest! {
        #[test]
        fn every_datagram_is_read_back_in_its_dialect(body in body(), id in any::<u64>(), spaced in any::<bool>()) {
            let dialect = if spaced { Dialect::Spaced } else { Dialect::Compact };
            let datagram = Datagram { id: Some(id), ..from_alice(body) };
            let bytes = datagram.write(dialect).unwrap();
            let (read, found) = Datagram::read(&bytes).unwrap();
            prop_assert_eq!(found, dialect);
            prop_assert_eq!(read.from, datagram.from);
            match (read.body, datagram.body) {
                (Body::Post(read), Body::Post(text)) | (Body::Direct { text: read, .. }, Body::Direct { text, .. }) => {
                    // What breaks a line became a space; at the ends it is trimmed.
                    let expected: String = text.chars().map(|c| if breaks_a_line(c) { ' ' } else { c }).collect();
                    prop_assert_eq!(read, expected.trim());
                }
                (read, body) => prop_assert_eq!(read, body),
            }
        }

        #[test]
        fn noise_never_panics(noise in any::<Vec<u8>>(), lines in "((TYPE|USER_ID|PORT|CONTENT|FROM|PEERS|AVATAR_DATA): ?.{0,9}\n){0,9}") {
            let _ = Datagram::read(&noise);
            let _ = Datagram::read(lines.as_bytes());
        }
    }
}
