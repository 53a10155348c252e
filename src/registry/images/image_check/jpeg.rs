//! JPEG: checks the structure of a file, without decoding its pixels.
//!
//! A JPEG cannot be a decompression bomb: its header determines the size of its pixels, and its
//! metadata is not compressed. Damaged pixels are no error for libjpeg. It shows what it can read,
//! with a warning. So markers, headers and tables decide whether libjpeg decodes a file, and they
//! are checked here. The decoder of the `image` crate knows neither arithmetic coding nor all
//! sampling factors, so it would reject images that other programs show.

use super::rejection::{ImageRejection, check_dimensions, check_padding};

/// Length of the SOI marker, which the `image` crate has checked already.
const START_OF_IMAGE_BYTES: usize = 2;
const END_OF_IMAGE: u8 = 0xd9;
/// Largest number of 8 by 8 blocks in one unit of a scan of several components (ITU-T T.81, B.2.3).
const MAX_BLOCKS_PER_UNIT: u8 = 10;
/// Index of the last coefficient of a block.
const LAST_COEFFICIENT: u8 = 63;
/// Lowest bit at which a progressive scan may start.
const MAX_BIT: u8 = 13;

/// Number of low bits that a lossless image may lack.
const MAX_LOSSLESS_SHIFT: u8 = 7;

/// Rejects an image that is too large, is cut off, has trailing bytes, or has a structure that
/// libjpeg does not decode. Cameras append videos or second images. Such files exceed the size
/// limit anyway, and scaling an image down removes that data.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImageRejection> {
    let mut rest = bytes.get(START_OF_IMAGE_BYTES..).unwrap_or_default();
    let mut tables = QuantizationTables::default();
    let mut frame: Option<JpegFrame> = None;
    let mut has_pixels = false;
    loop {
        let (marker, content) = next_marker(rest).ok_or_else(ImageRejection::cut_off)?;
        match marker {
            END_OF_IMAGE if has_pixels => return check_padding(content),
            // TEM and the restart markers have no segment.
            0x01 | 0xd0..=0xd7 => {
                rest = content;
                continue;
            }
            _ => {}
        }
        let (segment, behind) = split_segment(content).ok_or_else(ImageRejection::cut_off)?;
        rest = behind;
        match (marker, &frame) {
            // SOF0 to SOF3 are Huffman coded, SOF9 and SOF10 arithmetic coded.
            (0xc0 | 0xc1 | 0xc9, None) => frame = Some(JpegFrame::read(segment, CodingProcess::Sequential)?),
            (0xc2 | 0xca, None) => frame = Some(JpegFrame::read(segment, CodingProcess::Progressive)?),
            (0xc3, None) => frame = Some(JpegFrame::read(segment, CodingProcess::Lossless)?),
            (0xda, Some(frame)) => {
                frame.check_scan(segment, tables)?;
                has_pixels = true;
            }
            (0xdb, _) => tables.read(segment)?,
            (0xc4, _) => check_huffman_tables(segment)?,
            // The restart interval has two bytes.
            (0xdd, _) if segment.len() != 2 => return Err(invalid("a damaged restart interval")),
            // DAC, DNL, application data and comments. Thumbnails inside them are not checked.
            (0xcc | 0xdc | 0xdd | 0xe0..=0xef | 0xfe, _) => {}
            // Pixels before the header, a second header or image, or an unsupported coding.
            _ => return Err(invalid(&format!("an unexpected marker FF{marker:02X}"))),
        }
    }
}

fn invalid(what: &str) -> ImageRejection {
    ImageRejection::Corrupt(format!("it has {what}"))
}

/// The next marker and the bytes after it. Skips pixels: FF 00 stands for FF in the pixels, and FF
/// FF is padding.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

/// The content of a segment and the bytes after it. A segment starts with its length, which
/// includes the two bytes of the length.
fn split_segment(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk()?;
    bytes.split_at_checked(usize::from(u16::from_be_bytes(*length)).saturating_sub(2))
}

/// Checks a DHT segment: for each table its class and index in one byte, the number of codes of
/// each of 16 lengths, and one byte for each code.
fn check_huffman_tables(mut segment: &[u8]) -> Result<(), ImageRejection> {
    while let Some((&kind, table)) = segment.split_first() {
        let rest = table.split_first_chunk::<16>().and_then(|(counts, values)| {
            let codes: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let is_valid = codes <= 256 && kind >> 4 <= 1 && kind & 0x0f <= 3;
            values.get(codes..).filter(|_| is_valid)
        });
        segment = rest.ok_or_else(|| invalid("a damaged Huffman table"))?;
    }
    Ok(())
}

/// Set of the quantization tables that a file has defined so far, one bit for each.
#[derive(Clone, Copy, Default)]
struct QuantizationTables(u8);

impl QuantizationTables {
    /// Reads a DQT segment: for each table its precision and index in one byte, then 64 values.
    fn read(&mut self, mut segment: &[u8]) -> Result<(), ImageRejection> {
        let damaged = || invalid("a damaged quantization table");
        while let Some((&kind, values)) = segment.split_first() {
            let (bytes_per_value, index) = (if kind >> 4 == 0 { 1 } else { 2 }, kind & 0x0f);
            if index > 3 {
                return Err(damaged());
            }
            self.0 |= 1 << index;
            segment = values.get(64 * bytes_per_value..).ok_or_else(damaged)?;
        }
        Ok(())
    }

    fn contains(self, index: u8) -> bool {
        self.0 >> index & 1 == 1
    }
}

/// A colour component of the image.
struct JpegComponent {
    id: u8,
    blocks_per_unit: u8,
    quantization_table: u8,
}

impl JpegComponent {
    /// Reads the three bytes of a component in the header; `None` if they are invalid.
    fn read([id, sampling, quantization_table]: [u8; 3]) -> Option<Self> {
        let (columns, rows) = (sampling >> 4, sampling & 0x0f);
        let is_valid = (1..=4).contains(&columns) && (1..=4).contains(&rows) && quantization_table <= 3;
        is_valid.then_some(Self { id, blocks_per_unit: columns * rows, quantization_table })
    }
}

/// Division of the pixels into scans.
enum CodingProcess {
    /// A scan has all coefficients of its components.
    Sequential,
    /// A scan has some coefficients, or some bits of them.
    Progressive,
    /// A scan has differences between pixels. There are no coefficients.
    Lossless,
}

/// The header of the pixels.
struct JpegFrame {
    process: CodingProcess,
    components: Vec<JpegComponent>,
}

impl JpegFrame {
    /// Reads an SOF segment: the bits per value, height, width, number of components, and the
    /// components.
    fn read(segment: &[u8], process: CodingProcess) -> Result<Self, ImageRejection> {
        let &[bits, height_high, height_low, width_high, width_low, count, ref rest @ ..] = segment else {
            return Err(invalid("a header that is too short"));
        };
        let height = u16::from_be_bytes([height_high, height_low]);
        let width = u16::from_be_bytes([width_high, width_low]);
        check_dimensions(width.into(), height.into())?;
        let (components, remainder) = rest.as_chunks::<3>();
        let is_supported = bits == 8
            && width > 0
            && height > 0
            && matches!(count, 1 | 3 | 4)
            && components.len() == usize::from(count)
            && remainder.is_empty();
        let components: Option<Vec<JpegComponent>> = components.iter().copied().map(JpegComponent::read).collect();
        match components {
            Some(components) if is_supported => Ok(Self { process, components }),
            _ => Err(invalid("a header that is damaged or not supported")),
        }
    }

    /// Checks an SOS segment: the number of components, two bytes for each, and the range of
    /// coefficients and bits that follows.
    fn check_scan(&self, segment: &[u8], tables: QuantizationTables) -> Result<(), ImageRejection> {
        let damaged = || invalid("a damaged scan header");
        let (&count, rest) = segment.split_first().ok_or_else(damaged)?;
        let (ids, &[first, last, bits]) = rest.split_last_chunk::<3>().ok_or_else(damaged)?;
        let (ids, remainder) = ids.as_chunks::<2>();
        let find = |&[id, _]: &[u8; 2]| self.components.iter().find(|component| component.id == id);
        let components: Vec<&JpegComponent> = ids.iter().map(find).collect::<Option<_>>().ok_or_else(damaged)?;
        let blocks: u8 = components.iter().map(|component| component.blocks_per_unit).sum();
        let have_tables = components.iter().all(|component| tables.contains(component.quantization_table));
        let has_valid_range = match self.process {
            // libjpeg ignores the range.
            CodingProcess::Sequential => have_tables,
            CodingProcess::Progressive => have_tables && is_progressive_scan(components.len(), first, last, bits),
            // The range has the number of the predictor instead.
            CodingProcess::Lossless => (1..=7).contains(&first) && last == 0 && bits <= MAX_LOSSLESS_SHIFT,
        };
        let is_valid = (1..=4).contains(&components.len())
            && components.len() == usize::from(count)
            && remainder.is_empty()
            && (components.len() == 1 || blocks <= MAX_BLOCKS_PER_UNIT)
            && has_valid_range;
        if is_valid { Ok(()) } else { Err(damaged()) }
    }
}

/// Whether a progressive scan may have these parameters. Mean values of blocks come in scans of
/// their own. Other coefficients come for one component at a time. A refinement adds one bit.
fn is_progressive_scan(components: usize, first: u8, last: u8, bits: u8) -> bool {
    let (previous_bit, bit) = (bits >> 4, bits & 0x0f);
    let has_valid_range = match first {
        0 => last == 0,
        _ => components == 1 && (first..=LAST_COEFFICIENT).contains(&last),
    };
    has_valid_range && bit <= MAX_BIT && (previous_bit == 0 || previous_bit == bit + 1)
}

#[cfg(test)]
mod tests;
