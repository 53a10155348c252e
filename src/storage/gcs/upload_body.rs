//! Body of an upload: a part with the object's metadata in JSON, and a part with its bytes. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

/// Body of an upload, and the `Content-Type` that names the boundary between its parts.
pub(super) struct UploadBody {
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl UploadBody {
    /// The body for these bytes. The server compares them with their checksum in the metadata, and
    /// refuses an upload that was changed on its way. `random` makes the boundary, so that no user
    /// can write it into an image.
    pub(super) fn new(media_type: &str, bytes: &[u8], random: u128) -> Self {
        let metadata = json!({ "contentType": media_type, "crc32c": crc32c_base64(bytes) });
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
pub(super) fn crc32c_base64(bytes: &[u8]) -> String {
    STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_golden_bytes() {
        let upload = UploadBody::new("text/plain", b"hello", 7);
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
