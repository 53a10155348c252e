//! JPEG: finds the end of the image.
//!
//! A JPEG cannot be a decompression bomb: its header determines the size of its pixels, and its
//! metadata is not compressed.

use super::rejection::ImageRejection;

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
/// Markers without a segment: TEM (01) and the restart markers between the pixels (D0 to D7).
const MARKERS_WITHOUT_SEGMENT: [u8; 9] = [0x01, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7];

/// Rejects an image that is cut off or has trailing bytes. Trailing zeros are allowed, because some
/// programs add padding. Cameras append videos or second images. Such files exceed the size limit
/// anyway, and scaling an image down removes that data.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let mut rest = bytes;
    loop {
        let (marker, content) = next_marker(rest).ok_or_else(ImageRejection::cut_off)?;
        rest = match marker {
            END_OF_IMAGE if content.iter().all(|byte| *byte == 0) => return Ok(()),
            END_OF_IMAGE => return Err(ImageRejection::followed_by(content)),
            START_OF_IMAGE => content,
            marker if MARKERS_WITHOUT_SEGMENT.contains(&marker) => content,
            // A segment starts with its length, which includes the two bytes of the length.
            // Thumbnails inside it are not checked.
            _ => {
                let length = content.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
                length.and_then(|length| content.get(length.max(2)..)).ok_or_else(ImageRejection::cut_off)?
            }
        };
    }
}

/// The next marker and the bytes after it. Skips pixels: FF 00 stands for FF in the pixels, and FF
/// FF is padding.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;
    use crate::registry::testing::encoded_image;

    #[test]
    fn a_jpeg_ends_at_its_marker_and_only_zeros_may_follow() {
        let image = encoded_image(ImageFormat::Jpeg, 100, 100).to_vec();
        assert_eq!(check(&image), Ok(()));
        assert_eq!(check(&[&image[..], &[0; 10]].concat()), Ok(()));
        assert_eq!(check(&[&image[..], b"\0x"].concat()), Err(ImageRejection::followed_by(b"\0x")));
        assert_eq!(check(&image[..image.len() - 2]), Err(ImageRejection::cut_off()));
    }

    #[test]
    fn the_end_marker_of_a_thumbnail_is_not_the_end_of_the_image() {
        let image = encoded_image(ImageFormat::Jpeg, 10, 10);
        let thumbnail = b"\xff\xe1\0\x08Exif\xff\xd9";
        let with = |segment: &[u8]| [&image[..2], segment, &image[2..]].concat();
        assert_eq!(check(&with(thumbnail)), Ok(()));
        assert_eq!(check(&with(b"\xff\xe1\xff")), Err(ImageRejection::cut_off()));
    }
}
