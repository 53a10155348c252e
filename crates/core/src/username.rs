//! Username: the name under which a user registers.

use compact_str::CompactString;
use precis_profiles::UsernameCasePreserved;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of a new user, in characters.
const MAX_NEW_CHARS: usize = 64;

/// Name of a user.
///
/// Invariant: one safe path segment. It has 1 to 255 bytes, no `/` and no control characters, and
/// it is not `.` or `..`. New users need a name that also meets [`Username::check_new`]. Other
/// names occur only in buckets that other programs have filled.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "CompactString", into = "CompactString")]
pub struct Username(CompactString);

/// The text is not a valid username. The message contains the text and the rule.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("Invalid username {given:?}: {remedy}")]
pub struct InvalidUsername {
    given: String,
    remedy: Remedy,
}

/// The remedy for an invalid username.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
enum Remedy {
    #[error(
        "a username has 1 to {MAX_NEW_CHARS} characters and at most {max} bytes: letters and digits of any script and ASCII punctuation except \"/\", in words separated by single spaces; \".\" and \"..\" are not usernames",
        max = Username::MAX_BYTES
    )]
    FollowRule,
    #[error("write it as {0:?}, the form that Unicode defines for identifiers (RFC 8265)")]
    Normalize(String),
}

impl Username {
    /// Longest name, in bytes. Local stores use the name as the name of a directory, and file
    /// systems limit such a name to 255 bytes.
    pub const MAX_BYTES: usize = 255;

    /// Parses a username.
    ///
    /// # Errors
    /// [`InvalidUsername`] if the text breaks the invariant of the type.
    pub fn parse(text: &str) -> Result<Self, InvalidUsername> {
        let is_segment = (1..=Self::MAX_BYTES).contains(&text.len()) && !matches!(text, "." | "..");
        if is_segment && text.chars().all(|c| c != '/' && !c.is_control()) {
            Ok(Self(CompactString::from(text)))
        } else {
            Err(InvalidUsername::new(text, Remedy::FollowRule))
        }
    }

    /// Checks the rule for the name of a new user: at most 64 characters, in parts that are
    /// separated by single spaces. Each part is a name of the profile `UsernameCasePreserved`
    /// ([RFC 8265](https://www.rfc-editor.org/rfc/rfc8265#section-3.4)), in its normal form. So
    /// no two new names are equal by the rules of Unicode.
    ///
    /// # Errors
    /// [`InvalidUsername`] if the name breaks this rule.
    pub fn check_new(&self) -> Result<(), InvalidUsername> {
        if self.0.chars().count() > MAX_NEW_CHARS {
            return Err(self.invalid(Remedy::FollowRule));
        }
        let normal_parts: Result<Vec<_>, _> = self.0.split(' ').map(UsernameCasePreserved::enforce).collect();
        let Ok(normal_parts) = normal_parts else { return Err(self.invalid(Remedy::FollowRule)) };
        let normal = normal_parts.join(" ");
        if normal == self.0 {
            return Ok(());
        }
        // The normal form may contain a character that the given form does not have.
        let is_valid = Self::parse(&normal).is_ok_and(|name| name.check_new().is_ok());
        Err(self.invalid(if is_valid { Remedy::Normalize(normal) } else { Remedy::FollowRule }))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn invalid(&self, remedy: Remedy) -> InvalidUsername {
        InvalidUsername::new(self.as_str(), remedy)
    }
}

impl InvalidUsername {
    /// The error for bytes that cannot be a username, because they are not UTF-8 text. `given`
    /// shows them as well as possible.
    #[must_use]
    pub fn not_text(given: &str) -> Self {
        Self::new(given, Remedy::FollowRule)
    }

    /// The text is cut to 80 characters.
    fn new(given: &str, remedy: Remedy) -> Self {
        Self { given: given.chars().take(80).collect(), remedy }
    }
}

impl std::fmt::Display for Username {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Username {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<CompactString> for Username {
    type Error = InvalidUsername;

    fn try_from(text: CompactString) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Username> for CompactString {
    fn from(name: Username) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_new(text: &str) -> Result<(), InvalidUsername> {
        Username::parse(text)?.check_new()
    }

    #[test]
    fn a_name_is_one_safe_path_segment_and_any_other_text_is_rejected() {
        for good in ["a", "alice", "...", ".a", " ", "a  b", "😀", "Zoe\u{308}", "a\u{202e}b", &"x".repeat(255)] {
            assert_eq!(Username::parse(good).expect("valid").as_str(), good);
        }
        let too_long = ["x".repeat(256), "é".repeat(128)];
        for bad in ["", ".", "..", "a/b", "/", "a\n", "a\0", "a\u{7f}", "a\u{85}", &too_long[0], &too_long[1]] {
            let error = Username::parse(bad).expect_err(bad);
            assert!(error.to_string().contains("at most 255 bytes"), "{error}");
        }
    }

    #[test]
    fn new_names_have_words_of_any_script_separated_by_single_spaces() {
        let hebrew_and_persian = ["דוד", "علی رضا", "می\u{200c}خواهم"];
        let scripts = ["Zoë", "mona ali", "Ærøskøbing", "Νίκος", "Иван Петров", "王小明", "さくら", "김철수", "अनिल"];
        let ascii =
            ["a", "7", "A.b_c-d", "_a", "-a", ".a", "0..", "o'neil", "a@b.example", "a:b", "<b>", "\"q\"", "a\\b"];
        for good in hebrew_and_persian.iter().chain(&scripts).chain(&ascii) {
            assert_eq!(check_new(good), Ok(()), "{good:?}");
        }
        let spaces = [" ", " a", "a ", "a  b", "a\u{a0}b", "a\u{3000}b"];
        let no_identifiers = ["😀", "a😀", "½", "a\u{200b}b", "a\u{202e}b", "\u{feff}a", "a\u{ad}b", "№1", "א1a"];
        for bad in spaces.iter().chain(&no_identifiers) {
            let error = check_new(bad).expect_err(bad);
            assert!(error.to_string().contains("separated by single spaces"), "{error}");
        }
    }

    #[test]
    fn a_new_name_has_at_most_64_characters_and_255_bytes() {
        assert_eq!(check_new(&"x".repeat(64)), Ok(()));
        assert_eq!(check_new(&"王".repeat(64)), Ok(()));
        assert!(check_new(&"x".repeat(65)).is_err());
        // Letters of four bytes each.
        assert_eq!(check_new(&"𐍈".repeat(63)), Ok(()));
        assert!(check_new(&"𐍈".repeat(64)).is_err());
    }

    #[test]
    fn a_name_in_another_form_is_rejected_and_the_error_names_the_right_form() {
        for (given, right) in
            [("Zoe\u{308}", "Zoë"), ("mona Zoe\u{308}", "mona Zoë"), ("ａｌｉｃｅ", "alice"), ("ｶﾅ", "カナ")]
        {
            let error = check_new(given).expect_err(given);
            assert!(error.to_string().contains(&format!("write it as {right:?}")), "{error}");
            assert_eq!(check_new(right), Ok(()));
        }
        // The full-width slash would become a slash.
        let error = check_new("a／b").expect_err("no segment in its normal form");
        assert!(error.to_string().contains("separated by single spaces"), "{error}");
    }

    #[test]
    fn names_are_compared_byte_by_byte() {
        assert_ne!(Username::parse("Alice").unwrap(), Username::parse("alice").unwrap());
        assert!(Username::parse("Z").unwrap() < Username::parse("a").unwrap());
    }

    #[test]
    fn the_error_repeats_only_the_start_of_a_huge_name() {
        let error = Username::parse(&"x".repeat(100_000)).expect_err("too long");
        assert!(error.to_string().len() < 500);
    }

    proptest! {
        #[test]
        fn a_valid_name_is_always_one_safe_path_segment(text in "[\\PC./ \u{0}]{0,70}") {
            if let Ok(name) = Username::parse(&text) {
                let path = std::path::Path::new(name.as_str());
                let mut parts = path.components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == name.as_str()));
                prop_assert!(parts.next().is_none());
            }
        }

        #[test]
        fn the_check_of_a_new_name_never_panics_and_accepts_the_form_that_it_recommends(text in "\\PC{0,20}") {
            if let Err(InvalidUsername { remedy: Remedy::Normalize(right), .. }) = check_new(&text) {
                prop_assert_eq!(check_new(&right), Ok(()));
            }
        }
    }
}
