//! Metadata: a small public JSON object that a user gives at registration.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Deepest nesting of objects and arrays, the metadata object included. JSON parsers have a depth
/// limit (64 and 128 are usual), and a list of users adds levels of its own.
const MAX_LEVELS: usize = 16;

/// Largest metadata as JSON, in bytes. Each list of users contains the metadata of all users.
const MAX_BYTES: usize = 4096;

/// Public JSON object of a user. Cheap to clone.
///
/// Invariant: at most 16 levels deep, at most 4096 bytes as JSON without spaces, and no duplicate
/// key in an object. An empty object is stored as `None` to save memory, because most users have
/// none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(Option<Arc<Map<String, Value>>>);

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
    #[error("Invalid \"metadata\": it has {bytes} bytes as JSON; at most {MAX_BYTES} are accepted")]
    TooLarge {
        /// Size as JSON without spaces, in bytes.
        bytes: usize,
    },
    /// An object contains one key twice, so its value is ambiguous.
    #[error("Invalid \"metadata\": the key {key:?} comes twice in one object; give each key once")]
    DuplicateKey {
        /// The key, cut to 80 characters.
        key: String,
    },
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
    /// Whether the object has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<'de> Deserialize<'de> for MetadataInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut error = None;
        let object = deserializer.deserialize_map(ObjectVisitor(ValueSeed { depth: 1, error: &mut error }))?;
        if let Some(error) = error {
            return Ok(Self::Invalid(error));
        }
        let bytes = serde_json::to_vec(&object).map_err(D::Error::custom)?.len();
        if bytes > MAX_BYTES {
            return Ok(Self::Invalid(InvalidMetadata::TooLarge { bytes }));
        }
        Ok(Self::Valid(Metadata((!object.is_empty()).then(|| Arc::new(object)))))
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MetadataInput::deserialize(deserializer)?.into_result().map_err(D::Error::custom)
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

/// Deserialization seed for one JSON value with depth and duplicate checks.
///
/// It stores the first error. Objects and arrays that are nested too deeply are skipped without
/// recursion.
struct ValueSeed<'b> {
    /// Nesting level of this value if it is an object or an array; the metadata object has 1.
    depth: usize,
    error: &'b mut Option<InvalidMetadata>,
}

impl ValueSeed<'_> {
    fn child(&mut self) -> ValueSeed<'_> {
        ValueSeed { depth: self.depth + 1, error: self.error }
    }

    fn is_too_deep(&mut self) -> bool {
        if self.depth > MAX_LEVELS {
            self.error.get_or_insert(InvalidMetadata::TooDeep);
        }
        self.depth > MAX_LEVELS
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Value, A::Error> {
        if self.is_too_deep() {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut values = Vec::new();
        while let Some(value) = array.next_element_seed(self.child())? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value, A::Error> {
        if self.is_too_deep() {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        ObjectVisitor(self).visit_map(object).map(Value::Object)
    }
}

/// Visitor that accepts an object only.
struct ObjectVisitor<'b>(ValueSeed<'b>);

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            let value = object.next_value_seed(self.0.child())?;
            if values.contains_key(&key) {
                self.0.error.get_or_insert(InvalidMetadata::DuplicateKey { key: key.chars().take(80).collect() });
            }
            values.insert(key, value);
        }
        Ok(values)
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
        for levels in [MAX_LEVELS + 1, 100] {
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
        assert!(read(&of(MAX_BYTES)).is_ok());
        let refused = read(&of(MAX_BYTES + 1)).unwrap_err();
        assert_eq!(refused, InvalidMetadata::TooLarge { bytes: MAX_BYTES + 1 });
        assert!(refused.to_string().contains("4097 bytes") && refused.to_string().contains("4096"), "{refused}");
    }

    #[test]
    fn a_duplicate_key_is_rejected_at_every_level() {
        for text in [r#"{"k":1,"k":1}"#, r#"{"a":[{"b":{"k":1,"j":2,"k":null}}]}"#] {
            assert_eq!(read(text), Err(InvalidMetadata::DuplicateKey { key: "k".into() }), "{text}");
        }
        assert!(read(r#"{"k":{"k":1},"a":{"k":1}}"#).is_ok());
    }

    #[test]
    fn a_value_that_is_not_an_object_is_not_metadata() {
        for text in ["[]", "1", "\"x\"", "true"] {
            assert!(serde_json::from_str::<MetadataInput>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn metadata_is_parsed_like_any_other_json(number in any::<f64>(), whole in any::<i64>(), text in "\\PC{0,20}") {
            let object = serde_json::json!({"n": number, "w": [whole, whole.unsigned_abs(), null, true], "t": {"t": text}});
            let read = read(&object.to_string()).unwrap();
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), object);
        }
    }
}
