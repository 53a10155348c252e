//! Generated images of the sample clients: one colour for each client, one pattern for each image.

use std::io::Cursor;

use image::{ImageFormat, ImageResult, Rgb, RgbImage};

use rollcall_core::ImageKind;

/// Width and height in pixels. The registry accepts up to 128×128.
const SIDE: u32 = 96;

/// Draws and encodes the `number`-th image of the `client`-th client.
///
/// # Errors
/// An error of the encoder. None is known for these images.
pub(super) fn encode(client: usize, number: usize) -> ImageResult<(ImageKind, Vec<u8>)> {
    let (kind, format) = match number % 3 {
        0 => (ImageKind::Png, ImageFormat::Png),
        1 => (ImageKind::Jpeg, ImageFormat::Jpeg),
        _ => (ImageKind::WebP, ImageFormat::WebP),
    };
    let ink = colour(client);
    let paper = Rgb([245, 243, 236]);
    let image = RgbImage::from_fn(SIDE, SIDE, |x, y| if is_in_pattern(number, x, y) { ink } else { paper });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok((kind, bytes.into_inner()))
}

/// Colour of a client. The colours of two successive clients differ by more than a third of the
/// 1530 hues.
fn colour(client: usize) -> Rgb<u8> {
    let hue = (client % 1530) * 557 % 1530;
    let ramp = u8::try_from(hue % 255).unwrap_or(u8::MAX);
    Rgb(match hue / 255 {
        0 => [255, ramp, 0],
        1 => [255 - ramp, 255, 0],
        2 => [0, 255, ramp],
        3 => [0, 255 - ramp, 255],
        4 => [ramp, 0, 255],
        _ => [255, 0, 255 - ramp],
    })
}

/// Whether a pixel belongs to the pattern: a disc, a chessboard or diagonal stripes.
fn is_in_pattern(pattern: usize, x: u32, y: u32) -> bool {
    let (dx, dy) = (x.abs_diff(SIDE / 2), y.abs_diff(SIDE / 2));
    match pattern % 3 {
        0 => dx * dx + dy * dy < (SIDE / 3).pow(2),
        1 => (x / 12 + y / 12).is_multiple_of(2),
        _ => ((x + y) / 12).is_multiple_of(2),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_image_has_the_format_of_its_kind_and_a_valid_size() {
        for number in 0..3 {
            let (kind, bytes) = encode(0, number).unwrap();
            let format = image::guess_format(&bytes).unwrap();
            assert_eq!(format.to_mime_type(), kind.media_type());
            let image = image::load_from_memory(&bytes).unwrap();
            assert!(image.width() <= 128 && image.height() <= 128);
        }
    }

    #[test]
    fn no_two_clients_have_the_same_image() {
        let images: HashSet<Vec<u8>> = (0..200).map(|client| encode(client, 0).unwrap().1).collect();
        assert_eq!(images.len(), 200);
    }
}
