//! Sample images for tests.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// An encoded image of one colour. WebP is lossless.
pub fn encoded_image(format: ImageFormat, width: u32, height: u32, shade: u8) -> Vec<u8> {
    let image = RgbImage::from_pixel(width, height, Rgb([shade, 80, 200]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).expect("writing to memory cannot fail");
    bytes.into_inner()
}

/// A PNG.
pub fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    encoded_image(ImageFormat::Png, width, height, shade)
}

/// A PNG of random pixels, which cannot be compressed.
pub fn noisy_png(width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |_, _| Rgb(rand::random()));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).expect("writing to memory cannot fail");
    bytes.into_inner()
}

/// A valid small PNG whose header declares another size, as in a decompression bomb.
pub fn png_with_declared_size(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(8, 8, 0);
    // The IHDR chunk: length, name, 13 bytes of data, and a checksum of name and data.
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}
