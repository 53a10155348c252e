//! Image name: the last part of the path of an image in the bucket.

use std::cmp::Ordering;

use compact_str::{CompactString, format_compact};
use thiserror::Error;

use super::WallMs;

/// Longest image name, in characters.
const MAX_CHARS: usize = 128;

/// Image format that the registry stores.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ImageKind {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
}

impl ImageKind {
    /// All formats.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// File name extension without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// Media type for a `Content-Type` header.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    /// The format for a file name extension in any case. JPEG has two extensions.
    fn from_extension(extension: &str) -> Option<Self> {
        let is = |known: &str| extension.eq_ignore_ascii_case(known);
        Self::ALL.into_iter().find(|kind| is(kind.extension())).or_else(|| is("jpeg").then_some(Self::Jpeg))
    }
}

/// Name of a stored image. New names are `{number}-{8 hex digits}.{png|jpg|webp}`, where the number
/// is the Unix time of the upload in seconds. Other programs have written other names into buckets.
///
/// Names are ordered by the number at their start, then by text. A name without a number comes
/// before the others.
///
/// Invariant: 1 to 128 of the characters `A-Za-z0-9._-`, not starting with a dot, ending with the
/// extension of an [`ImageKind`]. So a name is always one safe path segment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ImageName {
    text: CompactString,
    /// The format of the extension of `text`.
    kind: ImageKind,
}

/// The text does not have the form of an [`ImageName`].
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("not the name of a stored image")]
pub struct InvalidImageName;

impl ImageName {
    /// The name of a new image: the `number` has at least ten digits. `unique` distinguishes images
    /// of one number.
    #[must_use]
    pub fn new(number: u128, unique: u32, kind: ImageKind) -> Self {
        Self { text: format_compact!("{number:010}-{unique:08x}.{}", kind.extension()), kind }
    }

    /// The number of a new image that is stored at `now`: the Unix time in seconds, or the number
    /// after `greatest` if that is later. So the image comes after all images of its user, even if
    /// the clock was set back.
    #[must_use]
    pub fn next_number(now: WallMs, greatest: Option<u128>) -> u128 {
        let seconds = u128::try_from(now.unix_seconds()).unwrap_or(0);
        greatest.map_or(seconds, |greatest| seconds.max(greatest.saturating_add(1)))
    }

    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidImageName`] if the text breaks the invariant of the type.
    pub fn parse(text: &str) -> Result<Self, InvalidImageName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_segment = text.len() <= MAX_CHARS && !text.starts_with('.') && text.bytes().all(is_allowed);
        let (_, extension) = text.rsplit_once('.').filter(|_| is_segment).ok_or(InvalidImageName)?;
        let kind = ImageKind::from_extension(extension).ok_or(InvalidImageName)?;
        Ok(Self { text: CompactString::from(text), kind })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The format, from the extension.
    #[must_use]
    pub fn kind(&self) -> ImageKind {
        self.kind
    }

    /// The number at the start of the name; `None` if there is none. A number that is too large
    /// counts as the largest one.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        let digits = self.digits();
        (!digits.is_empty()).then(|| digits.parse().unwrap_or(u128::MAX))
    }

    /// The digits at the start of the name.
    fn digits(&self) -> &str {
        let end = self.text.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.text.len());
        &self.text[..end]
    }
}

impl Ord for ImageName {
    fn cmp(&self, other: &Self) -> Ordering {
        // Numbers may have any length. Without leading zeros, the longer one is the greater one.
        fn key(name: &ImageName) -> Option<(usize, &str)> {
            let digits = name.digits();
            let significant = digits.trim_start_matches('0');
            (!digits.is_empty()).then_some((significant.len(), significant))
        }
        key(self).cmp(&key(other)).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for ImageName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    #[test]
    fn a_new_name_has_the_documented_form_and_parses() {
        let image = ImageName::new(1_733_511_234, 0xa1b2_c3d4, ImageKind::Jpeg);
        assert_eq!(image.as_str(), "1733511234-a1b2c3d4.jpg");
        assert_eq!(ImageName::parse(image.as_str()), Ok(image));
        assert_eq!(ImageName::new(7, 1, ImageKind::Png).as_str(), "0000000007-00000001.png");
        for kind in ImageKind::ALL {
            assert_eq!(ImageName::new(1_733_511_234, 1, kind).kind(), kind);
        }
    }

    #[test]
    fn names_of_other_programs_are_image_names() {
        for (text, kind, number) in [
            ("1733511234-a1b2.png", ImageKind::Png, Some(1_733_511_234)),
            ("1733512000-e5f6g7h8.jpg", ImageKind::Jpeg, Some(1_733_512_000)),
            ("1765045165-e1c0e532-f30d-465a-b60b-d205f7647b0e.png", ImageKind::Png, Some(1_765_045_165)),
            ("1733513000-xyz123.webp", ImageKind::WebP, Some(1_733_513_000)),
            ("1733511234567.jpeg", ImageKind::Jpeg, Some(1_733_511_234_567)),
            ("IMG_0001.JPG", ImageKind::Jpeg, None),
            ("me.at.home.PNG", ImageKind::Png, None),
            ("-.webp", ImageKind::WebP, None),
            ("01-a1b2c3d4.png", ImageKind::Png, Some(1)),
            ("99999999999999999999-1.png", ImageKind::Png, Some(99_999_999_999_999_999_999)),
            ("9999999999999999999999999999999999999999-1.png", ImageKind::Png, Some(u128::MAX)),
        ] {
            assert_eq!((name(text).kind(), name(text).number()), (kind, number), "{text}");
        }
        assert!(ImageName::parse(&format!("{}.png", "x".repeat(124))).is_ok());
    }

    #[test]
    fn a_text_that_is_no_safe_segment_or_has_another_extension_is_not_an_image_name() {
        let too_long = format!("{}.png", "x".repeat(125));
        for bad in [
            "",
            "png",
            ".png",
            "..png",
            "../profile.json",
            "profile.json",
            "1733511234-a1b2c3d4.gif",
            "1733511234-a1b2c3d4",
            "1733511234-a1b2c3d4.png/",
            "1733511234-a1b2c3d4.png ",
            "a b.png",
            "ä.png",
            "a\\b.png",
            "a\0.png",
            &too_long,
        ] {
            assert_eq!(ImageName::parse(bad), Err(InvalidImageName), "{bad:?}");
        }
    }

    #[test]
    fn names_are_ordered_by_their_number_and_then_by_text() {
        let ordered = [
            "avatar.png",
            "me.png",
            "0-a.png",
            "999-a.png",
            "1000-a.png",
            "01733511234-b.png",
            "1733511234-a.png",
            "1733511234-b.png",
            "9999999999-a.png",
            "10000000000-a.png",
            "1733511234567-a.png",
            "99999999999999999999-1.png",
            "100000000000000000000-1.png",
        ];
        let mut names: Vec<ImageName> = ordered.iter().rev().map(|text| name(text)).collect();
        names.sort_unstable();
        assert_eq!(names.iter().map(ImageName::as_str).collect::<Vec<_>>(), ordered);
    }

    #[test]
    fn the_number_of_a_new_image_is_the_time_unless_a_greater_one_exists() {
        let now = WallMs::new(1_733_511_234_567);
        for (greatest, number) in [
            (None, 1_733_511_234),
            (Some(7), 1_733_511_234),
            (Some(1_733_511_233), 1_733_511_234),
            (Some(1_733_511_234), 1_733_511_235),
            (Some(1_765_045_165), 1_765_045_166),
            (Some(u128::MAX), u128::MAX),
        ] {
            assert_eq!(ImageName::next_number(now, greatest), number, "{greatest:?}");
        }
        assert_eq!(ImageName::next_number(WallMs::new(-5000), None), 0);
    }

    proptest! {
        #[test]
        fn the_order_is_total_and_agrees_with_equality(
            names in prop::collection::vec("0{0,2}[0-9]{0,3}[ab]?\\.(png|jpg)", 3)
        ) {
            let names: Vec<ImageName> = names.iter().filter_map(|text| ImageName::parse(text).ok()).collect();
            for one in &names {
                for other in &names {
                    prop_assert_eq!(one.cmp(other), other.cmp(one).reverse());
                    prop_assert_eq!(one.cmp(other).is_eq(), one == other);
                    for third in &names {
                        prop_assert!(!(one <= other && other <= third) || one <= third);
                    }
                }
            }
        }

        #[test]
        fn a_new_name_comes_after_the_name_with_the_number_before(number in 0..u128::MAX, unique: u32, other: u32) {
            let before = ImageName::new(number, unique, ImageKind::Png);
            prop_assert!(before < ImageName::new(number + 1, other, ImageKind::Jpeg));
            prop_assert_eq!(before.number(), Some(number));
        }
    }
}
