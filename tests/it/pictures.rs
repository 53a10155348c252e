//! Pictures for tests.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// A picture of one colour. WebP's encoder is the lossless one.
pub(crate) fn picture(format: ImageFormat, width: u32, height: u32, shade: u8) -> Vec<u8> {
    let image = RgbImage::from_pixel(width, height, Rgb([shade, 80, 200]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).expect("memory can be written to");
    bytes.into_inner()
}

/// A PNG.
pub(crate) fn png(width: u32, height: u32, shade: u8) -> Vec<u8> {
    picture(ImageFormat::Png, width, height, shade)
}
