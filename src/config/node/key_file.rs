//! Check of the path of a key file.

/// Longest path that is not suspicious, in bytes. The base64 text of a key is longer.
const MAX_PATH_BYTES: usize = 1024;

/// Whether a path is the content of a key file. Such a text must not appear in any error.
pub(super) fn is_key_itself(path: &str) -> bool {
    path.contains("PRIVATE KEY") || path.trim_start().starts_with('{') || path.len() > MAX_PATH_BYTES
}
