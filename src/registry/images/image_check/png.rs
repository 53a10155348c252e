//! PNG: bounds the decompressed size of every chunk, including those that a decoder ignores.

use super::rejection::{ImageRejection, check_dimensions};

/// Length of the signature, which the `image` crate has checked already.
const SIGNATURE_BYTES: usize = 8;

/// Maximum decompressed size of all texts and colour profiles together, in bytes. Most profiles
/// take a few KiB; the largest, for print, take about 1 MiB.
const MAX_METADATA_BYTES: usize = 1024 * 1024;

/// Adam7 interlacing: first column, first row, column step and row step of each pass.
const ADAM7_PASSES: [(usize, usize, usize, usize); 7] =
    [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

/// Rejects an image that is too large, is animated, is cut off, has trailing bytes, or decompresses
/// to more bytes than its header says and one more row.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let mut rest = bytes.get(SIGNATURE_BYTES..).unwrap_or_default();
    let mut header = None;
    let mut pixels = Vec::new();
    let mut metadata_left = MAX_METADATA_BYTES;
    loop {
        let chunk = PngChunk::read_first(rest).ok_or_else(ImageRejection::cut_off)?;
        rest = chunk.rest;
        match chunk.name {
            b"IHDR" => header = Some(PngHeader::read(chunk.data)?),
            b"IDAT" => pixels.extend_from_slice(chunk.data),
            b"IEND" => break,
            b"acTL" | b"fcTL" | b"fdAT" => return Err(ImageRejection::Animated),
            b"zTXt" | b"iCCP" | b"iTXt" => {
                if let Some(compressed) = compressed_part(*chunk.name, chunk.data)? {
                    metadata_left -= inflate_up_to(compressed, metadata_left, "its metadata")?;
                }
            }
            _ => {}
        }
    }
    if !rest.is_empty() {
        return Err(ImageRejection::followed_by(rest));
    }
    let header = header.ok_or_else(ImageRejection::cut_off)?;
    inflate_up_to(&pixels, header.inflated_len() + header.row_bytes(header.width), "its pixels").map(drop)
}

/// A chunk of the file.
struct PngChunk<'a> {
    name: &'a [u8; 4],
    data: &'a [u8],
    /// The bytes after the chunk.
    rest: &'a [u8],
}

impl<'a> PngChunk<'a> {
    fn read_first(bytes: &'a [u8]) -> Option<Self> {
        let (length, bytes) = bytes.split_first_chunk()?;
        let (name, bytes) = bytes.split_first_chunk()?;
        let (data, bytes) = bytes.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        // The decoder verifies the checksums.
        let (_checksum, rest) = bytes.split_first_chunk::<4>()?;
        Some(Self { name, data, rest })
    }
}

/// The pixel format from the IHDR chunk.
struct PngHeader {
    width: usize,
    height: usize,
    bits_per_pixel: usize,
    interlaced: bool,
}

impl PngHeader {
    fn read(data: &[u8]) -> Result<Self, ImageRejection> {
        let invalid = |what: &str| ImageRejection::Corrupt(format!("its header has {what}"));
        let (width, data) = data.split_first_chunk().ok_or_else(ImageRejection::cut_off)?;
        let (height, data) = data.split_first_chunk().ok_or_else(ImageRejection::cut_off)?;
        let (width, height) = (u32::from_be_bytes(*width), u32::from_be_bytes(*height));
        check_dimensions(width, height)?;
        let &[depth, colour, _, _, interlaced] = data else { return Err(invalid("a length other than 13 bytes")) };
        let samples = match colour {
            0 | 3 => 1,
            2 => 3,
            4 => 2,
            6 => 4,
            _ => return Err(invalid("an unknown colour type")),
        };
        Ok(Self {
            width: width as usize,
            height: height as usize,
            bits_per_pixel: samples * usize::from(depth),
            interlaced: interlaced != 0,
        })
    }

    /// Decompressed size of the pixels. Each row starts with one byte for its filter. An interlaced
    /// image has rows in each pass.
    fn inflated_len(&self) -> usize {
        if !self.interlaced {
            return self.height * self.row_bytes(self.width);
        }
        let pass = |&(column, row, columns, rows): &(usize, usize, usize, usize)| {
            let width = self.width.saturating_sub(column).div_ceil(columns);
            let height = self.height.saturating_sub(row).div_ceil(rows);
            if width == 0 { 0 } else { height * self.row_bytes(width) }
        };
        ADAM7_PASSES.iter().map(pass).sum()
    }

    fn row_bytes(&self, width: usize) -> usize {
        1 + (width * self.bits_per_pixel).div_ceil(8)
    }
}

/// The compressed part of a text or a colour profile; `None` if the chunk is not compressed.
fn compressed_part<'a>(name: [u8; 4], data: &'a [u8]) -> Result<Option<&'a [u8]>, ImageRejection> {
    let after_zero = |data: &'a [u8]| {
        let zero = data.iter().position(|byte| *byte == 0);
        zero.and_then(|zero| data.get(zero + 1..)).ok_or_else(ImageRejection::cut_off)
    };
    let (is_compressed, rest) = match (&name, after_zero(data)?) {
        // The compression flag and method, then the language and the translated keyword.
        (b"iTXt", [flag, _, rest @ ..]) => (*flag != 0, after_zero(after_zero(rest)?)?),
        (b"iTXt", _) | (_, []) => return Err(ImageRejection::cut_off()),
        (_, [_, rest @ ..]) => (true, rest),
    };
    Ok(is_compressed.then_some(rest))
}

/// Decompresses up to `limit` bytes and returns their number. The limit bounds the memory.
fn inflate_up_to(compressed: &[u8], limit: usize, what: &str) -> Result<usize, ImageRejection> {
    // One byte above the limit is enough to detect that the data is too long.
    match fdeflate::decompress_to_vec_bounded(compressed, limit + 1) {
        Ok(inflated) if inflated.len() <= limit => Ok(inflated.len()),
        Ok(_) | Err(fdeflate::BoundedDecompressionError::OutputTooLarge { .. }) => {
            Err(ImageRejection::Corrupt(format!("{what} unpack to more than {limit} bytes")))
        }
        Err(fdeflate::BoundedDecompressionError::DecompressionError { inner }) => {
            Err(ImageRejection::Corrupt(format!("{what} cannot be unpacked ({inner:?})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

    use super::super::{ImageRejection, check_and_decode};
    use super::*;
    use crate::registry::testing::{encoded_image, png_chunk, png_with};
    use rollcall_core::ImageKind;

    fn decode_png(bytes: &[u8]) -> Result<(), ImageRejection> {
        check_and_decode(bytes, ImageKind::Png)
    }

    /// `length` zeros, compressed by a factor of about a thousand.
    fn compressed_zeros(length: usize) -> Vec<u8> {
        fdeflate::compress_to_vec(&vec![0; length])
    }

    /// A grey PNG of 8 by 8 pixels with this IDAT chunk.
    fn grey(idat: &[u8], interlaced: u8) -> Vec<u8> {
        let header = [0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, interlaced];
        let chunks = [png_chunk(*b"IHDR", &header), png_chunk(*b"IDAT", idat), png_chunk(*b"IEND", b"")].concat();
        [b"\x89PNG\r\n\x1a\n", &chunks[..]].concat()
    }

    #[track_caller]
    fn assert_unpacks_to_too_much(bytes: &[u8]) {
        match decode_png(bytes) {
            Err(ImageRejection::Corrupt(why)) if why.contains("unpack to more than") => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pixels_decompress_to_the_size_in_the_header_and_at_most_one_row_more() {
        // 8 rows of 8 pixels, with one byte before each row.
        for length in [72, 73, 81] {
            assert_eq!(decode_png(&grey(&compressed_zeros(length), 0)), Ok(()), "{length}");
        }
        assert_unpacks_to_too_much(&grey(&compressed_zeros(82), 0));
        assert_unpacks_to_too_much(&grey(&compressed_zeros(16 << 20), 0));
        assert!(matches!(decode_png(&grey(&compressed_zeros(60), 0)), Err(ImageRejection::Corrupt(_))));
        // The interlaced image has 15 rows in all its passes.
        assert_eq!(decode_png(&grey(&compressed_zeros(64 + 15), 1)), Ok(()));
        assert_unpacks_to_too_much(&grey(&compressed_zeros(64 + 15 + 10), 1));
    }

    #[test]
    fn texts_and_profiles_decompress_to_at_most_one_mib_together() {
        let heads: [([u8; 4], &[u8]); 3] =
            [(*b"zTXt", b"Comment\0\0"), (*b"iCCP", b"profile\0\0"), (*b"iTXt", b"Comment\0\x01\0en\0Comment\0")];
        for (name, header) in heads {
            let with = |length: usize| png_chunk(name, &[header, &compressed_zeros(length)].concat());
            assert_unpacks_to_too_much(&png_with(&with(16 << 20)));
            assert_unpacks_to_too_much(&png_with(&with(MAX_METADATA_BYTES + 1)));
            if name == *b"zTXt" {
                assert_eq!(decode_png(&png_with(&with(MAX_METADATA_BYTES))), Ok(()));
                let half = with(MAX_METADATA_BYTES / 2);
                assert_eq!(decode_png(&png_with(&half.repeat(2))), Ok(()));
                assert_unpacks_to_too_much(&png_with(&half.repeat(3)));
            }
            let torn = png_chunk(name, &[header, b"no zlib"].concat());
            assert!(matches!(decode_png(&png_with(&torn)), Err(ImageRejection::Corrupt(_))), "{name:?}");
        }
        let plain = png_chunk(*b"iTXt", b"Comment\0\0\0en\0Comment\0text");
        assert_eq!(decode_png(&png_with(&[plain, png_chunk(*b"tEXt", b"Comment\0text")].concat())), Ok(()));
    }

    #[test]
    fn an_animated_image_is_rejected_as_animated() {
        // Two frames; the second one claims 5000 by 5000 pixels and has none.
        let mut frame = [0; 26];
        frame[4..8].copy_from_slice(&5000_u32.to_be_bytes());
        frame[8..12].copy_from_slice(&5000_u32.to_be_bytes());
        let still = encoded_image(ImageFormat::Png, 8, 8);
        let (header, end) = still.split_at(still.len() - 12);
        let frames = [png_chunk(*b"fcTL", &frame), png_chunk(*b"fdAT", b"\0\0\0\x01garbage")].concat();
        assert_eq!(decode_png(&[header, &frames, end].concat()), Err(ImageRejection::Animated));
        assert_eq!(
            decode_png(&png_with(&png_chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]))),
            Err(ImageRejection::Animated)
        );
    }

    #[test]
    fn too_many_pixels_are_rejected_by_the_header_alone() {
        // 100 000 × 100 000 pixels would take 30 GB.
        let side = 100_000_u32.to_be_bytes();
        let header = png_chunk(*b"IHDR", &[&side[..], &side, &[8, 2, 0, 0, 0]].concat());
        let bomb = [b"\x89PNG\r\n\x1a\n", &header[..]].concat();
        assert_eq!(decode_png(&bomb), Err(ImageRejection::Dimensions { width: 100_000, height: 100_000 }));
    }

    #[test]
    fn every_pixel_format_is_accepted() {
        for (colour, bytes_per_pixel) in [
            (ExtendedColorType::L8, 1),
            (ExtendedColorType::La8, 2),
            (ExtendedColorType::Rgb8, 3),
            (ExtendedColorType::Rgba8, 4),
            (ExtendedColorType::L16, 2),
            (ExtendedColorType::Rgba16, 8),
        ] {
            let mut png = Vec::new();
            let pixels = vec![7; 127 * 128 * bytes_per_pixel];
            image::codecs::png::PngEncoder::new(&mut png).write_image(&pixels, 127, 128, colour).unwrap();
            assert_eq!(decode_png(&png), Ok(()), "{colour:?}");
        }
    }
}
