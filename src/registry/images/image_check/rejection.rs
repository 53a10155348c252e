//! Reasons to reject an image, and the limit on its width and height.

use thiserror::Error;

/// Maximum width and height, in pixels.
const MAX_SIDE: u32 = 128;

/// Why an image was rejected.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum ImageRejection {
    /// The content is not PNG, JPEG or WebP.
    #[error("Not a PNG, JPEG or WebP image by its content")]
    Type,
    /// Too many pixels.
    #[error("Image too large: {width}x{height} (max {MAX_SIDE}x{MAX_SIDE})")]
    Dimensions {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// An animation. Its frames have no bound in number and size, so animations are rejected.
    #[error("Animated images are not supported; send a single picture")]
    Animated,
    /// The image cannot be decoded.
    #[error("The image is damaged: {0}")]
    Corrupt(String),
}

impl ImageRejection {
    /// The file ends before the image does.
    pub(super) fn cut_off() -> Self {
        Self::Corrupt("it is cut off".to_owned())
    }
}

/// Rejects bytes after the end of the image. They do not belong to it and could hide a script.
/// Padding is allowed: some programs append zeros, and some append a line end.
pub(super) fn check_padding(rest: &[u8]) -> Result<(), ImageRejection> {
    if rest.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
        return Ok(());
    }
    Err(ImageRejection::Corrupt(format!("{} bytes follow its end", rest.len())))
}

/// Rejects an image with more than [`MAX_SIDE`] pixels in width or height.
pub(super) fn check_dimensions(width: u32, height: u32) -> Result<(), ImageRejection> {
    if width > MAX_SIDE || height > MAX_SIDE { Err(ImageRejection::Dimensions { width, height }) } else { Ok(()) }
}
