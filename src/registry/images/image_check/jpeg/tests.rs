use image::ImageFormat;

use super::*;
use crate::registry::testing::encoded_image;

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap();
    [&[0xff, marker], &length.to_be_bytes()[..], data].concat()
}

/// A quantization table with this index.
fn quantization(index: u8) -> Vec<u8> {
    segment(0xdb, &[&[index], &[1; 64][..]].concat())
}

/// The header of an image of 8 by 8 pixels with these components.
fn header(marker: u8, components: &[[u8; 3]]) -> Vec<u8> {
    let count = u8::try_from(components.len()).unwrap();
    segment(marker, &[&[8, 0, 8, 0, 8, count], components.concat().as_slice()].concat())
}

/// A scan of these components.
fn scan(ids: &[u8], range: [u8; 3]) -> Vec<u8> {
    let components: Vec<u8> = ids.iter().flat_map(|id| [*id, 0]).collect();
    let head = segment(0xda, &[&[u8::try_from(ids.len()).unwrap()], &components[..], &range].concat());
    [&head[..], b"pixels \xff\0 \xff\xd0 and more"].concat()
}

fn jpeg(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"\xff\xd8", parts.concat().as_slice(), b"\xff\xd9"].concat()
}

const WHOLE_BLOCKS: [u8; 3] = [0, 63, 0];
const GREY: [[u8; 3]; 1] = [[1, 0x11, 0]];

#[track_caller]
fn assert_corrupt(parts: &[Vec<u8>]) {
    let checked = check(&jpeg(parts));
    assert!(matches!(checked, Err(ImageRejection::Corrupt(_))), "{checked:?}");
}

#[test]
fn the_end_marker_of_a_thumbnail_is_not_the_end_of_the_image() {
    let image = encoded_image(ImageFormat::Jpeg, 10, 10);
    let thumbnail = b"\xff\xe1\0\x08Exif\xff\xd9";
    let with = |segment: &[u8]| [&image[..2], segment, &image[2..]].concat();
    assert_eq!(check(&with(thumbnail)), Ok(()));
    assert_eq!(check(&with(b"\xff\xe1\xff")), Err(ImageRejection::cut_off()));
}

#[test]
fn an_image_ends_at_its_marker() {
    let image = encoded_image(ImageFormat::Jpeg, 100, 100);
    assert_eq!(check(&image), Ok(()));
    assert_eq!(check(&image[..image.len() - 2]), Err(ImageRejection::cut_off()));
}

#[test]
fn damaged_metadata_and_padding_between_segments_are_ignored() {
    let image = encoded_image(ImageFormat::Jpeg, 10, 10);
    for marker in (0xe0..=0xef).chain([0xfe]) {
        for data in [&b""[..], b"Exif\0\0", b"Adobe", b"JFIF\0", b"ICC_PROFILE\0", &[0xff; 1000]] {
            let damaged = segment(marker, data);
            assert_eq!(check(&[&image[..2], &damaged, &image[2..]].concat()), Ok(()), "{marker:x} {data:?}");
        }
    }
    for padding in [&b"\xff\xff"[..], b"rubbish", b"\0", b"\xff\xd0", b"\xff\x01"] {
        assert_eq!(check(&[&image[..2], padding, &image[2..]].concat()), Ok(()), "{padding:?}");
    }
}

#[test]
fn all_processes_of_libjpeg_are_accepted_and_no_other() {
    for marker in [0xc0, 0xc1, 0xc9] {
        let parts = [quantization(0), header(marker, &GREY), scan(&[1], WHOLE_BLOCKS)];
        assert_eq!(check(&jpeg(&parts)), Ok(()), "{marker:x}");
    }
    for marker in [0xc2, 0xca] {
        let progressive = |range| vec![quantization(0), header(marker, &GREY), scan(&[1], range)];
        for range in [[0, 0, 0], [1, 63, 0], [1, 5, 0x21], [63, 63, 0x0d]] {
            assert_eq!(check(&jpeg(&progressive(range))), Ok(()), "{range:?}");
        }
        for range in [WHOLE_BLOCKS, [5, 4, 0], [1, 64, 0], [1, 5, 0x31], [1, 5, 0x0e]] {
            assert_corrupt(&progressive(range));
        }
    }
    let lossless = |range| vec![header(0xc3, &GREY), scan(&[1], range)];
    assert_eq!(check(&jpeg(&lossless([1, 0, 0]))), Ok(()));
    for range in [WHOLE_BLOCKS, [8, 0, 0], [1, 0, 8]] {
        assert_corrupt(&lossless(range));
    }
    for marker in [0xc5, 0xc6, 0xc7, 0xc8, 0xcb, 0xcd, 0xce, 0xcf] {
        assert_corrupt(&[quantization(0), header(marker, &GREY), scan(&[1], WHOLE_BLOCKS)]);
    }
}

#[test]
fn one_three_or_four_components_with_any_sampling_factors_are_accepted() {
    let component = |id: u8, sampling: u8| [id, sampling, 0];
    let components = |samplings: &[u8]| -> Vec<[u8; 3]> {
        (1..).zip(samplings).map(|(id, sampling)| component(id, *sampling)).collect()
    };
    let image = |samplings: &[u8]| {
        let ids: Vec<u8> = (1..).take(samplings.len()).collect();
        vec![quantization(0), header(0xc0, &components(samplings)), scan(&ids, WHOLE_BLOCKS)]
    };
    for samplings in
        [&[0x44][..], &[0x11; 3], &[0x22, 0x11, 0x11], &[0x31, 0x11, 0x31], &[0x41, 0x21, 0x11], &[0x11; 4]]
    {
        assert_eq!(check(&jpeg(&image(samplings))), Ok(()), "{samplings:x?}");
    }
    for samplings in [&[][..], &[0x10], &[0x51], &[0x11; 2], &[0x11; 5], &[0x44, 0x11, 0x11]] {
        assert_corrupt(&image(samplings));
    }
}

#[test]
fn an_image_without_its_header_tables_or_pixels_is_rejected() {
    let (table, header, pixels) = (quantization(0), header(0xc0, &GREY), scan(&[1], WHOLE_BLOCKS));
    let whole = [table.clone(), header.clone(), pixels.clone()];
    assert_eq!(check(&jpeg(&whole)), Ok(()));
    for missing in 0..whole.len() {
        let mut parts = whole.to_vec();
        parts.remove(missing);
        assert_corrupt(&parts);
    }
    assert_corrupt(&[quantization(1), header.clone(), pixels.clone()]);
    assert_corrupt(&[table.clone(), header.clone(), scan(&[2], WHOLE_BLOCKS)]);
    assert_corrupt(&[table.clone(), header.clone(), scan(&[], WHOLE_BLOCKS)]);
    assert_corrupt(&[table.clone(), header.clone(), header.clone(), pixels.clone()]);
    for damaged in [
        segment(0xdb, &[0; 64]),
        segment(0xdb, &[4; 65]),
        segment(0xc4, &[0; 16]),
        segment(0xc4, &[1; 32]),
        segment(0xdd, &[0]),
        segment(0xd8, b""),
    ] {
        assert_corrupt(&[damaged, table.clone(), header.clone(), pixels.clone()]);
    }
    for (bits, side) in [(12, 8), (8, 0)] {
        let header = segment(0xc0, &[bits, 0, side, 0, 8, 1, 1, 0x11, 0]);
        assert_corrupt(&[table.clone(), header, pixels.clone()]);
    }
}

#[test]
fn too_many_pixels_are_rejected_by_the_header_alone() {
    let large = segment(0xc0, &[8, 0xff, 0xff, 0, 129, 1, 1, 0x11, 0]);
    assert_eq!(check(&jpeg(&[large])), Err(ImageRejection::Dimensions { width: 129, height: 65_535 }));
}
