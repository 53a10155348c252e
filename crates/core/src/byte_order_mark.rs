//! Byte order mark: U+FEFF in UTF-8, which some editors and libraries write before a text. JSON
//! parsers refuse it.

/// The text without its byte order mark. The text itself if it begins with none.
#[must_use]
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}
