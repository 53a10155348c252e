//! A line of the log between what people say.

use crate::text::is_hidden;

/// The most characters of a line of the log.
const MOST_CHARS: usize = 8 * 1024;

/// The line with its colours, which are the log's own, and with nothing else that a terminal would obey.
#[must_use]
pub fn log_line(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    for _ in 0..MOST_CHARS {
        let colour = colour_bytes(rest);
        if colour > 0 {
            shown.push_str(&rest[..colour]);
            rest = &rest[colour..];
            continue;
        }
        let Some(c) = rest.chars().next() else { return shown };
        shown.push(match c {
            '\t' => ' ',
            c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        });
        rest = &rest[c.len_utf8()..];
    }
    // What was cut off may have ended a colour.
    shown.push_str("…\u{1b}[0m");
    shown
}

/// The length of the sequence that sets a colour or a weight, if the text begins with one.
fn colour_bytes(text: &str) -> usize {
    let Some(codes) = text.strip_prefix("\u{1b}[") else { return 0 };
    let length = codes.bytes().take(16).take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if codes.as_bytes().get(length) == Some(&b'm') { 2 + length + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_are_kept_and_nothing_else() {
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
        fn every_escape_that_is_left_sets_a_colour(line in "[\u{1b}\\[0-9;mJ\u{9b}a\u{7}]{0,40}") {
            let shown = log_line(&line);
            for (at, _) in shown.match_indices('\u{1b}') {
                prop_assert!(colour_bytes(&shown[at..]) > 0);
            }
            let is_odd = |c| c != '\u{1b}' && is_hidden(c);
            prop_assert!(!shown.chars().any(is_odd));
        }
    }
}
