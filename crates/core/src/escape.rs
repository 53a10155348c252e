//! Escaping of untrusted text for terminals and line-based formats. Pure.
//!
//! Users and peers send arbitrary text. That text must not control a terminal, and must not add
//! lines to a line-based format. There are three predicates:
//!
//! | predicate | true for | used for |
//! |---|---|---|
//! | [`is_line_break`] | characters at which some program ends a line | fields of line-based formats |
//! | [`is_terminal_control`] | control characters, direction marks, line and paragraph separators | output of commands, logs, JSON |
//! | [`is_hidden`] | all of these, and zero-width characters | texts of chat peers and of other nodes |
//!
//! Each predicate is true for all characters for which the predicate above it is true.
//! [`is_hidden`] is the strictest, because with zero-width characters one name can look like
//! another. The output of commands keeps zero-width characters, because some writing systems and
//! emoji need them.

use std::fmt::Write as _;

/// Replacement for a character that is not printed.
const REPLACEMENT: char = '\u{fffd}';

/// Whether some program ends a line at this character.
///
/// These are the line breaks of Unicode, and the separators U+001C to U+001E, at which Python's
/// `str.splitlines` also ends a line.
#[must_use]
pub fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the character controls a terminal or changes the direction of the text.
#[must_use]
pub fn is_terminal_control(c: char) -> bool {
    let is_direction_mark =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    // `is_control` also covers U+0080 to U+009F: some terminals read these as ESC and a second
    // character.
    c.is_control() || is_direction_mark || is_separator
}

/// Whether the character is not visible: an [`is_terminal_control`] character, or a zero-width
/// character.
///
/// Zero-width characters can make two different names look the same.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    is_terminal_control(c)
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with each [`is_terminal_control`] character written as `\u{...}`.
#[must_use]
pub fn escape_controls(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_control(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The JSON text with each [`is_terminal_control`] character written as a JSON escape.
///
/// `json` must have no line breaks or tabs between its tokens. Then it contains such characters
/// inside strings only, and the value stays the same.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_terminal_control(c) {
            // All these characters are below U+10000, so four digits suffice. A write to a string
            // does not fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The text as one line. A text of more than `max_chars` characters is cut there and ends with `…`.
///
/// LF, CR, tab, U+2028 and U+2029 become spaces. Each other [`is_hidden`] character becomes U+FFFD.
#[must_use]
pub fn sanitize_line(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_chars.saturating_mul(4)));
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            line.push('…');
            break;
        }
        line.push(match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if is_hidden(c) => REPLACEMENT,
            c => c,
        });
    }
    line
}

/// The text as one line, for a format in which a line break ends a field.
///
/// Each [`is_line_break`] character becomes a space.
#[must_use]
pub fn replace_line_breaks(text: &str) -> String {
    text.chars().map(|c| if is_line_break(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_predicate_is_true_for_all_characters_of_the_narrower_one() {
        for c in '\0'..=char::MAX {
            assert!(!is_line_break(c) || is_terminal_control(c), "{c:?}");
            assert!(!is_terminal_control(c) || is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn the_set_of_hidden_characters_is_fixed() {
        // This set has not changed since the first version of the chat.
        let expected = |c: char| {
            c.is_control()
                || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        };
        for c in '\0'..=char::MAX {
            assert_eq!(is_hidden(c), expected(c), "{c:?}");
        }
    }

    #[test]
    fn control_characters_are_escaped_and_other_characters_stay() {
        assert_eq!(
            escape_controls("a\u{1b}[2Jb\u{9b}1m\u{7f}\r\u{202e}ä€"),
            "a\\u{1b}[2Jb\\u{9b}1m\\u{7f}\\u{d}\\u{202e}ä€"
        );
        assert_eq!(escape_controls("10.0.0.1:9000 – ✓"), "10.0.0.1:9000 – ✓");
    }

    #[test]
    fn a_sanitized_line_has_no_escape_sequence_and_is_cut_at_the_limit() {
        assert_eq!(sanitize_line("\u{1b}[2J\u{9b}31mhi\u{7}\r\nbye", 100), "\u{fffd}[2J\u{fffd}31mhi\u{fffd}  bye");
        assert_eq!(sanitize_line("a\u{202e}b", 100), "a\u{fffd}b");
        assert_eq!(sanitize_line("äöü", 3), "äöü");
        assert_eq!(sanitize_line("äöüß", 3), "äöü…");
        assert_eq!(sanitize_line("äöüß", usize::MAX), "äöüß");
    }

    proptest! {
        #[test]
        fn escaped_json_has_the_same_value_and_no_control_characters(text in any::<String>()) {
            let json = escape_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!json.chars().any(is_terminal_control));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn a_sanitized_line_has_no_hidden_characters_and_keeps_the_limit(text in any::<String>(), max in 0usize..50) {
            let line = sanitize_line(&text, max);
            prop_assert!(!line.chars().any(is_hidden));
            prop_assert!(line.chars().count() <= max + 1);
            prop_assert!(!replace_line_breaks(&text).chars().any(is_line_break));
        }
    }
}
