//! JSON form of an address that may be missing: text, which is empty without an address.
//!
//! Typed clients expect a string in every list. Older servers sent `null`, so that is read too.

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Addr;

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(super) fn serialize<S: Serializer>(addr: &Option<Addr>, serializer: S) -> Result<S::Ok, S::Error> {
    match addr {
        Some(addr) => addr.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Addr>, D::Error> {
    let text = Option::<super::CowStr>::deserialize(deserializer)?;
    let addr = text.filter(|text| !text.0.is_empty());
    addr.map(|text| Addr::deserialize((*text.0).into_deserializer())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(with = "super", default)]
        addr: Option<Addr>,
    }

    #[test]
    fn a_missing_address_is_written_as_empty_text_and_read_from_empty_text_null_and_no_field() {
        assert_eq!(serde_json::to_string(&Row { addr: None }).unwrap(), r#"{"addr":""}"#);
        for text in [r#"{"addr":""}"#, r#"{"addr":null}"#, "{}"] {
            assert_eq!(serde_json::from_str::<Row>(text).unwrap(), Row { addr: None }, "{text}");
        }
    }

    #[test]
    fn an_address_is_written_and_read_as_its_text() {
        for text in [r#"{"addr":"10.0.0.7:9000"}"#, r#"{"addr":"[fe80::1]:1"}"#] {
            let row: Row = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&row).unwrap(), text);
        }
        let row: Row = serde_json::from_reader(br#"{"addr":"10.0.0.7:9\u0030"}"#.as_slice()).unwrap();
        assert_eq!(row.addr.unwrap().to_string(), "10.0.0.7:90");
        for text in [r#"{"addr":" "}"#, r#"{"addr":"10.0.0.7"}"#, r#"{"addr":7}"#] {
            assert!(serde_json::from_str::<Row>(text).is_err(), "{text}");
        }
    }
}
