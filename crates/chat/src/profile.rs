//! Profile of a peer: display name, status and avatar.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use rollcall_core::ImageKind;

/// Largest avatar, in bytes of the image file (20 KB).
pub const MAX_AVATAR_BYTES: usize = 20_480;
/// Longest display name, in characters. A longer name is cut.
const MAX_DISPLAY_NAME_CHARS: usize = 64;
/// Longest status, in characters. A longer status is cut.
const MAX_STATUS_CHARS: usize = 280;

/// Profile that a peer has published.
///
/// Invariant: name and status are cut to their limits, received profiles included.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "UncheckedProfile")]
pub struct PeerProfile {
    /// Name that users see in place of the nickname.
    pub display_name: String,
    /// Free text.
    pub status: String,
    /// Image of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Avatar>,
}

#[derive(Deserialize)]
struct UncheckedProfile {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    avatar: Option<Avatar>,
}

impl From<UncheckedProfile> for PeerProfile {
    fn from(raw: UncheckedProfile) -> Self {
        Self::new(&raw.display_name, &raw.status, raw.avatar)
    }
}

impl PeerProfile {
    /// Creates a profile. Name and status are cut to their limits.
    #[must_use]
    pub fn new(display_name: &str, status: &str, avatar: Option<Avatar>) -> Self {
        let cut = |text: &str, most| text.chars().take(most).collect();
        Self { display_name: cut(display_name, MAX_DISPLAY_NAME_CHARS), status: cut(status, MAX_STATUS_CHARS), avatar }
    }
}

/// Image of a user, in base64.
///
/// Invariant: the image has at most [`MAX_AVATAR_BYTES`], and its first bytes match its media type.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WireAvatar", into = "WireAvatar")]
pub struct Avatar {
    kind: ImageKind,
    data: String,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
struct WireAvatar {
    #[serde(rename = "type")]
    media_type: String,
    data: String,
}

/// Error: the image is not a valid avatar.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum InvalidAvatar {
    /// The image has more than [`MAX_AVATAR_BYTES`].
    #[error("an avatar of {0} bytes is too large: at most {MAX_AVATAR_BYTES} (20 KB)")]
    TooLarge(usize),
    /// The first bytes belong to no supported image format.
    #[error("the avatar is not a PNG, JPEG or WebP image")]
    NotAPicture,
    /// The data is not valid base64.
    #[error("the data of the avatar is not valid base64")]
    NotBase64,
}

impl Avatar {
    /// Checks the content of an image file.
    ///
    /// # Errors
    /// [`InvalidAvatar`] if it is too large or not an image.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidAvatar> {
        if bytes.len() > MAX_AVATAR_BYTES {
            return Err(InvalidAvatar::TooLarge(bytes.len()));
        }
        let kind = kind_of(bytes).ok_or(InvalidAvatar::NotAPicture)?;
        Ok(Self { kind, data: STANDARD.encode(bytes), bytes: bytes.len() })
    }

    /// Checks an image in base64. The first bytes determine the image format, not the media type
    /// that the sender claims.
    ///
    /// # Errors
    /// [`InvalidAvatar`] if it is not base64, too large or not an image.
    pub fn from_base64(text: &str) -> Result<Self, InvalidAvatar> {
        // Four characters encode three bytes. A text whose image would be too large is rejected
        // before it is decoded.
        if text.len() / 4 > MAX_AVATAR_BYTES / 3 + 1 {
            return Err(InvalidAvatar::TooLarge(text.len() / 4 * 3));
        }
        let bytes = STANDARD.decode(text).map_err(|_| InvalidAvatar::NotBase64)?;
        Self::new(&bytes)
    }

    /// The media type: `image/png`, `image/jpeg` or `image/webp`.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.kind.media_type()
    }

    /// The image in base64.
    #[must_use]
    pub fn base64(&self) -> &str {
        &self.data
    }

    /// Size of the image file, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes
    }
}

impl TryFrom<WireAvatar> for Avatar {
    type Error = InvalidAvatar;

    fn try_from(raw: WireAvatar) -> Result<Self, InvalidAvatar> {
        Self::from_base64(&raw.data)
    }
}

impl From<Avatar> for WireAvatar {
    fn from(avatar: Avatar) -> Self {
        Self { media_type: avatar.media_type().to_owned(), data: avatar.data }
    }
}

fn kind_of(bytes: &[u8]) -> Option<ImageKind> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageKind::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageKind::Jpeg),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageKind::WebP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(length: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(length, 0);
        bytes
    }

    #[test]
    fn an_image_of_20_kb_is_a_valid_avatar_and_one_byte_more_is_not() {
        let avatar = Avatar::new(&png(MAX_AVATAR_BYTES)).unwrap();
        assert_eq!((avatar.media_type(), avatar.size()), ("image/png", MAX_AVATAR_BYTES));
        assert_eq!(Avatar::from_base64(avatar.base64()), Ok(avatar));
        let too_large = png(MAX_AVATAR_BYTES + 1);
        assert_eq!(Avatar::new(&too_large), Err(InvalidAvatar::TooLarge(20_481)));
        assert!(matches!(Avatar::from_base64(&STANDARD.encode(too_large)), Err(InvalidAvatar::TooLarge(_))));
        assert!(matches!(Avatar::from_base64(&"A".repeat(1_000_000)), Err(InvalidAvatar::TooLarge(_))));
    }

    #[test]
    fn the_first_bytes_determine_the_image_format() {
        assert_eq!(Avatar::new(b"\xff\xd8\xff\xe0").unwrap().media_type(), "image/jpeg");
        assert_eq!(Avatar::new(b"RIFF\0\0\0\0WEBPVP8 ").unwrap().media_type(), "image/webp");
        assert_eq!(Avatar::new(b"GIF89a"), Err(InvalidAvatar::NotAPicture));
        assert_eq!(Avatar::from_base64("!"), Err(InvalidAvatar::NotBase64));
    }

    #[test]
    fn a_received_profile_is_cut_to_its_limits() {
        let long = format!(r#"{{"display_name":"{}","status":"{}"}}"#, "n".repeat(9999), "s".repeat(9999));
        let profile: PeerProfile = serde_json::from_str(&long).unwrap();
        assert_eq!((profile.display_name.len(), profile.status.len()), (MAX_DISPLAY_NAME_CHARS, MAX_STATUS_CHARS));
    }
}
