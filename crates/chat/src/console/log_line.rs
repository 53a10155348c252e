//! Log lines that are printed between the messages of the chat, made safe for the terminal.

use crate::text::is_hidden;

/// Longest log line, in characters. A longer line is cut. A colour sequence counts as one
/// character.
const MAX_LINE_CHARS: usize = 8 * 1024;

/// Returns the line with control characters replaced, except for the colour sequences of the
/// logger.
#[must_use]
pub fn log_line(line: &str) -> String {
    let mut cleaned = String::with_capacity(line.len());
    let mut rest = line;
    for _ in 0..MAX_LINE_CHARS {
        let colour = colour_sequence_bytes(rest);
        if colour > 0 {
            cleaned.push_str(&rest[..colour]);
            rest = &rest[colour..];
            continue;
        }
        let Some(c) = rest.chars().next() else { return cleaned };
        cleaned.push(match c {
            '\t' => ' ',
            c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        });
        rest = &rest[c.len_utf8()..];
    }
    // The part that was cut off may have contained the reset of the colour.
    cleaned.push_str("…\u{1b}[0m");
    cleaned
}

/// Length in bytes of the escape sequence for a colour or weight at the start of the text; 0 if
/// there is none.
fn colour_sequence_bytes(text: &str) -> usize {
    let Some(codes) = text.strip_prefix("\u{1b}[") else { return 0 };
    let length = codes.bytes().take(16).take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if codes.as_bytes().get(length) == Some(&b'm') { 2 + length + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_colour_sequences_are_kept() {
        assert_eq!(
            log_line("\u{1b}[2mnow\u{1b}[0m \u{1b}[1;32mINFO\u{1b}[0m ä"),
            "\u{1b}[2mnow\u{1b}[0m \u{1b}[1;32mINFO\u{1b}[0m ä"
        );
        assert_eq!(log_line("a\u{1b}[2Jb\u{1b}]0;x\u{7}\tc\u{202e}"), "a\u{fffd}[2Jb\u{fffd}]0;x\u{fffd} c\u{fffd}");
        assert_eq!(log_line("\u{1b}["), "\u{fffd}[");
        assert!(log_line(&"x".repeat(99_999)).len() < 9_000);
    }

    proptest! {
        #[test]
        fn every_remaining_escape_sets_a_colour(line in "[\u{1b}\\[0-9;mJ\u{9b}a\u{7}]{0,40}") {
            let cleaned = log_line(&line);
            for (at, _) in cleaned.match_indices('\u{1b}') {
                prop_assert!(colour_sequence_bytes(&cleaned[at..]) > 0);
            }
            let is_odd = |c| c != '\u{1b}' && is_hidden(c);
            prop_assert!(!cleaned.chars().any(is_odd));
        }
    }
}
