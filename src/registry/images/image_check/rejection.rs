//! Why a picture is not stored, and the bound on its pixels.

use thiserror::Error;

/// The most pixels that a picture may have in a row and in a column.
const MAX_SIDE: u32 = 128;

/// Why a picture is not stored.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum ImageRejection {
    /// Its first bytes are those of no format that is stored.
    #[error("Not a PNG, JPEG or WebP image by its content")]
    Type,
    /// Too many pixels.
    #[error("Image too large: {width}x{height} (max {MAX_SIDE}x{MAX_SIDE})")]
    Dimensions {
        /// Pixels in a row.
        width: u32,
        /// Pixels in a column.
        height: u32,
    },
    /// It has several frames. Their number and sizes are bounded by nothing, so no animation is stored at all.
    #[error("Animated images are not supported; send a single picture")]
    Animated,
    /// It does not decode.
    #[error("The image is damaged: {0}")]
    Corrupt(String),
}

impl ImageRejection {
    /// Its bytes end before the picture does.
    pub(super) fn cut_off() -> Self {
        Self::Corrupt("it is cut off".to_owned())
    }

    /// Bytes behind the picture's end are no part of it, and a place to hide a script in.
    pub(super) fn followed_by(bytes: &[u8]) -> Self {
        Self::Corrupt(format!("{} bytes follow its end", bytes.len()))
    }
}

/// Refuses more pixels than [`MAX_SIDE`] in a row or a column.
pub(super) fn check_dimensions(width: u32, height: u32) -> Result<(), ImageRejection> {
    if width > MAX_SIDE || height > MAX_SIDE { Err(ImageRejection::Dimensions { width, height }) } else { Ok(()) }
}
