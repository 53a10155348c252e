//! Where a JPEG ends. Its pixels are no bomb: they take what its head says, and its metadata is not compressed.

use super::rejection::ImageRejection;

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
/// Restart markers stand among the pixels and have no content, nor has 01.
const WITHOUT_CONTENT: [u8; 9] = [0x01, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7];

/// Refuses a picture that is cut off, or ends before its bytes do. Zeros may follow, as some programs pad; whatever else
/// cameras append (films, second pictures) is larger than a picture here may be, and does not outlive its scaling.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let mut rest = bytes;
    loop {
        let (marker, content) = next_marker(rest).ok_or_else(ImageRejection::cut_off)?;
        rest = match marker {
            END_OF_IMAGE if content.iter().all(|byte| *byte == 0) => return Ok(()),
            END_OF_IMAGE => return Err(ImageRejection::followed_by(content)),
            START_OF_IMAGE => content,
            marker if WITHOUT_CONTENT.contains(&marker) => content,
            // A segment tells its length, those two bytes included. What a thumbnail in it says is not looked at.
            _ => {
                let length = content.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
                length.and_then(|length| content.get(length.max(2)..)).ok_or_else(ImageRejection::cut_off)?
            }
        };
    }
}

/// The next marker and what follows it; pixels on the way are passed over. FF 00 is a pixel's FF, FF FF is filling.
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
        let whole = encoded_image(ImageFormat::Jpeg, 100, 100).to_vec();
        assert_eq!(check(&whole), Ok(()));
        assert_eq!(check(&[&whole[..], &[0; 10]].concat()), Ok(()));
        assert_eq!(check(&[&whole[..], b"\0x"].concat()), Err(ImageRejection::followed_by(b"\0x")));
        assert_eq!(check(&whole[..whole.len() - 2]), Err(ImageRejection::cut_off()));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_picture() {
        let whole = encoded_image(ImageFormat::Jpeg, 10, 10);
        let thumbnail = b"\xff\xe1\0\x08Exif\xff\xd9";
        let with = |segment: &[u8]| [&whole[..2], segment, &whole[2..]].concat();
        assert_eq!(check(&with(thumbnail)), Ok(()));
        assert_eq!(check(&with(b"\xff\xe1\xff")), Err(ImageRejection::cut_off()));
    }
}
