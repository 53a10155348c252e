//! The text of a chat message: how long it may be, and how it is escaped.

pub(crate) use rollcall_core::escape::{is_hidden, replace_line_breaks, sanitize_line};

/// The longest text of a chat message, in bytes. Even if JSON escapes each of them, a message of the mesh stays below its
/// bound.
pub const MAX_TEXT_BYTES: usize = 8 * 1024;
