//! Framing of a byte stream into JSON objects, independent of the boundaries of the reads. Pure.
//!
//! Each byte is scanned once, so a peer that sends a long message byte by byte causes no extra
//! work.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use thiserror::Error;

/// Longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Error: the stream is not a sequence of JSON objects. The rest of the stream cannot be parsed.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum FramingError {
    /// An object is longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// Between two objects is a byte that is neither white space nor `{`.
    #[error("expected a JSON object, received byte 0x{0:02x}")]
    NotAnObject(u8),
}

/// Incremental scanner for JSON objects.
///
/// Invariant: the first `scanned` bytes of `buffer` are scanned; `depth`, `in_string` and `escaped`
/// are the scanner's state after them.
#[derive(Debug, Default)]
pub struct JsonFramer {
    buffer: BytesMut,
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl JsonFramer {
    /// Appends received bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Buffer for the next read, with room for at least `bytes` more bytes.
    pub(super) fn read_buffer(&mut self, bytes: usize) -> &mut BytesMut {
        self.buffer.reserve(bytes);
        &mut self.buffer
    }

    /// Returns the bytes of the next complete object, from its first brace to its last; `None` if
    /// more bytes are needed. The content is not validated.
    ///
    /// # Errors
    /// [`FramingError`] if the stream is invalid. Then the caller must close the connection.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FramingError> {
        if self.depth == 0 {
            let gap = self.buffer.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(self.buffer.len());
            self.buffer.advance(gap);
            match self.buffer.first() {
                None => return Ok(None),
                Some(b'{') => {}
                Some(other) => return Err(FramingError::NotAnObject(*other)),
            }
        }
        while self.scanned < self.buffer.len() {
            if self.in_string && !self.escaped {
                // Fast path inside a string: skip to the next quote or backslash.
                let rest = &self.buffer[self.scanned..];
                self.scanned += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if self.scanned == self.buffer.len() {
                    return if self.scanned > MAX_MESSAGE_BYTES { Err(FramingError::TooLong) } else { Ok(None) };
                }
            }
            let byte = self.buffer[self.scanned];
            self.scanned += 1;
            if self.scanned > MAX_MESSAGE_BYTES {
                return Err(FramingError::TooLong);
            }
            if self.is_last_byte(byte) {
                // A copy is cheaper than a shared buffer: a shared buffer could not be reused while
                // the message exists.
                let message = Bytes::copy_from_slice(&self.buffer[..self.scanned]);
                self.buffer.advance(self.scanned);
                self.scanned = 0;
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Advances the state by one byte. Returns whether it is the last byte of an object.
    fn is_last_byte(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn next_messages(framer: &mut JsonFramer) -> Result<Vec<Bytes>, FramingError> {
        std::iter::from_fn(|| framer.next_message().transpose()).collect()
    }

    #[test]
    fn objects_are_found_with_and_without_line_breaks_between_them() {
        let mut framer = JsonFramer::default();
        framer.extend(b"{\"a\":\"}{\\\"\"}\n{\"b\":[{}]}{\"c\"");
        let found = next_messages(&mut framer).unwrap();
        assert_eq!(found, [&b"{\"a\":\"}{\\\"\"}"[..], b"{\"b\":[{}]}"]);
        framer.extend(b":1}  \r\n");
        assert_eq!(next_messages(&mut framer).unwrap(), [&b"{\"c\":1}"[..]]);
    }

    #[test]
    fn bytes_that_do_not_begin_an_object_are_a_framing_error() {
        for (bytes, first) in [(&b"hello"[..], b'h'), (b"[1]", b'['), (b"{}\n\"x\"", b'"'), (b" }", b'}')] {
            let mut framer = JsonFramer::default();
            framer.extend(bytes);
            assert_eq!(next_messages(&mut framer), Err(FramingError::NotAnObject(first)));
        }
    }

    #[test]
    fn a_message_of_the_maximum_length_passes_and_a_longer_one_is_an_error() {
        let text = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        let mut framer = JsonFramer::default();
        framer.extend(text(MAX_MESSAGE_BYTES).as_bytes());
        assert_eq!(next_messages(&mut framer).unwrap().len(), 1);
        framer.extend(text(MAX_MESSAGE_BYTES + 1).as_bytes());
        assert_eq!(next_messages(&mut framer), Err(FramingError::TooLong));
        let mut endless = JsonFramer::default();
        endless.extend(&vec![b'{'; MAX_MESSAGE_BYTES + 1]);
        assert_eq!(next_messages(&mut endless), Err(FramingError::TooLong));
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        let inner = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::hash_map(any::<String>(), inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn objects_are_framed_correctly_for_any_read_boundaries(
            objects in prop::collection::vec(object(), 0..6),
            breaks in any::<bool>(),
            cuts in prop::collection::vec(1usize..40, 1..20),
        ) {
            let end = if breaks { "\n" } else { "" };
            let stream: String = objects.iter().flat_map(|object| [object.to_string(), end.to_owned()]).collect();
            let mut framer = JsonFramer::default();
            let (mut rest, mut found) = (stream.as_bytes(), Vec::new());
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                framer.extend(now);
                found.extend(next_messages(&mut framer).unwrap());
                rest = later;
            }
            let found: Vec<Value> = found.iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();
            prop_assert_eq!(found, objects);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(prop::sample::select(b"{}[]\"\\ax \n".to_vec()), 0..200)) {
            let mut framer = JsonFramer::default();
            framer.extend(&bytes);
            let _ = next_messages(&mut framer);
        }
    }
}
