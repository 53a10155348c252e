use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat};

use super::super::check_and_decode;
use super::*;
use crate::registry::testing::{encoded_image, png_chunk, png_with};
use rollcall_core::ImageKind;

fn decode_png(bytes: &[u8]) -> Result<(), ImageRejection> {
    check_and_decode(bytes, ImageKind::Png)
}

/// `length` zeros, compressed by a factor of about a thousand.
fn compressed_zeros(length: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; length]).unwrap();
    encoder.finish().unwrap()
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
        // Damaged data counts with the bytes before the damage.
        let cut_off = compressed_zeros(MAX_METADATA_BYTES * 2 / 3);
        let cut_off = png_chunk(name, &[header, &cut_off[..cut_off.len() - 20]].concat());
        assert_eq!(decode_png(&png_with(&cut_off)), Ok(()), "{name:?}");
        assert_unpacks_to_too_much(&png_with(&cut_off.repeat(2)));
    }
    let plain = png_chunk(*b"iTXt", b"Comment\0\0\0en\0Comment\0text");
    assert_eq!(decode_png(&png_with(&[plain, png_chunk(*b"tEXt", b"Comment\0text")].concat())), Ok(()));
}

/// A PNG with these chunks before its pixels, and these after them.
fn png_around(before: &[u8], after: &[u8]) -> Vec<u8> {
    let png = png_with(before);
    let (pixels, end) = png.split_at(png.len() - 12);
    [pixels, after, end].concat()
}

fn announcement(frames: u32) -> Vec<u8> {
    png_chunk(*b"acTL", &[frames.to_be_bytes(), [0; 4]].concat())
}

#[test]
fn an_image_that_announces_several_frames_is_animated() {
    for frames in [2, 3, i32::MAX.unsigned_abs()] {
        assert_eq!(decode_png(&png_with(&announcement(frames))), Err(ImageRejection::Animated), "{frames}");
    }
    for frames in [0, 1, 1 << 31, u32::MAX] {
        assert_eq!(decode_png(&png_with(&announcement(frames))), Ok(()), "{frames}");
    }
    // Browsers ignore the chunk after the pixels, and if its length is wrong.
    assert_eq!(decode_png(&png_around(b"", &announcement(2))), Ok(()));
    assert_eq!(decode_png(&png_with(&png_chunk(*b"acTL", &[0, 0, 0, 2]))), Ok(()));
}

#[test]
fn frames_decompress_to_at_most_one_mib_together() {
    let frame = |zeros| {
        let data = [&[0; SEQUENCE_NUMBER_BYTES], &compressed_zeros(zeros)[..]].concat();
        [png_chunk(*b"fcTL", &[0; 26]), png_chunk(*b"fdAT", &data)].concat()
    };
    let with = |frames: &[u8]| png_around(&announcement(1), frames);
    assert_eq!(decode_png(&with(&frame(8 * 25))), Ok(()));
    assert_eq!(decode_png(&with(&frame(MAX_METADATA_BYTES / 2).repeat(2))), Ok(()));
    assert_unpacks_to_too_much(&with(&frame(MAX_METADATA_BYTES / 2).repeat(3)));
    assert_unpacks_to_too_much(&with(&frame(MAX_METADATA_BYTES + 1)));
    // A frame may be divided into several chunks.
    let all = compressed_zeros(MAX_METADATA_BYTES + 1);
    let chunks = all.chunks(100).map(|part| png_chunk(*b"fdAT", &[&[0; SEQUENCE_NUMBER_BYTES], part].concat()));
    assert_unpacks_to_too_much(&with(&chunks.collect::<Vec<_>>().concat()));
    for damaged in [png_chunk(*b"fcTL", b""), png_chunk(*b"fdAT", b"abc"), png_chunk(*b"fdAT", b"abcdefgh")] {
        assert_eq!(decode_png(&with(&damaged)), Ok(()));
    }
}

#[test]
fn damaged_unknown_repeated_and_misplaced_chunks_are_ignored() {
    let names = *b"iCCPzTXtiTXttEXtgAMAcHRMsBITtRNSpHYseXIfsRGBcICPtIMEbKGDhISTsPLTvpAgABCD1234PLTE";
    for name in names.as_chunks::<4>().0 {
        for data in [&b""[..], b"\0", b"\xff", b"name", b"name\0", b"name\0\0", b"name\0\0rubbish", &[0xff; 1000]] {
            let mut chunk = png_chunk(*name, data);
            let accepted = |png: Vec<u8>| assert_eq!(decode_png(&png), Ok(()), "{name:?} {data:?}");
            accepted(png_with(&chunk));
            accepted(png_with(&chunk.repeat(2)));
            accepted(png_around(b"", &chunk));
            // A wrong checksum.
            *chunk.last_mut().unwrap() ^= 1;
            accepted(png_with(&chunk));
        }
    }
}

#[test]
fn damaged_pixels_are_rejected() {
    let pixels = compressed_zeros(72);
    let mut wrong_checksum = pixels.clone();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    for pixels in [&b""[..], b"rubbish", &pixels[..pixels.len() / 2], &wrong_checksum] {
        assert!(matches!(decode_png(&grey(pixels, 0)), Err(ImageRejection::Corrupt(_))), "{pixels:?}");
    }
    let png = encoded_image(ImageFormat::Png, 8, 8);
    for at in [29, 45] {
        let mut damaged = png.to_vec();
        damaged[at] ^= 1;
        assert!(matches!(decode_png(&damaged), Err(ImageRejection::Corrupt(_))), "byte {at}");
    }
    // Pixels end at another chunk.
    let (first, second) = pixels.split_at(4);
    let chunks = [png_chunk(*b"IDAT", first), png_chunk(*b"tEXt", b"a\0b"), png_chunk(*b"IDAT", second)].concat();
    let whole = grey(b"", 0);
    assert!(decode_png(&[&whole[..33], &chunks, &whole[45..]].concat()).is_err());
}

#[test]
fn the_palette_of_an_indexed_image_has_1_to_256_colours() {
    let indexed = |palettes: &[&[u8]]| {
        let header = png_chunk(*b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 8, 3, 0, 0, 0]);
        let palettes: Vec<u8> = palettes.iter().flat_map(|palette| png_chunk(*b"PLTE", palette)).collect();
        let pixels = png_chunk(*b"IDAT", &compressed_zeros(72));
        [b"\x89PNG\r\n\x1a\n", &header[..], &palettes, &pixels, &png_chunk(*b"IEND", b"")].concat()
    };
    for colours in [1, 2, 256] {
        assert_eq!(decode_png(&indexed(&[&vec![7; 3 * colours]])), Ok(()), "{colours}");
    }
    for bytes in [0, 1, 2, 4, 47, 767, 769, 771, 1000] {
        let rejected = Err(ImageRejection::Corrupt(format!("its palette has {bytes} bytes")));
        assert_eq!(decode_png(&indexed(&[&vec![7; bytes]])), rejected);
    }
    for number in [0, 2] {
        assert!(
            matches!(decode_png(&indexed(&vec![&[7; 6][..]; number])), Err(ImageRejection::Corrupt(_))),
            "{number}"
        );
    }
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
