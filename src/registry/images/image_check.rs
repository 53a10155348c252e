//! Image check before storing: the content must be a small and complete PNG, JPEG or WebP.
//!
//! The image is decoded within limits, on a blocking thread. So no stored image is a decompression
//! bomb. A decoder stops when it has the pixels, and ignores other chunks. Other programs may
//! decompress those chunks, so all chunks are checked before decoding.

mod jpeg;
mod png;
pub(crate) mod rejection;
mod webp;

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use rejection::{ImageRejection, check_dimensions};
use rollcall_core::ImageKind;

/// Memory limit of a decoder, in bytes. An image of 128 by 128 pixels takes at most 256 KiB, and
/// decoders need some tables.
const MAX_DECODER_BYTES: u64 = 8 * 1024 * 1024;

/// Maximum number of images checked at the same time.
const MAX_CONCURRENT: usize = 2;

/// Checks images on blocking threads, at most [`MAX_CONCURRENT`] at the same time.
pub(crate) struct ImageChecker {
    permits: Arc<Semaphore>,
}

impl Default for ImageChecker {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl ImageChecker {
    /// Checks an image and returns its format.
    pub(crate) async fn check(&self, bytes: Bytes) -> Result<ImageKind, ImageRejection> {
        // Content of another type is rejected without waiting for a permit.
        let kind = detect_kind(&bytes)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // The work continues if the request is dropped, so it owns the permit.
        let decoded = spawn_blocking(move || {
            let decoded = check_and_decode(&bytes, kind);
            drop(permit);
            decoded
        });
        match decoded.await {
            Ok(decoded) => decoded.map(|()| kind),
            // The decoder panicked on this input.
            Err(_) => Err(ImageRejection::Corrupt("it cannot be decoded".to_owned())),
        }
    }
}

fn detect_kind(bytes: &[u8]) -> Result<ImageKind, ImageRejection> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => Ok(ImageKind::Png),
        Ok(ImageFormat::Jpeg) => Ok(ImageKind::Jpeg),
        Ok(ImageFormat::WebP) => Ok(ImageKind::WebP),
        Ok(_) | Err(_) => Err(ImageRejection::Type),
    }
}

/// Checks the structure of the file and the dimensions of the image, and decodes the pixels.
fn check_and_decode(bytes: &[u8], kind: ImageKind) -> Result<(), ImageRejection> {
    let format = match kind {
        ImageKind::Png => png::check(bytes).map(|()| ImageFormat::Png)?,
        ImageKind::Jpeg => jpeg::check(bytes).map(|()| ImageFormat::Jpeg)?,
        ImageKind::WebP => webp::check(bytes).map(|()| ImageFormat::WebP)?,
    };
    let corrupt = |error: image::ImageError| ImageRejection::Corrupt(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    // Reads the header only. The pixels are decoded after the size check.
    let decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    check_dimensions(width, height)?;
    DynamicImage::from_decoder(decoder).map(drop).map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::encoded_image;

    fn check(bytes: &[u8]) -> Result<ImageKind, ImageRejection> {
        let kind = detect_kind(bytes)?;
        check_and_decode(bytes, kind).map(|()| kind)
    }

    #[test]
    fn the_three_formats_are_recognized_by_content() {
        for (format, kind) in [
            (ImageFormat::Png, ImageKind::Png),
            (ImageFormat::Jpeg, ImageKind::Jpeg),
            (ImageFormat::WebP, ImageKind::WebP),
        ] {
            assert_eq!(check(&encoded_image(format, 128, 128)), Ok(kind));
        }
        for other in [&b"GIF89a"[..], b"BM", b"hello", b"", b"\x89PN", b"<svg/>"] {
            assert_eq!(check(other), Err(ImageRejection::Type), "{other:?}");
        }
    }

    #[test]
    fn an_image_has_at_most_128_by_128_pixels() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            for (width, height) in [(129, 128), (128, 129), (256, 256)] {
                let rejected = Err(ImageRejection::Dimensions { width, height });
                assert_eq!(check(&encoded_image(format, width, height)), rejected, "{format:?}");
            }
            assert!(check(&encoded_image(format, 1, 128)).is_ok());
        }
        let rejected = ImageRejection::Dimensions { width: 256, height: 256 };
        assert_eq!(rejected.to_string(), "Image too large: 256x256 (max 128x128)");
    }

    #[test]
    fn an_image_that_is_cut_off_is_rejected() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let image = encoded_image(format, 100, 100);
            for length in [20, image.len() / 2, image.len() - 1] {
                let cut = check(&image[..length]);
                assert!(matches!(cut, Err(ImageRejection::Corrupt(_))), "{format:?} cut at {length}: {cut:?}");
            }
        }
    }

    #[test]
    fn an_image_with_trailing_bytes_is_rejected() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let followed = [&encoded_image(format, 8, 8)[..], b"<script>"].concat();
            assert_eq!(
                check(&followed),
                Err(ImageRejection::Corrupt("8 bytes follow its end".to_owned())),
                "{format:?}"
            );
        }
    }
}
