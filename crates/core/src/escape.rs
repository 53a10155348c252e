//! Escaping of text that others wrote. Pure.
//!
//! Text comes from anybody. A terminal must not obey it, and a line-based format must not be split by it.
//! Three predicates, each with its use:
//!
//! | predicate | true for | used for |
//! |---|---|---|
//! | [`is_line_break`] | line breaks of any reader | fields of line-based formats |
//! | [`is_terminal_control`] | control characters, marks of direction, line separators | output of commands, logs, JSON |
//! | [`is_hidden`] | all of these, and characters of no width | chat: names and lines of other people |
//!
//! Each predicate holds for all characters of the one above it. Chat is stricter on purpose: characters of no width let
//! one name look like another. Commands show them, because scripts and emoji need joiners.

use std::fmt::Write as _;

/// Stands for what cannot be shown.
const REPLACEMENT: char = '\u{fffd}';

/// Whether any reader of lines ends one here: what Unicode names, and the separators that some languages add.
#[must_use]
pub fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a terminal would obey a character, or it would turn the order of what is read.
#[must_use]
pub fn is_terminal_control(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    // Both the seven-bit ones and those that some terminals take for an escape and a bracket.
    c.is_control() || turns || breaks
}

/// Whether a character acts on a terminal, or on the characters around it, instead of showing: what
/// [`is_terminal_control`], and characters of no width that hide differences.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    is_terminal_control(c)
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything that [`is_terminal_control`] written as an escape.
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

/// JSON in which the same characters are written as JSON's own escapes. They can only stand inside of strings.
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_terminal_control(c) {
            // All of them are in the basic plane; writing to a string does not fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The text as one line for a terminal of at most `most_chars`, with `…` where it was cut. Line breaks and tabs become
/// spaces; whatever else [`is_hidden`] becomes `U+FFFD`.
#[must_use]
pub fn sanitize_line(text: &str, most_chars: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most_chars.saturating_mul(4)));
    for (count, c) in text.chars().enumerate() {
        if count == most_chars {
            shown.push('…');
            break;
        }
        shown.push(match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if is_hidden(c) => REPLACEMENT,
            c => c,
        });
    }
    shown
}

/// The text on one line, for a format in which a line break ends a field. Every character that [`is_line_break`] becomes
/// a space.
#[must_use]
pub fn replace_line_breaks(text: &str) -> String {
    text.chars().map(|c| if is_line_break(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_predicate_holds_for_all_characters_of_the_narrower_one() {
        for c in '\0'..=char::MAX {
            assert!(!is_line_break(c) || is_terminal_control(c), "{c:?}");
            assert!(!is_terminal_control(c) || is_hidden(c), "{c:?}");
        }
    }

    #[test]
    fn the_hidden_characters_are_these() {
        // As the chat has had them from the start.
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
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(
            escape_controls("a\u{1b}[2Jb\u{9b}1m\u{7f}\r\u{202e}ä€"),
            "a\\u{1b}[2Jb\\u{9b}1m\\u{7f}\\u{d}\\u{202e}ä€"
        );
        assert_eq!(escape_controls("10.0.0.1:9000 – ✓"), "10.0.0.1:9000 – ✓");
    }

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(sanitize_line("\u{1b}[2J\u{9b}31mhi\u{7}\r\nbye", 100), "\u{fffd}[2J\u{fffd}31mhi\u{fffd}  bye");
        assert_eq!(sanitize_line("a\u{202e}b", 100), "a\u{fffd}b");
        assert_eq!(sanitize_line("äöü", 3), "äöü");
        assert_eq!(sanitize_line("äöüß", 3), "äöü…");
        assert_eq!(sanitize_line("äöüß", usize::MAX), "äöüß");
    }

    proptest! {
        #[test]
        fn json_means_the_same_and_has_nothing_to_obey(text in any::<String>()) {
            let json = escape_json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!json.chars().any(is_terminal_control));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn nothing_that_acts_is_left_and_nothing_grows(text in any::<String>(), most in 0usize..50) {
            let shown = sanitize_line(&text, most);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(shown.chars().count() <= most + 1);
            prop_assert!(!replace_line_breaks(&text).chars().any(is_line_break));
        }
    }
}
