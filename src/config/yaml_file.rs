//! Layer of a YAML file. JSON is read, too: it is YAML. Each value is the text that stands there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter, with_deserializer_from_str};

use super::error::ConfigError;
use super::keys::Key;
use super::layers::{Given, Layer, Raw, cut};
use super::origin::Origin;
use rollcall_core::escape::sanitize_line;

/// The most characters that are repeated of what the parser says.
const MAX_MESSAGE_CHARS: usize = 400;

/// The values of the file's text; `name` is what errors call the file. An unknown key is an error, because a misspelt
/// setting that is ignored is a setting lost.
pub(super) fn parse(keys: &[&'static Key], name: &str, text: &str) -> Result<Layer, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Layer::new());
    }
    let file = File { keys, name };
    with_deserializer_from_str(text, |yaml| yaml.deserialize_map(file)).unwrap_or_else(|error| {
        // The parser repeats the file's own words, however long they are.
        let message = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        Err(ConfigError::NotYaml { name: name.to_owned(), message: sanitize_line(&message, MAX_MESSAGE_CHARS) })
    })
}

struct File<'a> {
    keys: &'a [&'static Key],
    name: &'a str,
}

impl File<'_> {
    fn origin(&self, at: Location) -> Origin {
        Origin::File { name: self.name.to_owned(), line: usize::try_from(at.line()).unwrap_or(usize::MAX) }
    }

    fn unknown(&self, key: &Spanned<String>) -> ConfigError {
        let names: Vec<_> = self.keys.iter().map(|key| key.name).collect();
        let origin = self.origin(key.referenced);
        ConfigError::UnknownSetting { origin, key: cut(&key.value), names: names.join(", ") }
    }

    /// A value; `None` for YAML's `null`.
    fn value<'de, A: MapAccess<'de>>(&self, map: &mut A, key: &Key) -> Result<Option<Given<Raw>>, A::Error> {
        let untyped = |text: Spanned<String>| Given::untyped(text.value, &self.origin(text.referenced));
        if !key.is_list {
            return Ok(map.next_value::<Option<Spanned<String>>>()?.map(untyped));
        }
        let Some(list) = map.next_value::<Option<Spanned<Items>>>()? else { return Ok(None) };
        let origin = self.origin(list.referenced);
        Ok(Some(match list.value {
            Items::One(text) => Given::untyped(text, &origin),
            Items::Many(texts) => {
                let written = texts.iter().map(|text| text.value.as_str()).collect::<Vec<_>>().join(",");
                Given::of_file(Raw::List(texts.into_iter().map(untyped).collect()), origin, &format!("{written:?}"))
            }
        }))
    }
}

impl<'de> Visitor<'de> for File<'_> {
    /// An unknown key is told after the whole file was read: first of all it has to be YAML.
    type Value = Result<Layer, ConfigError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, each as `key: value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut unknown) = (Layer::new(), None);
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let Some(known) = self.keys.iter().find(|known| known.name == key.value) else {
                map.next_value::<IgnoredAny>()?;
                unknown.get_or_insert_with(|| self.unknown(&key));
                continue;
            };
            // What the parser says names the line and not the key.
            let value = self.value(&mut map, known);
            let value = value.map_err(|error| A::Error::custom(format!("{}: {error}", known.name)))?;
            values.extend(value.map(|value| (known.name, value)));
        }
        Ok(unknown.map_or(Ok(values), Err))
    }
}

/// A list, or the only one on it.
enum Items {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Items, E> {
        Ok(Items::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Items::Many(items))
    }
}
