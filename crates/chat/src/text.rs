//! What others wrote, made harmless. Text comes from anybody, so a terminal must not obey it and a line-based format must
//! not be split by it.

/// The longest text of a chat message, in bytes. Even if JSON escapes each of them, a message of the mesh stays below its
/// bound.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Stands for what cannot be shown.
const REPLACEMENT: char = '\u{fffd}';

/// Whether a character acts on a terminal, or on the characters around it, instead of showing: control characters, marks
/// that turn the direction of writing, and those of no width that hide differences.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text as one line for a terminal of at most `most_chars`, with `…` where it was cut. Line breaks and tabs become
/// spaces; whatever else does not show becomes `U+FFFD`.
#[must_use]
pub fn harmless(text: &str, most_chars: usize) -> String {
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

/// The text on one line, for a format in which a line break ends a field. Every character at which some reader breaks
/// lines becomes a space.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if breaks_a_line(c) { ' ' } else { c }).collect()
}

/// Whether any reader of lines ends one here: what Unicode names, and the separators that some languages add.
#[must_use]
pub fn breaks_a_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(harmless("\u{1b}[2J\u{9b}31mhi\u{7}\r\nbye", 100), "\u{fffd}[2J\u{fffd}31mhi\u{fffd}  bye");
        assert_eq!(harmless("a\u{202e}b", 100), "a\u{fffd}b");
        assert_eq!(harmless("äöü", 3), "äöü");
        assert_eq!(harmless("äöüß", 3), "äöü…");
        assert_eq!(harmless("äöüß", usize::MAX), "äöüß");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left_and_nothing_grows(text in any::<String>(), most in 0usize..50) {
            let shown = harmless(&text, most);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(shown.chars().count() <= most + 1);
            prop_assert!(!one_line(&text).chars().any(breaks_a_line));
        }
    }
}
