//! WebP: reduces a file to the chunks of its picture.
//!
//! libwebp ignores unknown chunks, and flags that announce metadata which the file lacks. The
//! decoder of the `image` crate rejects some of these files. It gets a file without them.

use std::iter::successors;

use super::rejection::{ImageRejection, check_dimensions, check_padding};

/// `RIFF`, a length, and `WEBP`.
const HEADER_BYTES: usize = 12;
/// Number of bytes at the start of the file that the length in the header does not include.
const UNCOUNTED_BYTES: usize = 8;
/// Longest lossless data, in bytes. Twice the pixels of the largest image without compression.
const MAX_LOSSLESS_BYTES: usize = 2 * 4 * 128 * 128;
/// Flags in the first byte of the VP8X chunk.
const ANIMATED: u8 = 0x02;
const ALPHA: u8 = 0x10;

/// Checks the file, and returns a file with the picture alone. Rejects an image that is animated,
/// is cut off, has trailing bytes, or has a frame that is too large. A decoder compares the
/// dimensions of the frame with the header only after it has decompressed the frame. So the frame
/// is checked here.
pub(super) fn reduce(bytes: &[u8]) -> Result<Vec<u8>, ImageRejection> {
    let length = bytes.get(4..).and_then(|bytes| bytes.first_chunk()).ok_or_else(ImageRejection::cut_off)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (image, rest) =
        bytes.split_at_checked(length.saturating_add(UNCOUNTED_BYTES)).ok_or_else(ImageRejection::cut_off)?;
    check_padding(rest)?;
    let chunks = image.get(HEADER_BYTES..).and_then(Chunk::read_first);
    match chunks.ok_or_else(ImageRejection::cut_off)? {
        Chunk { name: b"VP8X", data, rest, .. } => reduce_extended(data, rest),
        first @ Chunk { name: b"VP8 " | b"VP8L", .. } => {
            check_frame(&first)?;
            Ok(file(&[first.whole]))
        }
        _ => Err(ImageRejection::Corrupt("its first chunk is no picture".to_owned())),
    }
}

/// Reduces a file of the extended format. An animation of one frame is a still picture.
fn reduce_extended(header: &[u8], chunks: &[u8]) -> Result<Vec<u8>, ImageRejection> {
    let invalid = |what: &str| ImageRejection::Corrupt(format!("its header has {what}"));
    let Ok(&[flags, _, _, _, ref canvas @ ..]) = <&[u8; 10]>::try_from(header) else {
        return Err(invalid("a length other than 10 bytes"));
    };
    let (width, height) = numbers(*canvas);
    check_dimensions(width + 1, height + 1)?;
    if flags & ANIMATED == 0 {
        return extended_file(flags, *canvas, chunks);
    }
    let mut frames = successors(Chunk::read_first(chunks), |chunk| Chunk::read_first(chunk.rest))
        .skip_while(|chunk| chunk.name != b"ANIM")
        .filter(|chunk| chunk.name == b"ANMF");
    let (Some(frame), None) = (frames.next(), frames.next()) else { return Err(ImageRejection::Animated) };
    // The offset and the dimensions of the frame, its duration and flags, then its chunks.
    let (offset, data) = frame.data.split_first_chunk::<6>().ok_or_else(ImageRejection::cut_off)?;
    let (size, data) = data.split_first_chunk::<6>().ok_or_else(ImageRejection::cut_off)?;
    let chunks = data.get(4..).ok_or_else(ImageRejection::cut_off)?;
    let ((left, top), (frame_width, frame_height)) = (numbers(*offset), numbers(*size));
    // Offsets count in steps of two pixels.
    if 2 * left + frame_width > width || 2 * top + frame_height > height {
        return Err(invalid("dimensions that are smaller than its frame"));
    }
    extended_file(flags, *size, chunks)
}

/// A file of the extended format with the first picture of these chunks. Chunks after the picture
/// are ignored, even if they are cut off.
fn extended_file(flags: u8, size: [u8; 6], chunks: &[u8]) -> Result<Vec<u8>, ImageRejection> {
    let mut alpha = None;
    for chunk in successors(Chunk::read_first(chunks), |chunk| Chunk::read_first(chunk.rest)) {
        match chunk.name {
            // Decoders ignore transparency without the flag.
            b"ALPH" if flags & ALPHA != 0 => {
                check_lossless_length(chunk.data)?;
                alpha = alpha.or(Some(chunk.whole));
            }
            b"VP8 " | b"VP8L" => {
                check_frame(&chunk)?;
                let alpha = alpha.filter(|_| chunk.name == b"VP8 ");
                let flags = if alpha.is_some() { ALPHA } else { 0 };
                let header = [b"VP8X\x0a\0\0\0", &[flags, 0, 0, 0][..], &size].concat();
                return Ok(file(&[&header, alpha.unwrap_or_default(), chunk.whole]));
            }
            _ => {}
        }
    }
    Err(ImageRejection::cut_off())
}

/// A file with these chunks.
fn file(chunks: &[&[u8]]) -> Vec<u8> {
    let mut chunks = chunks.concat();
    // The last chunk of the original may lack its padding.
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let length = u32::try_from(HEADER_BYTES - UNCOUNTED_BYTES + chunks.len()).expect("an upload is smaller");
    [b"RIFF", &length.to_le_bytes()[..], b"WEBP", &chunks].concat()
}

/// A chunk of the file.
struct Chunk<'a> {
    name: &'a [u8; 4],
    data: &'a [u8],
    /// The chunk with its name, length and padding.
    whole: &'a [u8],
    /// The bytes after the chunk.
    rest: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn read_first(file: &'a [u8]) -> Option<Self> {
        let (name, bytes) = file.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (data, rest) = bytes.split_at_checked(length)?;
        let rest = &rest[(length % 2).min(rest.len())..];
        Some(Self { name, data, whole: &file[..file.len() - rest.len()], rest })
    }
}

/// Two numbers of three bytes each.
fn numbers([a0, a1, a2, b0, b1, b2]: [u8; 6]) -> (u32, u32) {
    (u32::from_le_bytes([a0, a1, a2, 0]), u32::from_le_bytes([b0, b1, b2, 0]))
}

/// Checks the dimensions of a picture.
fn check_frame(chunk: &Chunk<'_>) -> Result<(), ImageRejection> {
    if chunk.name == b"VP8 " { check_lossy(chunk.data) } else { check_lossless(chunk.data) }
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

/// Bounds the memory of the decoder: tables of codes take hundreds of times their length in the
/// file.
fn check_lossless_length(data: &[u8]) -> Result<(), ImageRejection> {
    if data.len() > MAX_LOSSLESS_BYTES {
        return Err(ImageRejection::Corrupt(format!("its lossless data has more than {MAX_LOSSLESS_BYTES} bytes")));
    }
    Ok(())
}

/// A lossless frame: one constant byte, then width - 1 and height - 1 of 14 bits each.
fn check_lossless(data: &[u8]) -> Result<(), ImageRejection> {
    check_lossless_length(data)?;
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

    fn webp(chunks: &[&[u8]]) -> Vec<u8> {
        let chunks = chunks.concat();
        let length = u32::try_from(4 + chunks.len()).unwrap();
        [b"RIFF", &length.to_le_bytes()[..], b"WEBP", &chunks].concat()
    }

    /// A VP8X chunk with these flags, for an image of 8 by 8 pixels.
    fn extended(flags: u8) -> Vec<u8> {
        chunk(*b"VP8X", &[flags, 0, 0, 0, 7, 0, 0, 7, 0, 0])
    }

    /// The image chunk of a picture of 8 by 8 pixels.
    fn still() -> Vec<u8> {
        encoded_image(ImageFormat::WebP, 8, 8)[HEADER_BYTES..].to_vec()
    }

    /// A frame of an animation at this offset, with a picture of 8 by 8 pixels.
    fn frame(offset: u8) -> Vec<u8> {
        let head = [offset, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 0, 0, 0, 0];
        chunk(*b"ANMF", &[&head, still().as_slice()].concat())
    }

    fn decode(chunks: &[&[u8]]) -> Result<(), ImageRejection> {
        check_and_decode(&webp(chunks), ImageKind::WebP)
    }

    #[test]
    fn flags_without_their_chunk_and_chunks_without_their_flag_are_ignored() {
        let names = [*b"EXIF", *b"XMP ", *b"ICCP", *b"ALPH", *b"ANIM", *b"ABCD", [0; 4]];
        for flags in (0..=u8::MAX).filter(|flags| flags & ANIMATED == 0) {
            assert_eq!(decode(&[&extended(flags), &still()]), Ok(()), "{flags:x}");
            for other in names.map(|name| chunk(name, b"odd")) {
                for chunks in [[&extended(flags)[..], &other, &still()], [&extended(flags), &still(), &other]] {
                    assert_eq!(decode(&chunks), Ok(()), "{flags:x} {other:?}");
                }
            }
        }
        // Nothing after the picture matters.
        let cut_off = b"EXIF\xff\xff\xff\0abc";
        assert_eq!(decode(&[&extended(0), &still(), cut_off]), Ok(()));
        assert_eq!(decode(&[&still(), cut_off]), Ok(()));
        assert_eq!(decode(&[&extended(0), &still(), b"\0"]), Ok(()));
    }

    #[test]
    fn a_file_without_a_picture_or_with_a_damaged_header_is_rejected() {
        let damaged = chunk(*b"VP8L", b"\x2f\x07\xc0\x01\0rubbish");
        for chunks in [
            vec![],
            vec![extended(0)],
            vec![extended(0), chunk(*b"EXIF", b"x")],
            vec![extended(0), damaged.clone()],
            vec![damaged],
            vec![chunk(*b"EXIF", b"x"), still()],
            vec![chunk(*b"VP8X", &[0; 9]), still()],
            vec![chunk(*b"VP8X", &[0; 12]), still()],
            // A canvas of one pixel.
            vec![chunk(*b"VP8X", &[0; 10]), still()],
        ] {
            let parts: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            assert!(matches!(decode(&parts), Err(ImageRejection::Corrupt(_))), "{chunks:?}");
        }
    }

    #[test]
    fn an_animation_of_one_frame_is_a_still_picture() {
        let control = chunk(*b"ANIM", &[0; 6]);
        let animated = |frames: &[u8]| decode(&[&extended(ANIMATED), &control, frames]);
        assert_eq!(animated(&frame(0)), Ok(()));
        assert_eq!(animated(&[frame(0), frame(0)].concat()), Err(ImageRejection::Animated));
        assert_eq!(animated(&still()), Err(ImageRejection::Animated));
        assert_eq!(decode(&[&extended(ANIMATED), &frame(0)]), Err(ImageRejection::Animated));
        for damaged in [frame(1), chunk(*b"ANMF", &frame(0)[8..20]), chunk(*b"ANMF", &frame(0)[8..24])] {
            assert!(matches!(animated(&damaged), Err(ImageRejection::Corrupt(_))), "{damaged:?}");
        }
        // Without the flag, frames are ignored like unknown chunks.
        assert_eq!(decode(&[&extended(0), &still(), &frame(0), &frame(0)]), Ok(()));
    }

    #[test]
    fn lossless_data_has_at_most_twice_the_bytes_of_the_largest_pixels() {
        let image = encoded_image(ImageFormat::WebP, 128, 128);
        let data = &image[HEADER_BYTES + 8..];
        let padded = |bytes: usize| webp(&[&chunk(*b"VP8L", &[data, &vec![0; bytes - data.len()]].concat())]);
        assert!(reduce(&padded(MAX_LOSSLESS_BYTES)).is_ok());
        let rejected = reduce(&padded(MAX_LOSSLESS_BYTES + 2)).unwrap_err();
        assert!(rejected.to_string().contains("131072 bytes"), "{rejected}");
    }

    #[test]
    fn a_frame_larger_than_the_header_says_is_rejected() {
        let rejected = Err(ImageRejection::Dimensions { width: 16_383, height: 129 });
        let lossy = chunk(*b"VP8 ", &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 129, 0]);
        let numbers: u32 = (128 << 14) + 16_382;
        let lossless = chunk(*b"VP8L", &[&[0x2f], &numbers.to_le_bytes()[..]].concat());
        for large in [lossy, lossless] {
            assert_eq!(decode(&[&large]), rejected);
            assert_eq!(decode(&[&extended(0), &large]), rejected);
            let frame = chunk(*b"ANMF", &[&frame(0)[8..24], &large].concat());
            assert_eq!(decode(&[&extended(ANIMATED), &chunk(*b"ANIM", &[0; 6]), &frame]), rejected);
        }
        let canvas = chunk(*b"VP8X", &[0, 0, 0, 0, 128, 0, 0, 0, 1, 0]);
        let rejected = Err(ImageRejection::Dimensions { width: 129, height: 257 });
        assert_eq!(decode(&[&canvas, &still()]), rejected);
    }

    #[test]
    fn a_file_ends_at_the_length_in_its_header() {
        let image = encoded_image(ImageFormat::WebP, 8, 8).to_vec();
        assert!(reduce(&image).is_ok());
        assert_eq!(reduce(&image[..image.len() - 1]), Err(ImageRejection::cut_off()));
        assert_eq!(reduce(&webp(&[b"VP8"])), Err(ImageRejection::cut_off()));
    }
}
