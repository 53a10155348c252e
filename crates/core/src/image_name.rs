//! Image name: the last part of the path of an image in the bucket.

use std::num::NonZeroU64;

use compact_str::{CompactString, format_compact};
use thiserror::Error;

use super::WallMs;

/// Image format that the registry stores.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ImageKind {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
}

impl ImageKind {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// File name extension without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// Media type for a `Content-Type` header.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }
}

/// Name of a stored image: `{unix_seconds}-{8 hex digits}.{png|jpg|webp}`. Names sort by the second
/// of the upload, then by the digits (as long as the seconds have ten digits, until 2286).
///
/// Invariant: exactly this form, with lower-case digits and no leading zero. So a name is always
/// one safe path segment.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ImageName(CompactString);

/// The text does not have the form of an [`ImageName`].
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("not the name of a stored image")]
pub struct InvalidImageName;

impl ImageName {
    /// The name for an image that is stored at `now`, a time after 1970. `unique` distinguishes
    /// images of one second.
    #[must_use]
    pub fn new(now: WallMs, unique: u32, kind: ImageKind) -> Self {
        Self(format_compact!("{}-{unique:08x}.{}", now.unix_seconds(), kind.extension()))
    }

    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidImageName`] if the text does not have the form of an [`ImageName`].
    pub fn parse(text: &str) -> Result<Self, InvalidImageName> {
        let check_form = || {
            let (stem, extension) = text.rsplit_once('.')?;
            let (seconds, unique) = stem.split_once('-')?;
            ImageKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
            // No sign and no leading zero, so that one image has one name.
            let is_plain_number =
                seconds.len() <= 12 && seconds.bytes().all(|b| b.is_ascii_digit()) && !seconds.starts_with('0');
            seconds.parse::<NonZeroU64>().ok()?;
            let is_hex = unique.len() == 8 && unique.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (is_plain_number && is_hex).then_some(())
        };
        check_form().map(|()| Self(CompactString::from(text))).ok_or(InvalidImageName)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The format, from the extension.
    #[must_use]
    pub fn kind(&self) -> ImageKind {
        // Only three extensions are possible, and only `webp` ends with `p`.
        match self.0.as_bytes().last() {
            Some(b'p') => ImageKind::WebP,
            _ if self.0.ends_with(ImageKind::Png.extension()) => ImageKind::Png,
            _ => ImageKind::Jpeg,
        }
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_has_the_documented_form_and_parses() {
        let name = ImageName::new(WallMs::new(1_733_511_234_567), 0xa1b2_c3d4, ImageKind::Jpeg);
        assert_eq!(name.as_str(), "1733511234-a1b2c3d4.jpg");
        assert_eq!(ImageName::parse(name.as_str()), Ok(name.clone()));
        for kind in ImageKind::ALL {
            assert_eq!(ImageName::new(WallMs::new(1_733_511_234_567), 1, kind).kind(), kind);
        }
    }

    #[test]
    fn a_text_of_any_other_form_is_not_an_image_name() {
        for bad in [
            "",
            "x.png",
            "../profile.json",
            "1733511234-a1b2c3d4.gif",
            "1733511234-A1B2C3D4.png",
            "01-a1b2c3d4.png",
            "+1-a1b2c3d4.png",
            "1733511234-a1b2c3d.png",
            "1733511234-a1b2c3d4.png/",
            "1733511234-a1b2c3d4",
        ] {
            assert_eq!(ImageName::parse(bad), Err(InvalidImageName), "{bad:?}");
        }
    }
}
