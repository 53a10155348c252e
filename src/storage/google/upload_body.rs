//! Body of an upload: a part with the object's metadata in JSON, and a part with its bytes. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// Body of an upload, and the `Content-Type` that names the boundary between its parts.
pub(in crate::storage) struct UploadBody {
    pub(in crate::storage) content_type: String,
    pub(in crate::storage) body: Bytes,
}

impl UploadBody {
    /// The body for these bytes. Cloud Storage compares them with their checksum in the metadata,
    /// and refuses an upload that was changed on its way. `random` makes the boundary, so that no
    /// user can write it into an image.
    pub(in crate::storage) fn new(metadata: &Value, media_type: &str, bytes: &[u8], random: u128) -> Self {
        let boundary = format!("rollcall-{random:032x}");
        let head = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n\
             --{boundary}\r\nContent-Type: {media_type}\r\n\r\n"
        );
        let body = [head.as_bytes(), bytes, format!("\r\n--{boundary}--\r\n").as_bytes()].concat().into();
        Self { content_type: format!("multipart/related; boundary={boundary}"), body }
    }
}

/// CRC-32C, big-endian, in base64, as Cloud Storage writes it.
pub(in crate::storage) fn crc32c_base64(bytes: &[u8]) -> String {
    STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_golden_bytes() {
        let metadata = serde_json::json!({ "contentType": "text/plain", "crc32c": crc32c_base64(b"hello") });
        let upload = UploadBody::new(&metadata, "text/plain", b"hello", 7);
        assert_eq!(upload.content_type, "multipart/related; boundary=rollcall-00000000000000000000000000000007");
        let boundary = "rollcall-00000000000000000000000000000007";
        let golden = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n\
             {{\"contentType\":\"text/plain\",\"crc32c\":\"mnG7TA==\"}}\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\n\r\nhello\r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(upload.body.to_vec()).unwrap(), golden);
    }
}
