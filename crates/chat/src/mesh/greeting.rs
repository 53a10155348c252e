//! The first line on a connection of the mesh: who is at this end. Pure.

use thiserror::Error;

use crate::peer_id::{InvalidPeerId, PeerId};

/// The longest first line, its end included.
pub const MAX_GREETING_BYTES: usize = 64;

/// What came is no greeting.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
pub enum InvalidGreeting {
    /// No line ends where one must have ended.
    #[error("the first line is longer than {MAX_GREETING_BYTES} bytes")]
    TooLong,
    /// It is a line, but no id.
    #[error("the first line is no id: {0}")]
    NoId(#[from] InvalidPeerId),
}

/// The line that says `me`.
#[must_use]
pub fn greeting(me: PeerId) -> String {
    format!("{me}\n")
}

/// Reads the line at the start of what came so far: the id and how many bytes it took, or `None` if more must come.
///
/// # Errors
/// [`InvalidGreeting`] if what came can never become a greeting.
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
    fn what_can_never_become_one_is_refused_at_once() {
        assert_eq!(read_greeting(&[b'a'; 63]), Ok(None));
        assert_eq!(read_greeting(&[b'a'; 64]), Err(InvalidGreeting::TooLong));
        assert_eq!(read_greeting(b"GET / HTTP/1.1\r\n"), Err(InvalidGreeting::NoId(InvalidPeerId)));
        assert_eq!(read_greeting(b"\xff\n"), Err(InvalidGreeting::NoId(InvalidPeerId)));
    }

    proptest! {
        #[test]
        fn every_id_is_read_back_and_nothing_panics(id in any::<u128>(), noise in any::<Vec<u8>>()) {
            prop_assert_eq!(read_greeting(greeting(PeerId(id)).as_bytes()), Ok(Some((PeerId(id), 33))));
            let _ = read_greeting(&noise);
        }
    }
}
