//! Strong entity tags.

use std::fmt::Write as _;

use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

/// Number of bytes of the SHA-256 hash in a tag. Enough that two different responses practically
/// never have the same tag.
const TAG_HASH_BYTES: usize = 16;

/// The entity tag of these bytes.
pub(in crate::http) fn entity_tag(bytes: &[u8]) -> HeaderValue {
    let mut tag = String::with_capacity(2 * TAG_HASH_BYTES + 2);
    tag.push('"');
    for byte in &Sha256::digest(bytes)[..TAG_HASH_BYTES] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::try_from(tag).expect("quotes and hex digits")
}

/// Whether an `If-None-Match` header contains the tag. The comparison is weak (RFC 9110, section
/// 8.8.3.2): a prefix `W/`, which a proxy may add, is ignored.
pub(in crate::http) fn matches_tag(if_none_match: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(if_none_match) = if_none_match.to_str() else { return false };
    if_none_match
        .split(',')
        .map(str::trim)
        .any(|name| name == "*" || name.strip_prefix("W/").unwrap_or(name).as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_matches_a_tag_alone_in_a_list_weakly_or_by_a_star() {
        let tag = entity_tag(b"abc");
        let text = tag.to_str().unwrap();
        assert_eq!(text, "\"ba7816bf8f01cfea414140de5dae2223\"");
        let if_none_match = |if_none_match: String| matches_tag(&if_none_match.parse().unwrap(), &tag);
        assert!(if_none_match(text.to_owned()));
        assert!(if_none_match(format!("\"x\" ,W/{text}")));
        assert!(if_none_match("*".to_owned()));
        assert!(!if_none_match(text.trim_matches('"').to_owned()));
        assert!(!if_none_match("\"x\"".to_owned()));
    }
}
