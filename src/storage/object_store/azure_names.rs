//! Names of objects in Azure. Pure.
//!
//! Azure changes a backslash in a name into a slash, and advises against parts of a path that end
//! with a dot. A username may have both. So these two characters are written as `%5C` and `%2E`,
//! and a text that looks like one of these gets `25` after its `%`. All other names are kept.

/// The text of a path for Azure. Different texts stay different.
pub(super) fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' => encoded.push_str("%5C"),
            '.' if after.is_empty() || after.starts_with('/') => encoded.push_str("%2E"),
            '%' if is_ambiguous(after) => encoded.push_str("%25"),
            _ => encoded.push(c),
        }
        rest = after;
    }
    encoded
}

/// The inverse of [`encode`].
pub(super) fn decode(name: &str) -> String {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '%' && is_ambiguous(rest) {
            decoded.push(match &rest[..2] {
                "5C" => '\\',
                "2E" => '.',
                _ => '%',
            });
            rest = &rest[2..];
        } else {
            decoded.push(c);
        }
    }
    decoded
}

/// Whether the text after a `%` is `5C` or `2E`, after any number of `25`.
fn is_ambiguous(mut text: &str) -> bool {
    while let Some(rest) = text.strip_prefix("25") {
        text = rest;
    }
    text.starts_with("5C") || text.starts_with("2E")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_unsafe_names_are_changed() {
        for (name, encoded) in [
            ("users/alice/profile.json", "users/alice/profile.json"),
            ("users/a\\b/profile.json", "users/a%5Cb/profile.json"),
            ("users/.../images", "users/..%2E/images"),
            ("users/100%/%2e%2e", "users/100%/%2e%2e"),
            ("users/%5C", "users/%255C"),
            ("users/%255C", "users/%25255C"),
            ("users/%25", "users/%25"),
        ] {
            assert_eq!(encode(name), encoded);
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(name in "[a.%25CE\\\\/é]{0,12}") {
            let encoded = encode(&name);
            prop_assert!(!encoded.contains('\\') && !encoded.ends_with('.') && !encoded.contains("./"));
            prop_assert_eq!(decode(&encoded), name);
        }
    }
}
