//! Metadata: a small public JSON object that a user gives at registration.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::value::RawValue;
use thiserror::Error;

/// Deepest nesting of objects and arrays, the metadata object included. JSON parsers have a depth
/// limit (64 and 128 are usual), and a list of users adds levels of its own.
const MAX_LEVELS: usize = 16;

/// Largest metadata of a new user as JSON, in bytes. Each list of users contains the metadata of
/// all users.
const MAX_NEW_BYTES: usize = 4096;

/// Longest text that is parsed, in bytes. Spaces and escapes make a text longer than its canonical
/// form. The body of a request is not longer.
const MAX_PARSED_BYTES: usize = 64 * 1024;

/// Public JSON object of a user. Cheap to clone.
///
/// Invariant: JSON with sorted keys and without spaces, at most 16 levels deep, at
/// most 16 KiB, and no duplicate key in an object. An empty object is stored as `None` to save
/// memory, because most users have none.
#[derive(Clone, Debug, Default)]
pub struct Metadata(Option<Arc<RawValue>>);

/// Metadata field of a request: a JSON object that was checked while it was parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataInput {
    /// The object is valid metadata.
    Valid(Metadata),
    /// The object is valid JSON but breaks a rule.
    Invalid(InvalidMetadata),
}

/// The object is not valid metadata. The message says which rule it breaks, and what is right.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum InvalidMetadata {
    /// Objects and arrays are nested too deeply.
    #[error("Invalid \"metadata\": it has {} or more levels of objects and arrays in each other; at most {MAX_LEVELS} are accepted", MAX_LEVELS + 1)]
    TooDeep,
    /// The JSON is too long for a list of users.
    #[error("Invalid \"metadata\": it has {bytes} bytes as JSON; at most {limit} are accepted")]
    TooLarge {
        /// Size as JSON without spaces, in bytes.
        bytes: usize,
        /// The largest size accepted, in bytes.
        limit: usize,
    },
    /// An object contains one key twice, so its value is ambiguous.
    #[error("Invalid \"metadata\": the key {key:?} comes twice in one object; give each key once")]
    DuplicateKey {
        /// The key, cut to 80 characters.
        key: String,
    },
}

/// The text is no metadata.
#[derive(Debug, Error)]
enum MetadataError {
    #[error(transparent)]
    Rule(#[from] InvalidMetadata),
    /// Not an object, or not JSON that a JSON parser can read.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl MetadataInput {
    /// The valid metadata, or the error.
    ///
    /// # Errors
    /// [`InvalidMetadata`] if the object breaks a rule of [`Metadata`].
    pub fn into_result(self) -> Result<Metadata, InvalidMetadata> {
        match self {
            Self::Valid(metadata) => Ok(metadata),
            Self::Invalid(invalid) => Err(invalid),
        }
    }
}

impl Metadata {
    /// Largest metadata as JSON, in bytes. Profiles of other programs may have more than new ones.
    /// The metadata of one user must fit into one message between nodes, beside other rows.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Reads JSON text of a stored profile or of another node.
    ///
    /// # Errors
    /// The reason in words, if the text is not a JSON object or breaks a rule of [`Metadata`].
    pub fn from_stored(json: &str) -> Result<Self, String> {
        Self::parse(json).map_err(|error| error.to_string())
    }

    /// Whether the object has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The object as JSON text without spaces.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.as_ref().map_or("{}", |json| json.get())
    }

    /// Checks the rule for the metadata of a new user: at most 4096 bytes as JSON.
    ///
    /// # Errors
    /// [`InvalidMetadata::TooLarge`] if it is longer.
    pub fn check_new(&self) -> Result<(), InvalidMetadata> {
        check_size(self.as_json(), MAX_NEW_BYTES)
    }

    fn parse(json: &str) -> Result<Self, MetadataError> {
        // A huge text is not parsed at all, because that takes long: each level is read again.
        check_size(json, MAX_PARSED_BYTES)?;
        let canonical = canonical_object(json)?;
        check_size(&canonical, Self::MAX_BYTES)?;
        let is_empty = canonical == "{}";
        Ok(Self(if is_empty { None } else { Some(RawValue::from_string(canonical)?.into()) }))
    }
}

fn check_size(json: &str, limit: usize) -> Result<(), InvalidMetadata> {
    let bytes = json.len();
    if bytes > limit { Err(InvalidMetadata::TooLarge { bytes, limit }) } else { Ok(()) }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl<'de> Deserialize<'de> for MetadataInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        match Metadata::parse(json.get()) {
            Ok(metadata) => Ok(Self::Valid(metadata)),
            Err(MetadataError::Rule(invalid)) => Ok(Self::Invalid(invalid)),
            Err(MetadataError::Json(error)) => Err(D::Error::custom(error)),
        }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_stored(Box::<RawValue>::deserialize(deserializer)?.get()).map_err(D::Error::custom)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(object) => object.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

impl Serialize for MetadataInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Valid(metadata) => metadata.serialize(serializer),
            Self::Invalid(invalid) => Err(ser::Error::custom(invalid)),
        }
    }
}

/// The canonical form of a JSON object: no spaces, keys sorted, the shortest text for each string
/// and for each number with a fraction or an exponent. An integer keeps every digit, because a
/// 64-bit or floating-point type could not hold it.
fn canonical_object(json: &str) -> Result<String, MetadataError> {
    if !json.starts_with('{') {
        let error = serde_json::Error::invalid_type(Unexpected::Other("no object"), &"an object");
        return Err(error.into());
    }
    let mut canonical = String::with_capacity(json.len());
    append_canonical(json, 1, &mut canonical)?;
    Ok(canonical)
}

/// Appends one value. `level` is its nesting level if it is an object or an array; the metadata
/// object has level 1.
fn append_canonical(json: &str, level: usize, out: &mut String) -> Result<(), MetadataError> {
    match json.as_bytes().first() {
        Some(b'{' | b'[') if level > MAX_LEVELS => return Err(InvalidMetadata::TooDeep.into()),
        Some(b'{') => {
            let Members(mut members) = serde_json::from_str(json)?;
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            if let Some([(key, _), _]) = members.array_windows().find(|[(one, _), (other, _)]| one == other) {
                return Err(InvalidMetadata::DuplicateKey { key: key.chars().take(80).collect() }.into());
            }
            out.push('{');
            for (n, (key, value)) in members.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                out.push_str(&serde_json::to_string(key)?);
                out.push(':');
                append_canonical(value.get(), level + 1, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(json)?;
            out.push('[');
            for (n, value) in values.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                append_canonical(value.get(), level + 1, out)?;
            }
            out.push(']');
        }
        Some(b'"') => out.push_str(&serde_json::to_string(&serde_json::from_str::<String>(json)?)?),
        Some(b'-' | b'0'..=b'9') => {
            // Fails for a number beyond the range of `f64`, which most JSON parsers cannot read.
            let number: f64 = serde_json::from_str(json)?;
            let is_integer = !json.contains(['.', 'e', 'E']);
            out.push_str(&if is_integer { json.to_owned() } else { serde_json::to_string(&number)? });
        }
        // `true`, `false` or `null`.
        _ => out.push_str(json),
    }
    Ok(())
}

/// The members of a JSON object in their order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Metadata, InvalidMetadata> {
        serde_json::from_str::<MetadataInput>(text).expect("an object").into_result()
    }

    fn nested(levels: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
    }

    #[test]
    fn sixteen_levels_are_accepted_and_any_deeper_nesting_is_rejected() {
        assert!(read(&nested(MAX_LEVELS)).is_ok());
        for levels in [MAX_LEVELS + 1, 100, 9000] {
            assert_eq!(read(&nested(levels)), Err(InvalidMetadata::TooDeep), "{levels}");
            let objects = "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
            assert_eq!(read(&objects), Err(InvalidMetadata::TooDeep), "{levels}");
        }
        let text = InvalidMetadata::TooDeep.to_string();
        assert!(text.contains("17") && text.contains("16"), "{text}");
    }

    #[test]
    fn metadata_of_exactly_the_byte_limit_is_accepted_and_one_more_byte_is_rejected() {
        let of = |bytes: usize| format!("{{ \"a\" : \"{}\" }}", "x".repeat(bytes - 8));
        let check_new = |bytes: usize| read(&of(bytes)).unwrap().check_new();
        assert_eq!(check_new(MAX_NEW_BYTES), Ok(()));
        let refused = check_new(MAX_NEW_BYTES + 1).unwrap_err();
        assert_eq!(refused, InvalidMetadata::TooLarge { bytes: MAX_NEW_BYTES + 1, limit: MAX_NEW_BYTES });
        assert!(refused.to_string().contains("4097 bytes") && refused.to_string().contains("4096"), "{refused}");
        assert!(Metadata::from_stored(&of(Metadata::MAX_BYTES)).is_ok());
        let spaces = " ".repeat(MAX_PARSED_BYTES - 2);
        assert!(Metadata::from_stored(&format!("{{{spaces}}}")).unwrap().is_empty());
        assert!(Metadata::from_stored(&format!("{{{spaces} }}")).is_err());
        let too_large = InvalidMetadata::TooLarge { bytes: Metadata::MAX_BYTES + 1, limit: Metadata::MAX_BYTES };
        assert_eq!(read(&of(Metadata::MAX_BYTES + 1)), Err(too_large));
    }

    #[test]
    fn a_duplicate_key_is_rejected_at_every_level() {
        for text in [r#"{"k":1,"k":1}"#, r#"{"a":[{"b":{"k":1,"j":2,"\u006b":null}}]}"#] {
            assert_eq!(read(text), Err(InvalidMetadata::DuplicateKey { key: "k".into() }), "{text}");
        }
        assert!(read(r#"{"k":{"k":1},"a":{"k":1}}"#).is_ok());
    }

    #[test]
    fn a_value_that_is_not_an_object_is_not_metadata() {
        for text in ["[]", "1", "\"x\"", "true", "null"] {
            assert!(serde_json::from_str::<MetadataInput>(text).is_err(), "{text}");
            assert!(Metadata::from_stored(text).is_err(), "{text}");
        }
    }

    #[test]
    fn integers_keep_every_digit_and_other_numbers_keep_their_value() {
        let text = r#"{"a":18446744073709551616,"b":-9223372036854775809,"c":123456789012345678901234567890,"d":9007199254740993,"e":1e2,"f":1.50,"g":-0,"h":0}"#;
        let json = r#"{"a":18446744073709551616,"b":-9223372036854775809,"c":123456789012345678901234567890,"d":9007199254740993,"e":100.0,"f":1.5,"g":-0,"h":0}"#;
        assert_eq!(read(text).unwrap().as_json(), json);
        let stored: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&stored).unwrap(), json);
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), json);
    }

    #[test]
    fn a_number_that_most_parsers_cannot_read_is_not_json() {
        for number in ["1e400", "-1e400", &"9".repeat(400)] {
            assert!(serde_json::from_str::<MetadataInput>(&format!("{{\"n\":[{number}]}}")).is_err(), "{number}");
        }
    }

    #[test]
    fn equal_objects_are_equal_in_any_order_and_notation() {
        let one = read(r#"{"a":1,"b":{"c":"é","d":[1.0,true]},"/":null}"#).unwrap();
        let other = read(r#" { "b" : {"d":[ 1.0e0,true ],"c":"\u00e9"}, "\/":null, "a":1 } "#.trim()).unwrap();
        assert_eq!(one, other);
        for different in [r#"{"a":1.0,"b":{"c":"é","d":[1.0,true]},"/":null}"#, "{}"] {
            assert_ne!(one, read(different).unwrap());
        }
    }

    proptest! {
        #[test]
        fn metadata_is_parsed_like_any_other_json(number in any::<f64>(), whole in any::<i64>(), text in "\\PC{0,20}") {
            let object = serde_json::json!({"n": number, "w": [whole, whole.unsigned_abs(), null, true], "t": {"t": text}});
            let read = read(&object.to_string()).unwrap();
            prop_assert_eq!(read.as_json(), object.to_string());
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), object);
        }
    }
}
