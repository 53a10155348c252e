//! What a peer says of itself, and its picture.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use rollcall_core::ImageKind;

/// The most bytes of an avatar, as a file.
pub const MAX_AVATAR_BYTES: usize = 20_480;
/// The most characters of a display name.
const MAX_DISPLAY_NAME_CHARS: usize = 64;
/// The most characters of a status.
const MAX_STATUS_CHARS: usize = 280;

/// What a peer says of itself.
///
/// Invariant: name and status are cut to their bounds, whoever wrote them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "UncheckedProfile")]
pub struct PeerProfile {
    /// What people see instead of the peer's own name.
    pub display_name: String,
    /// A few words.
    pub status: String,
    /// A picture.
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
    /// A profile, cut to the bounds.
    #[must_use]
    pub fn new(display_name: &str, status: &str, avatar: Option<Avatar>) -> Self {
        let cut = |text: &str, most| text.chars().take(most).collect();
        Self { display_name: cut(display_name, MAX_DISPLAY_NAME_CHARS), status: cut(status, MAX_STATUS_CHARS), avatar }
    }
}

/// A picture of a peer.
///
/// Invariant: at most [`MAX_AVATAR_BYTES`], and by its first bytes of the kind that it says.
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

/// Why a picture is none that a peer may have.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum InvalidAvatar {
    /// Too many bytes.
    #[error("an avatar of {0} bytes is too large: at most {MAX_AVATAR_BYTES} (20 KB)")]
    TooLarge(usize),
    /// By its first bytes it is something else.
    #[error("an avatar is a PNG, JPEG or WebP picture; this is something else")]
    NotAPicture,
    /// The text is no base64.
    #[error("the avatar's data is no base64")]
    NotBase64,
}

impl Avatar {
    /// Checks the bytes of a file.
    ///
    /// # Errors
    /// [`InvalidAvatar`] if it is too large or no picture.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidAvatar> {
        if bytes.len() > MAX_AVATAR_BYTES {
            return Err(InvalidAvatar::TooLarge(bytes.len()));
        }
        let kind = kind_of(bytes).ok_or(InvalidAvatar::NotAPicture)?;
        Ok(Self { kind, data: STANDARD.encode(bytes), bytes: bytes.len() })
    }

    /// Checks what came as base64. What kind of picture it is, its bytes decide.
    ///
    /// # Errors
    /// [`InvalidAvatar`], also if it is no base64.
    pub fn from_base64(text: &str) -> Result<Self, InvalidAvatar> {
        // Four characters for three bytes: what is far too long is not decoded at all.
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

    /// The bytes in base64.
    #[must_use]
    pub fn base64(&self) -> &str {
        &self.data
    }

    /// How many bytes the file has.
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
    fn a_picture_of_20_kb_is_an_avatar_and_one_byte_more_is_not() {
        let avatar = Avatar::new(&png(MAX_AVATAR_BYTES)).unwrap();
        assert_eq!((avatar.media_type(), avatar.size()), ("image/png", MAX_AVATAR_BYTES));
        assert_eq!(Avatar::from_base64(avatar.base64()), Ok(avatar));
        let too_large = png(MAX_AVATAR_BYTES + 1);
        assert_eq!(Avatar::new(&too_large), Err(InvalidAvatar::TooLarge(20_481)));
        assert!(matches!(Avatar::from_base64(&STANDARD.encode(too_large)), Err(InvalidAvatar::TooLarge(_))));
        assert!(matches!(Avatar::from_base64(&"A".repeat(1_000_000)), Err(InvalidAvatar::TooLarge(_))));
    }

    #[test]
    fn the_bytes_decide_what_it_is() {
        assert_eq!(Avatar::new(b"\xff\xd8\xff\xe0").unwrap().media_type(), "image/jpeg");
        assert_eq!(Avatar::new(b"RIFF\0\0\0\0WEBPVP8 ").unwrap().media_type(), "image/webp");
        assert_eq!(Avatar::new(b"GIF89a"), Err(InvalidAvatar::NotAPicture));
        assert_eq!(Avatar::from_base64("!"), Err(InvalidAvatar::NotBase64));
    }

    #[test]
    fn a_profile_of_anybody_is_cut_to_its_bounds() {
        let long = format!(r#"{{"display_name":"{}","status":"{}"}}"#, "n".repeat(9999), "s".repeat(9999));
        let profile: PeerProfile = serde_json::from_str(&long).unwrap();
        assert_eq!((profile.display_name.len(), profile.status.len()), (MAX_DISPLAY_NAME_CHARS, MAX_STATUS_CHARS));
    }
}
