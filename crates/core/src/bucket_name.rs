//! Name of a bucket of Google Cloud Storage.

use std::fmt;

/// Name of a bucket of Google Cloud Storage, such as `your-project.firebasestorage.app`.
///
/// Invariant: 3 to 222 lower-case letters, digits, dashes, underscores and dots, with a letter or
/// digit at both ends. This is a part of Google's rule, enough to reject URLs and paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BucketName(String);

impl BucketName {
    /// The form of a name, for errors.
    pub const EXPECTED: &str = "the name of a bucket, such as \"your-project.firebasestorage.app\"";

    /// Parses a name. White space around it, `gs://` before it and slashes after it are removed,
    /// because users copy them with the name. `None` if the rest is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let name = text.strip_prefix("gs://").unwrap_or(text).trim_end_matches('/');
        let is_letter_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_valid = (3..=222).contains(&name.len())
            && name.bytes().all(|b| is_letter_or_digit(b) || matches!(b, b'-' | b'_' | b'.'))
            && name.bytes().next().is_some_and(is_letter_or_digit)
            && name.bytes().next_back().is_some_and(is_letter_or_digit);
        is_valid.then(|| Self(name.to_owned()))
    }

    /// The name, without a scheme and without slashes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_accepted_with_spaces_a_scheme_and_slashes() {
        let name = "your-project.firebasestorage.app";
        for given in [name, &format!("gs://{name}"), &format!("{name}/"), &format!(" gs://{name}// ")] {
            assert_eq!(BucketName::parse(given).expect(given).as_str(), name);
        }
        for length in [3, 222] {
            assert!(BucketName::parse(&"x".repeat(length)).is_some());
        }
    }

    #[test]
    fn urls_paths_and_wrong_characters_are_refused() {
        let too_long = "x".repeat(223);
        for bad in [
            "",
            "ab",
            "gs://",
            "gs://gs://abc",
            "s3://abc",
            "My-Project",
            "a/b/c",
            "name?x=1",
            "-abc",
            "abc.",
            "a b",
            "äbc",
            &too_long,
        ] {
            assert!(BucketName::parse(bad).is_none(), "{bad}");
        }
    }
}
