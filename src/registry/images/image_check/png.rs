//! PNG: reduces a file to the chunks that its pixels need, and bounds the decompressed size of the
//! others.
//!
//! libpng ignores an ancillary chunk that is damaged, unknown, repeated or misplaced, so none of
//! this is a reason to reject an image. The decoder of the `image` crate rejects some of these
//! files, and panics on others. It gets a file without such chunks. Unknown critical chunks are
//! left out, too: libpng stops at them, but other programs show the image.

use std::io::{self, Read};
use std::mem;

use flate2::bufread::ZlibDecoder;

use super::rejection::{ImageRejection, check_dimensions, check_padding};

/// Length of the signature, which the `image` crate has checked already.
const SIGNATURE_BYTES: usize = 8;

/// Maximum decompressed size of all texts, colour profiles and frames besides the pixels together,
/// in bytes. Most profiles take a few KiB; the largest, for print, take about 1 MiB.
const MAX_METADATA_BYTES: usize = 1024 * 1024;

/// Length of the number at the start of an fdAT chunk.
const SEQUENCE_NUMBER_BYTES: usize = 4;

/// Adam7 interlacing: first column, first row, column step and row step of each pass.
const ADAM7_PASSES: [(usize, usize, usize, usize); 7] =
    [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

/// Checks the file, and returns a file with the pixels alone. Rejects an image that is too large,
/// is animated, is cut off, has trailing bytes, has a malformed palette, or decompresses to more
/// bytes than its header says and one more row.
pub(super) fn reduce(bytes: &[u8]) -> Result<Vec<u8>, ImageRejection> {
    let (signature, mut rest) = bytes.split_at_checked(SIGNATURE_BYTES).ok_or_else(ImageRejection::cut_off)?;
    let mut reduced = signature.to_vec();
    let mut header: Option<PngHeader> = None;
    let mut pixels = Vec::new();
    let mut have_pixels_ended = false;
    let mut frame = Vec::new();
    let mut metadata_left = MAX_METADATA_BYTES;
    let mut bound_metadata = |compressed: &[u8]| {
        let inflated = inflate_up_to(compressed, metadata_left, "its metadata")?;
        metadata_left -= inflated.bytes;
        Ok(())
    };
    loop {
        let chunk = PngChunk::read_first(rest).ok_or_else(ImageRejection::cut_off)?;
        rest = chunk.rest;
        have_pixels_ended |= !pixels.is_empty() && chunk.name != b"IDAT";
        match chunk.name {
            b"IHDR" if header.is_some() => return Err(ImageRejection::Corrupt("it has two headers".to_owned())),
            b"IHDR" => {
                header = Some(PngHeader::read(chunk.data)?);
                reduced.extend_from_slice(chunk.whole);
            }
            // In other images the palette is a suggestion.
            b"PLTE" if pixels.is_empty() && header.as_ref().is_some_and(|header| header.is_indexed) => {
                check_palette(chunk.data)?;
                reduced.extend_from_slice(chunk.whole);
            }
            // Decoders ignore more pixels after another chunk.
            b"IDAT" if !have_pixels_ended => {
                pixels.extend_from_slice(chunk.data);
                reduced.extend_from_slice(chunk.whole);
            }
            b"IEND" => {
                reduced.extend_from_slice(chunk.whole);
                break;
            }
            b"acTL" if pixels.is_empty() && announces_several_frames(chunk.data) => {
                return Err(ImageRejection::Animated);
            }
            b"fcTL" => bound_metadata(&mem::take(&mut frame))?,
            b"fdAT" => frame.extend_from_slice(chunk.data.get(SEQUENCE_NUMBER_BYTES..).unwrap_or_default()),
            b"zTXt" | b"iCCP" | b"iTXt" => {
                bound_metadata(compressed_part(*chunk.name, chunk.data).unwrap_or_default())?;
            }
            _ => {}
        }
    }
    bound_metadata(&frame)?;
    check_padding(rest)?;
    let header = header.ok_or_else(ImageRejection::cut_off)?;
    let pixel_bytes = header.inflated_len();
    let inflated = inflate_up_to(&pixels, pixel_bytes + header.row_bytes(header.width), "its pixels")?;
    // The decoder verifies no checksum of the pixels. libpng does, unless more bytes follow them.
    // The decoder notices an early end itself.
    match inflated.damage {
        Some(error) if inflated.bytes <= pixel_bytes && error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(ImageRejection::Corrupt(format!("its pixels cannot be unpacked ({error})")))
        }
        _ => Ok(reduced),
    }
}

/// Whether an acTL chunk announces an animation of several frames. A damaged chunk does not.
/// Numbers in a PNG have at most 31 bits.
fn announces_several_frames(data: &[u8]) -> bool {
    let Ok(&[a, b, c, d, _, _, _, _]) = <&[u8; 8]>::try_from(data) else { return false };
    (2..=i32::MAX.unsigned_abs()).contains(&u32::from_be_bytes([a, b, c, d]))
}

/// Checks the palette of an image whose pixels are indices: 1 to 256 colours of three bytes.
fn check_palette(data: &[u8]) -> Result<(), ImageRejection> {
    match data.as_chunks::<3>() {
        (colours, []) if (1..=256).contains(&colours.len()) => Ok(()),
        _ => Err(ImageRejection::Corrupt(format!("its palette has {} bytes", data.len()))),
    }
}

/// A chunk of the file.
struct PngChunk<'a> {
    name: &'a [u8; 4],
    data: &'a [u8],
    /// The chunk with its length, name and checksum.
    whole: &'a [u8],
    /// The bytes after the chunk.
    rest: &'a [u8],
}

impl<'a> PngChunk<'a> {
    fn read_first(file: &'a [u8]) -> Option<Self> {
        let (length, bytes) = file.split_first_chunk()?;
        let (name, bytes) = bytes.split_first_chunk()?;
        let (data, bytes) = bytes.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        // The decoder verifies the checksums of the chunks that it gets.
        let (_checksum, rest) = bytes.split_first_chunk::<4>()?;
        Some(Self { name, data, whole: &file[..file.len() - rest.len()], rest })
    }
}

/// The pixel format from the IHDR chunk.
struct PngHeader {
    width: usize,
    height: usize,
    bits_per_pixel: usize,
    /// Whether the pixels are indices into a palette.
    is_indexed: bool,
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
            is_indexed: colour == 3,
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

/// The compressed part of a text or a colour profile; `None` if the chunk is damaged or not
/// compressed.
fn compressed_part(name: [u8; 4], data: &[u8]) -> Option<&[u8]> {
    let after_zero = |data: &'_ [u8]| data.iter().position(|byte| *byte == 0).map(|zero| zero + 1);
    let rest = &data[after_zero(data)?..];
    match (&name, rest) {
        // The compression flag and method, then the language and the translated keyword.
        (b"iTXt", [flag, _, rest @ ..]) if *flag != 0 => {
            let rest = &rest[after_zero(rest)?..];
            Some(&rest[after_zero(rest)?..])
        }
        (b"iTXt", _) | (_, []) => None,
        (_, [_, rest @ ..]) => Some(rest),
    }
}

/// Result of a decompression.
struct Inflated {
    bytes: usize,
    /// Why it ended early.
    damage: Option<io::Error>,
}

/// Decompresses at most `limit` bytes, and counts them. Damaged data counts with the bytes before
/// the damage.
fn inflate_up_to(compressed: &[u8], limit: usize, what: &str) -> Result<Inflated, ImageRejection> {
    let mut inflater = ZlibDecoder::new(compressed);
    // One byte above the limit is enough to detect that the data is too long.
    let bound = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let damage = io::copy(&mut inflater.by_ref().take(bound), &mut io::sink()).err();
    match usize::try_from(inflater.total_out()) {
        Ok(bytes) if bytes <= limit => Ok(Inflated { bytes, damage }),
        _ => Err(ImageRejection::Corrupt(format!("{what} unpack to more than {limit} bytes"))),
    }
}

#[cfg(test)]
mod tests;
