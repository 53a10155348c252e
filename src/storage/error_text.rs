//! Texts of errors that come from a store: one line, of bounded length. Pure.

use std::error::Error;

/// Longest error text in a log line, in characters. A longer one comes from a broken proxy.
const MAX_CHARS: usize = 1000;

/// The text as one line: every run of white space and control characters becomes one space. Cut
/// after 1000 characters.
pub(super) fn one_line(text: &str) -> String {
    let (mut line, mut length, mut gap) = (String::new(), 0, false);
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = length > 0;
            continue;
        }
        if length >= MAX_CHARS {
            line.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            line.push(' ');
            length += 1;
        }
        line.push(c);
        length += 1;
    }
    line
}

/// The text of an error and of its causes, without repetitions.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_one_line() {
        assert_eq!(one_line("<html>\r\n  <b>502\u{85}</b>\u{1b}[31m\u{0}\n"), "<html> <b>502 </b> [31m");
        assert_eq!(one_line(" \n"), "");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let longest = "é".repeat(MAX_CHARS);
        assert_eq!(one_line(&longest), longest);
        assert_eq!(one_line(&"é".repeat(10_000_000)), longest + "…");
        assert_eq!(one_line(&"a\n".repeat(10_000_000)).chars().count(), MAX_CHARS + 2);
    }
}
