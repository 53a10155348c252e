//! Greeting: the first line in each direction of a mesh connection, with the id of the peer. Pure.

use thiserror::Error;

use crate::peer_id::{InvalidPeerId, PeerId};

/// Longest greeting, in bytes, line break included.
pub const MAX_GREETING_BYTES: usize = 64;

/// Error: the connection does not begin with a valid greeting.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum InvalidGreeting {
    /// The first [`MAX_GREETING_BYTES`] bytes contain no line break.
    #[error("the first line is longer than {MAX_GREETING_BYTES} bytes")]
    TooLong,
    /// The line is not a peer id.
    #[error("the first line is not a peer id: {0}")]
    NotAnId(#[from] InvalidPeerId),
}

/// Writes the greeting of a peer.
#[must_use]
pub fn greeting(own_id: PeerId) -> String {
    format!("{own_id}\n")
}

/// Parses a greeting at the start of `bytes`. Returns the peer id and the length of the line in
/// bytes, or `None` if more bytes are needed.
///
/// # Errors
/// [`InvalidGreeting`] if `bytes` can never become a valid greeting.
pub fn read_greeting(bytes: &[u8]) -> Result<Option<(PeerId, usize)>, InvalidGreeting> {
    let head = &bytes[..bytes.len().min(MAX_GREETING_BYTES)];
    let Some(end) = head.iter().position(|b| *b == b'\n') else {
        return if head.len() == MAX_GREETING_BYTES { Err(InvalidGreeting::TooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&head[..end]).map_err(|_| InvalidPeerId)?;
    Ok(Some((PeerId::parse(line.trim())?, end + 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_greeting_is_32_digits_and_a_line_break() {
        let line = greeting(PeerId(0xabc));
        assert_eq!(line, "00000000000000000000000000000abc\n");
        assert_eq!(read_greeting(line.as_bytes()), Ok(Some((PeerId(0xabc), 33))));
        assert_eq!(read_greeting(&line.as_bytes()[..32]), Ok(None));
        let more = [line.as_bytes(), b"{}"].concat();
        assert_eq!(read_greeting(&more), Ok(Some((PeerId(0xabc), 33))));
    }

    #[test]
    fn an_invalid_greeting_is_rejected_as_early_as_possible() {
        assert_eq!(read_greeting(&[b'a'; 63]), Ok(None));
        assert_eq!(read_greeting(&[b'a'; 64]), Err(InvalidGreeting::TooLong));
        assert_eq!(read_greeting(b"GET / HTTP/1.1\r\n"), Err(InvalidGreeting::NotAnId(InvalidPeerId)));
        assert_eq!(read_greeting(b"\xff\n"), Err(InvalidGreeting::NotAnId(InvalidPeerId)));
    }

    proptest! {
        #[test]
        fn every_id_round_trips_and_random_bytes_never_panic(id in any::<u128>(), noise in any::<Vec<u8>>()) {
            prop_assert_eq!(read_greeting(greeting(PeerId(id)).as_bytes()), Ok(Some((PeerId(id), 33))));
            let _ = read_greeting(&noise);
        }
    }
}
