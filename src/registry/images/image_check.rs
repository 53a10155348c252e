//! Image check before storing: the content must be a small and complete PNG, JPEG or WebP, and a
//! still picture.
//!
//! Rule: an image is accepted if libpng, libjpeg or libwebp decodes it. Those libraries ignore
//! damaged metadata and unknown chunks. The decoders of the `image` crate do not always, so they
//! get a reduced file with the pixels alone. They decode it within limits, on a blocking thread. A
//! JPEG is checked by its structure instead. Other programs may decompress metadata, so its
//! decompressed size is bounded as well. So no stored image is a decompression bomb.

mod jpeg;
mod png;
pub(crate) mod rejection;
mod webp;

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use tokio::task::spawn_blocking;

use crate::fair_pool::{Claim, Claimant, FairPool};
use crate::registry::error::{Overloaded, UploadError};
use rejection::{ImageRejection, check_dimensions};
use rollcall_core::ImageKind;

/// Memory limit of a decoder, in bytes. An image of 128 by 128 pixels takes at most 256 KiB, and
/// decoders need some tables.
const MAX_DECODER_BYTES: u64 = 8 * 1024 * 1024;

/// Maximum number of images checked at the same time.
const MAX_CONCURRENT: usize = 2;

/// Maximum number of images that wait to be checked. Each belongs to a running upload.
const MAX_WAITING: usize = 64;

/// Longest wait of an image to be checked, for a slow machine.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Checks images on blocking threads, at most [`MAX_CONCURRENT`] at the same time. Clients wait for
/// it in turn.
pub(crate) struct ImageChecker {
    workers: FairPool,
}

impl Default for ImageChecker {
    fn default() -> Self {
        Self { workers: FairPool::new(MAX_CONCURRENT, MAX_WAITING) }
    }
}

impl ImageChecker {
    /// Checks an image of a client and returns its format.
    pub(crate) async fn check(&self, bytes: Bytes, client: Claimant<'_>) -> Result<ImageKind, UploadError> {
        // Content of another type is rejected without waiting for a permit.
        let kind = detect_kind(&bytes)?;
        let permit = self.workers.acquire(Claim::fixed(client), MAX_WAIT).await.map_err(|_| Overloaded)?;
        // The work continues if the request is dropped, so it owns the permit.
        let decoded = spawn_blocking(move || {
            let decoded = check_and_decode(&bytes, kind);
            drop(permit);
            decoded
        });
        match decoded.await {
            Ok(decoded) => Ok(decoded.map(|()| kind)?),
            // The decoder panicked on this input.
            Err(_) => Err(ImageRejection::Corrupt("it cannot be decoded".to_owned()).into()),
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
    match kind {
        ImageKind::Png => decode(&png::reduce(bytes)?, ImageFormat::Png),
        ImageKind::Jpeg => jpeg::check(bytes),
        ImageKind::WebP => decode(&webp::reduce(bytes)?, ImageFormat::WebP),
    }
}

/// Decodes the pixels of a reduced file.
fn decode(reduced: &[u8], format: ImageFormat) -> Result<(), ImageRejection> {
    let corrupt = |error: image::ImageError| ImageRejection::Corrupt(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(reduced), format);
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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

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
    fn only_padding_may_follow_the_end_of_an_image() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let image = encoded_image(format, 8, 8);
            for padding in [&b"\n"[..], b"\r\n", b"\0", &[0; 100], b" \0\t\n"] {
                assert!(check(&[&image[..], padding].concat()).is_ok(), "{format:?} {padding:?}");
            }
            for (rest, why) in [(&b"<script>"[..], "8 bytes follow its end"), (b"\0\n.", "3 bytes follow its end")] {
                let rejected = Err(ImageRejection::Corrupt(why.to_owned()));
                assert_eq!(check(&[&image[..], rest].concat()), rejected, "{format:?}");
            }
        }
    }

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/fixtures/pictures/", $name)).as_slice()
        };
    }

    /// Pictures that libpng, libjpeg or libwebp decodes.
    const DECODED: [&[u8]; 14] = [
        fixture!("adobe-segment-cut-off.jpg"),
        fixture!("all-flags-without-chunks.webp"),
        fixture!("animation-one-frame.webp"),
        fixture!("apng-one-frame-besides-the-picture.png"),
        fixture!("apng-one-frame.png"),
        fixture!("arithmetic.jpg"),
        fixture!("exif-flag-without-chunk.webp"),
        fixture!("line-end-after-the-end.png"),
        fixture!("profile-empty.png"),
        fixture!("profile-not-deflated.png"),
        fixture!("text-cut-off.png"),
        fixture!("three-to-one-sampling.jpg"),
        fixture!("unknown-critical-chunk.png"),
        fixture!("xmp-flag-without-chunk.webp"),
    ];

    #[test]
    fn a_still_picture_is_accepted_whatever_its_metadata() {
        for (index, bytes) in DECODED.iter().enumerate() {
            assert!(check(bytes).is_ok(), "picture {index}: {:?}", check(bytes));
        }
    }

    #[test]
    fn animations_and_malformed_palettes_are_rejected() {
        for animation in [fixture!("apng-two-frames.png"), fixture!("animation-two-frames.webp")] {
            assert_eq!(check(animation), Err(ImageRejection::Animated));
        }
        let corrupt = |why: &str| Err(ImageRejection::Corrupt(why.to_owned()));
        assert_eq!(check(fixture!("palette-47-bytes.png")), corrupt("its palette has 47 bytes"));
        assert!(matches!(check(fixture!("palette-missing.png")), Err(ImageRejection::Corrupt(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

        /// A panic of a decoder would fail this test.
        #[test]
        fn no_damage_to_a_picture_makes_the_check_panic(
            picture in any::<Index>(),
            edits in vec((any::<Index>(), vec(any::<u8>(), 0..4), 0..4_usize), 1..6),
        ) {
            let mut bytes = picture.get(&DECODED).to_vec();
            for (at, new, removed) in edits {
                let start = at.index(bytes.len() + 1);
                let end = bytes.len().min(start + removed);
                bytes.splice(start..end, new);
            }
            let _ = check(&bytes);
        }

        #[test]
        fn no_bytes_make_the_check_panic(rest in vec(any::<u8>(), 0..200)) {
            for start in [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0"] {
                let _ = check(&[start, &rest].concat());
            }
        }
    }
}
