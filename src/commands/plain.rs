//! Text that others wrote, made harmless for a terminal. Pure.

use std::fmt::Write as _;

/// The text with everything that a terminal would obey, or that would turn the order of what is read, written as an
/// escape.
pub(super) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_tricky(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// JSON in which the same characters are written as JSON's own escapes. They can only stand inside of strings.
pub(super) fn plain_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_tricky(c) {
            // All of them are in the basic plane; writing to a string does not fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_tricky(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    // Both the seven-bit ones and those that some terminals take for an escape and a bracket.
    c.is_control() || turns || breaks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}1m\u{7f}\r\u{202e}ä€"), "a\\u{1b}[2Jb\\u{9b}1m\\u{7f}\\u{d}\\u{202e}ä€");
        assert_eq!(plain("10.0.0.1:9000 – ✓"), "10.0.0.1:9000 – ✓");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_has_nothing_to_obey(text in any::<String>()) {
            let json = plain_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!json.chars().any(is_tricky));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
