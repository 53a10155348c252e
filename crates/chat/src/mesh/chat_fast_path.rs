//! Fast path of the codec for chat messages without escapes. Pure.
//!
//! Most mesh messages are chat messages written by this program. For these, parsing and encoding by
//! hand takes a fraction of the time of the general JSON codec and has the same result. The general
//! codec handles every other message.

use super::timestamp::{RFC3339_BYTES, Timestamp, read_rfc3339, rfc3339};
use crate::nickname::Nickname;
use crate::peer_id::{PEER_ID_DIGITS, PeerId};

// The fixed bytes before each value and at the end of a chat message. This program writes this
// layout, with a text as timestamp; earlier versions wrote a number. So do other programs that
// write the fields in the documented order without spaces.
const BEFORE_SENDER: &[u8] = br#"{"sender_id":""#;
const BEFORE_NUMBER: &[u8] = br#"","sequence_no":"#;
const BEFORE_PAYLOAD: &[u8] = br#","type":"chat","#;
const BEFORE_TEXT: &[u8] = br#""payload":""#;
const BEFORE_TIME: &[u8] = br#"","timestamp":"#;
const BEFORE_NAME: &[u8] = br#","name":""#;
const AFTER_NAME: &[u8] = br#""}"#;
/// Upper bound for a chat message without its text, in bytes: the fixed parts, the longest name and
/// the longest numbers.
const MAX_ENVELOPE_BYTES: usize = 320;

/// Author and number of a chat message, which identify it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChatHeader {
    /// Author of the message.
    pub sender: PeerId,
    /// Sequence number of the author.
    pub number: u64,
    /// Length of the parsed part, in bytes.
    length: usize,
}

/// Values after the header of a chat message. Only the layout is checked, not the values.
pub(super) struct ChatTail<'b> {
    pub(super) text: &'b str,
    /// Unix time in seconds.
    pub(super) said_at: i64,
    pub(super) name: &'b str,
}

impl ChatHeader {
    /// Parses the sender and the number of a chat message. `None` for another type or another
    /// layout. The bytes after the header are not checked.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (sender, rest) = bytes.strip_prefix(BEFORE_SENDER)?.split_at_checked(PEER_ID_DIGITS)?;
        let (number, rest) = whole_number(rest.strip_prefix(BEFORE_NUMBER)?)?;
        let rest = rest.strip_prefix(BEFORE_PAYLOAD)?;
        Some(Self { sender: PeerId::parse_digits(sender).ok()?, number, length: bytes.len() - rest.len() })
    }

    /// Whether two headers have the same author and number.
    pub(super) fn is_of_same_message(&self, other: &Self) -> bool {
        (self.sender, self.number) == (other.sender, other.number)
    }

    /// Parses the rest of the message. `None` for another layout, or if a text has an escape.
    pub(super) fn read_rest(self, bytes: &[u8]) -> Option<ChatTail<'_>> {
        let (text, rest) = unescaped_text(bytes.get(self.length..)?.strip_prefix(BEFORE_TEXT)?)?;
        let (said_at, rest) = time(rest.strip_prefix(BEFORE_TIME)?)?;
        let (name, rest) = unescaped_text(rest.strip_prefix(BEFORE_NAME)?)?;
        (rest == AFTER_NAME).then_some(ChatTail { text, said_at, name })
    }
}

/// Encodes a chat message. `None` if a text needs an escape.
pub(super) fn write(sender: PeerId, number: u64, said_at: i64, name: &Nickname, text: &str) -> Option<Vec<u8>> {
    if !needs_no_escape(text.as_bytes()) || !needs_no_escape(name.as_str().as_bytes()) {
        return None;
    }
    let mut bytes = Vec::with_capacity(MAX_ENVELOPE_BYTES + text.len());
    let mut digits = itoa::Buffer::new();
    bytes.extend_from_slice(BEFORE_SENDER);
    bytes.extend_from_slice(&sender.digits());
    bytes.extend_from_slice(BEFORE_NUMBER);
    bytes.extend_from_slice(digits.format(number).as_bytes());
    bytes.extend_from_slice(BEFORE_PAYLOAD);
    bytes.extend_from_slice(BEFORE_TEXT);
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(BEFORE_TIME);
    bytes.push(b'"');
    bytes.extend_from_slice(&rfc3339(said_at));
    bytes.push(b'"');
    bytes.extend_from_slice(BEFORE_NAME);
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(AFTER_NAME);
    Some(bytes)
}

/// Parses a timestamp to Unix seconds. Returns it with the bytes after it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    if let Some(quoted) = bytes.strip_prefix(b"\"") {
        let (text, rest) = quoted.split_first_chunk::<RFC3339_BYTES>()?;
        return Some((read_rfc3339(text)?, rest.strip_prefix(b"\"")?));
    }
    let (number, rest) = whole_number(bytes)?;
    Some((Timestamp::Number(i64::try_from(number).ok()?).unix_seconds(), rest))
}

/// Parses a number. Returns it with the bytes after it. `None` if there is no digit, a leading zero
/// or an overflow.
fn whole_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(length);
    if digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    let number =
        digits.iter().try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    (length > 0).then_some((number, rest))
}

/// Returns the text up to its closing quote, and the bytes after the quote. `None` if the text
/// contains an escape, or a byte that needs one.
fn unescaped_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let length = memchr::memchr2(b'"', b'\\', bytes)?;
    let (text, rest) = bytes.split_at(length);
    let is_simple = rest[0] == b'"' && needs_no_escape(text);
    is_simple.then_some((std::str::from_utf8(text).ok()?, rest))
}

/// Whether JSON needs no escape for these bytes. Checks all bytes without an early exit, so the
/// compiler can vectorise.
fn needs_no_escape(text: &[u8]) -> bool {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    text.iter().fold(true, |all, byte| all & is_plain(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::tests::{EXTENDED, chat};
    use super::super::message::{MeshMessage, MessageBody};
    use super::*;

    #[test]
    fn an_incomplete_header_or_another_type_does_not_take_the_fast_path() {
        let bytes = chat("hi").write(EXTENDED).unwrap();
        let end = bytes.windows(7).position(|part| part == b"payload").unwrap() - 1;
        assert_eq!(
            MeshMessage::read_chat_header(&bytes[..end]),
            Some(ChatHeader { sender: PeerId(7), number: 5, length: end })
        );
        for length in 0..end {
            assert_eq!(MeshMessage::read_chat_header(&bytes[..length]), None, "{length}");
        }
        let beat = MeshMessage { body: MessageBody::heartbeat(None), ..chat("") }.write(EXTENDED).unwrap();
        assert_eq!(MeshMessage::read_chat_header(&beat), None);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        for (part, other) in
            [(":5,", ":,"), (":5,", ":-5,"), (":5,", ":05,"), (":5,", ":99999999999999999999,"), ("0007", "000x")]
        {
            assert_eq!(MeshMessage::read_chat_header(text.replace(part, other).as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_chat_with_a_numeric_timestamp_takes_the_fast_path_too() {
        let message = chat("hi");
        let text = String::from_utf8(message.write_chat_fast().unwrap()).unwrap();
        let earlier = text.replace("\"2024-10-14T20:41:40Z\"", "1728938500");
        assert!(earlier.len() < text.len(), "{text}");
        let header = MeshMessage::read_chat_header(earlier.as_bytes()).unwrap();
        assert_eq!(MeshMessage::read_chat_fast(earlier.as_bytes(), header), Some(message));
    }

    #[test]
    fn a_chat_without_escapes_takes_the_fast_path() {
        let message = chat("Grüße, {all} of you!");
        let bytes = message.write_chat_fast().unwrap();
        let header = MeshMessage::read_chat_header(&bytes).unwrap();
        assert_eq!(MeshMessage::read_chat_fast(&bytes, header), Some(message));
        let broken = String::from_utf8(bytes).unwrap().replace("all", "a\u{1f}l");
        assert_eq!(MeshMessage::read_chat_fast(broken.as_bytes(), header), None, "JSON has no such byte in a text");
        for text in ["a \"quote\"", "a\\b", "two\nlines", "\u{1b}"] {
            assert_eq!(chat(text).write_chat_fast(), None, "{text:?}");
            let bytes = chat(text).write_json().unwrap();
            assert_eq!(
                MeshMessage::read_chat_fast(&bytes, MeshMessage::read_chat_header(&bytes).unwrap()),
                None,
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_has_the_same_result_as_the_general_codec(
            text in prop_oneof!["[a-z ]{0,40}", ".{0,40}"],
            said_at in any::<i64>(),
            number in any::<u64>(),
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![Just(b'"'), Just(b'\\'), Just(b'0'), Just(b','), Just(0x1f), any::<u8>()],
        ) {
            let message = MeshMessage { number, said_at, ..chat(&text) };
            let bytes = message.write_json().unwrap();
            if let Some(fast) = message.write_chat_fast() {
                prop_assert!(fast == bytes && fast.len() <= MAX_ENVELOPE_BYTES + text.len());
            }
            // A copy of the message in which one byte is replaced.
            let mut changed = bytes.clone();
            let at = at.index(changed.len());
            changed[at] = byte;
            for bytes in [bytes, changed] {
                if let Some(fast) = MeshMessage::read_chat_header(&bytes).and_then(|header| MeshMessage::read_chat_fast(&bytes, header)) {
                    prop_assert_eq!(Some(fast), MeshMessage::read(&bytes), "{}", String::from_utf8_lossy(&bytes));
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(noise in any::<Vec<u8>>()) {
            let _ = MeshMessage::read_chat_header(&noise);
        }
    }
}
