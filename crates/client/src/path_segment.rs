//! Percent-encoding of one segment of a URL path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// All characters except the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The text as one segment of a URL path. A username may contain any character but `/`.
pub(super) fn path_segment(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_stays_one_segment() {
        for (name, expected) in [
            ("alice.b-c_d~1", "alice.b-c_d~1"),
            ("mona ali", "mona%20ali"),
            ("Zoë", "Zo%C3%AB"),
            ("a?b#c%20+&\\:", "a%3Fb%23c%2520%2B%26%5C%3A"),
        ] {
            assert_eq!(path_segment(name).to_string(), expected);
            let url = reqwest::Url::parse(&format!("http://127.0.0.1/images/{}", path_segment(name))).unwrap();
            assert_eq!(url.path(), format!("/images/{expected}"));
        }
    }
}
