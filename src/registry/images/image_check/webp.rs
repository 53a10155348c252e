//! WebP: checks every chunk, because the dimensions in a frame may differ from those in the header.

use super::rejection::{ImageRejection, check_dimensions};

/// `RIFF`, a length, and `WEBP`.
const HEADER_BYTES: usize = 12;
/// Number of bytes at the start of the file that the length in the header does not include.
const UNCOUNTED_BYTES: usize = 8;
/// The animation bit in the first byte of the VP8X chunk.
const ANIMATED: u8 = 0x02;

/// Rejects an image that is animated, cut off, has trailing bytes, or has a frame that is too
/// large. A decoder compares the dimensions of the frame with the header only after it has
/// decompressed the frame. So the frame is checked here.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let length = bytes.get(4..).and_then(|bytes| bytes.first_chunk()).ok_or_else(ImageRejection::cut_off)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (image, rest) =
        bytes.split_at_checked(length.saturating_add(UNCOUNTED_BYTES)).ok_or_else(ImageRejection::cut_off)?;
    // A file of odd length may end with one zero byte as padding.
    if !matches!((rest, length % 2), ([], _) | ([0], 1)) {
        return Err(ImageRejection::followed_by(rest));
    }
    let mut rest = image.get(HEADER_BYTES..).ok_or_else(ImageRejection::cut_off)?;
    while let Some((name, data, behind)) = first_chunk(rest) {
        rest = behind;
        match name {
            b"VP8X" if data.first().is_some_and(|flags| flags & ANIMATED != 0) => return Err(ImageRejection::Animated),
            b"ANIM" | b"ANMF" => return Err(ImageRejection::Animated),
            b"VP8 " => check_lossy(data)?,
            b"VP8L" => check_lossless(data)?,
            _ => {}
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(ImageRejection::cut_off()) }
}

/// The first chunk: its name, its data, and the bytes after it.
fn first_chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (name, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (data, rest) = bytes.split_at_checked(length)?;
    let padding = (length % 2).min(rest.len());
    Some((name, data, &rest[padding..]))
}

/// A lossy frame: three bytes of flags, three constant bytes, then width and height of 14 bits
/// each.
fn check_lossy(data: &[u8]) -> Result<(), ImageRejection> {
    let &[_, _, _, _, _, _, width_low, width_high, height_low, height_high, ..] = data else {
        return Err(ImageRejection::cut_off());
    };
    let dimension = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    check_dimensions(dimension(width_low, width_high), dimension(height_low, height_high))
}

/// A lossless frame: one constant byte, then width - 1 and height - 1 of 14 bits each.
fn check_lossless(data: &[u8]) -> Result<(), ImageRejection> {
    let numbers = data.get(1..).and_then(|data| data.first_chunk()).ok_or_else(ImageRejection::cut_off)?;
    let numbers = u32::from_le_bytes(*numbers);
    check_dimensions((numbers & 0x3fff) + 1, (numbers >> 14 & 0x3fff) + 1)
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::super::check_and_decode;
    use super::*;
    use crate::registry::testing::encoded_image;
    use rollcall_core::ImageKind;

    fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        [&name[..], &length.to_le_bytes(), data, &[0][..data.len() % 2]].concat()
    }

    fn webp(chunks: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + chunks.len()).unwrap();
        [b"RIFF", &length.to_le_bytes()[..], b"WEBP", chunks].concat()
    }

    /// A VP8X chunk with these flags, for an image of 8 by 8 pixels.
    fn extended(flags: u8) -> Vec<u8> {
        chunk(*b"VP8X", &[flags, 0, 0, 0, 7, 0, 0, 7, 0, 0])
    }

    #[test]
    fn an_animated_image_is_rejected_as_animated() {
        let still = &encoded_image(ImageFormat::WebP, 8, 8)[HEADER_BYTES..];
        assert_eq!(check_and_decode(&webp(&[&extended(0)[..], still].concat()), ImageKind::WebP), Ok(()));
        assert_eq!(check(&webp(&[&extended(ANIMATED)[..], still].concat())), Err(ImageRejection::Animated));
        assert_eq!(check(&webp(&[&extended(0)[..], &chunk(*b"ANMF", b"x")].concat())), Err(ImageRejection::Animated));
    }

    #[test]
    fn a_frame_larger_than_the_header_says_is_rejected() {
        let rejected = Err(ImageRejection::Dimensions { width: 16_383, height: 129 });
        let lossy = chunk(*b"VP8 ", &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 129, 0]);
        assert_eq!(check(&webp(&[&extended(0)[..], &lossy].concat())), rejected);
        let numbers: u32 = (128 << 14) + 16_382;
        let lossless = chunk(*b"VP8L", &[&[0x2f], &numbers.to_le_bytes()[..]].concat());
        assert_eq!(check(&webp(&[&extended(0)[..], &lossless].concat())), rejected);
    }

    #[test]
    fn a_webp_file_ends_at_the_length_in_its_header() {
        let image = encoded_image(ImageFormat::WebP, 8, 8).to_vec();
        assert_eq!(check(&image), Ok(()));
        assert_eq!(check(&[&image[..], b"\0"].concat()), Err(ImageRejection::followed_by(b"\0")));
        assert_eq!(check(&image[..image.len() - 1]), Err(ImageRejection::cut_off()));
        assert_eq!(check(&webp(b"VP8")), Err(ImageRejection::cut_off()));
    }
}
