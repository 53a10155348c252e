//! What a WebP holds beside what its head says.

use super::rejection::{ImageRejection, check_dimensions};

/// `RIFF`, the length of what follows, and `WEBP`.
const HEADER_BYTES: usize = 12;
/// The length in the head counts from here.
const LENGTH_OFFSET_BYTES: usize = 8;
/// The bit that says "animated" in the first byte of the extended head.
const ANIMATED: u8 = 0x02;

/// Refuses a picture that moves, whose frame is larger than allowed whatever the head says (a decoder unpacks a frame
/// before it compares the two), that is cut off, or that ends before its bytes do.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let length = bytes.get(4..).and_then(|bytes| bytes.first_chunk()).ok_or_else(ImageRejection::cut_off)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (image, rest) =
        bytes.split_at_checked(length.saturating_add(LENGTH_OFFSET_BYTES)).ok_or_else(ImageRejection::cut_off)?;
    // A picture of odd length is filled up with a zero.
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

/// The first part of the file, its name first, and what follows it.
fn first_chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (name, bytes) = bytes.split_first_chunk()?;
    let (length, bytes) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (data, rest) = bytes.split_at_checked(length)?;
    let padding = (length % 2).min(rest.len());
    Some((name, data, &rest[padding..]))
}

/// A frame begins with three bytes of flags and three that are always the same; then two numbers of 14 bits.
fn check_lossy(data: &[u8]) -> Result<(), ImageRejection> {
    let &[_, _, _, _, _, _, width_low, width_high, height_low, height_high, ..] = data else {
        return Err(ImageRejection::cut_off());
    };
    let number = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    check_dimensions(number(width_low, width_high), number(height_low, height_high))
}

/// A byte that is always the same, then two numbers of 14 bits, each less by one.
fn check_lossless(data: &[u8]) -> Result<(), ImageRejection> {
    let numbers = data.get(1..).and_then(|data| data.first_chunk()).ok_or_else(ImageRejection::cut_off)?;
    let numbers = u32::from_le_bytes(*numbers);
    check_dimensions((numbers & 0x3fff) + 1, (numbers >> 14 & 0x3fff) + 1)
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::super::decode;
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

    /// The extended head of a picture of 8 by 8.
    fn extended(flags: u8) -> Vec<u8> {
        chunk(*b"VP8X", &[flags, 0, 0, 0, 7, 0, 0, 7, 0, 0])
    }

    #[test]
    fn a_picture_that_moves_is_refused_as_such() {
        let still = &encoded_image(ImageFormat::WebP, 8, 8)[HEADER_BYTES..];
        assert_eq!(decode(&webp(&[&extended(0)[..], still].concat()), ImageKind::WebP), Ok(()));
        assert_eq!(check(&webp(&[&extended(ANIMATED)[..], still].concat())), Err(ImageRejection::Animated));
        assert_eq!(check(&webp(&[&extended(0)[..], &chunk(*b"ANMF", b"x")].concat())), Err(ImageRejection::Animated));
    }

    #[test]
    fn a_frame_is_refused_that_is_larger_than_its_head_says() {
        let rejected = Err(ImageRejection::Dimensions { width: 16_383, height: 129 });
        let lossy = chunk(*b"VP8 ", &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 129, 0]);
        assert_eq!(check(&webp(&[&extended(0)[..], &lossy].concat())), rejected);
        let numbers: u32 = (128 << 14) + 16_382;
        let lossless = chunk(*b"VP8L", &[&[0x2f], &numbers.to_le_bytes()[..]].concat());
        assert_eq!(check(&webp(&[&extended(0)[..], &lossless].concat())), rejected);
    }

    #[test]
    fn a_webp_ends_where_its_head_says() {
        let whole = encoded_image(ImageFormat::WebP, 8, 8).to_vec();
        assert_eq!(check(&whole), Ok(()));
        assert_eq!(check(&[&whole[..], b"\0"].concat()), Err(ImageRejection::followed_by(b"\0")));
        assert_eq!(check(&whole[..whole.len() - 1]), Err(ImageRejection::cut_off()));
        assert_eq!(check(&webp(b"VP8")), Err(ImageRejection::cut_off()));
    }
}
