//! Limits and escaping of message texts.

pub(crate) use rollcall_core::escape::{is_hidden, replace_line_breaks, sanitize_line};

/// Longest text of a message, in bytes. JSON may need six bytes to escape one byte of text. Even
/// then, the mesh message stays below its size limit of 64 KiB.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
