//! Reader of a YAML file: converts it to a layer of the configuration. It also reads JSON, because
//! JSON is valid YAML. Every value is kept as the text that stands in the file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, UserMessageFormatter, with_deserializer_from_str};

use super::error::ConfigError;
use super::layers::{Layer, RawValue, WithOrigin, truncate};
use super::origin::Origin;
use super::setting::{Setting, nearest_key};
use rollcall_core::escape::sanitize_line;

/// Largest part of the parser's message that an error repeats, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

/// Key of a file that has no effect, because no setting has this name.
#[derive(Debug)]
pub(super) struct IgnoredKey {
    origin: Origin,
    key: String,
    /// The known key with the most similar spelling, if any is similar.
    nearest: Option<&'static str>,
}

impl fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, nearest } = self;
        write!(f, "{origin}: there is no setting {key:?}, so it has no effect")?;
        nearest.map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest}?"))
    }
}

/// The values in the text of a file, and the keys that have no effect. `name` is the file's name in
/// errors. An unknown key is an error, because a misspelt setting must not be ignored, unless
/// `may_ignore` says that it belongs to another program.
pub(super) fn parse(
    settings: &[&'static Setting],
    may_ignore: fn(&str) -> bool,
    name: &str,
    text: &str,
) -> Result<(Layer, Vec<IgnoredKey>), ConfigError> {
    if text.trim().is_empty() {
        return Ok((Layer::new(), Vec::new()));
    }
    let visitor = SettingsVisitor { settings, may_ignore, name };
    with_deserializer_from_str(text, |yaml| yaml.deserialize_map(visitor)).unwrap_or_else(|error| {
        // The parser's message can contain any amount of text from the file.
        let message = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        Err(ConfigError::InvalidYaml { name: name.to_owned(), message: sanitize_line(&message, MAX_MESSAGE_CHARS) })
    })
}

struct SettingsVisitor<'a> {
    settings: &'a [&'static Setting],
    may_ignore: fn(&str) -> bool,
    name: &'a str,
}

impl SettingsVisitor<'_> {
    fn origin(&self, at: Location) -> Origin {
        Origin::File { name: self.name.to_owned(), line: usize::try_from(at.line()).unwrap_or(usize::MAX) }
    }

    fn unknown(&self, key: &Spanned<String>) -> ConfigError {
        let keys: Vec<_> = self.settings.iter().map(|setting| setting.key).collect();
        let origin = self.origin(key.referenced);
        ConfigError::UnknownSetting { origin, key: truncate(&key.value), all: keys.join(", ") }
    }

    fn ignored(&self, key: &Spanned<String>) -> IgnoredKey {
        IgnoredKey {
            origin: self.origin(key.referenced),
            key: truncate(&key.value),
            nearest: nearest_key(self.settings, &key.value),
        }
    }

    /// The value of a setting. `None` for YAML's `null`.
    fn value<'de, A: MapAccess<'de>>(
        &self,
        map: &mut A,
        setting: &Setting,
    ) -> Result<Option<WithOrigin<RawValue>>, A::Error> {
        let untyped = |text: Spanned<String>| WithOrigin::untyped(text.value, &self.origin(text.referenced));
        if !setting.is_list {
            return Ok(map.next_value::<Option<Spanned<String>>>()?.map(untyped));
        }
        let Some(list) = map.next_value::<Option<Spanned<OneOrMany>>>()? else { return Ok(None) };
        let origin = self.origin(list.referenced);
        Ok(Some(match list.value {
            OneOrMany::One(text) => WithOrigin::untyped(text, &origin),
            OneOrMany::Many(texts) => {
                let source_text = texts.iter().map(|text| text.value.as_str()).collect::<Vec<_>>().join(",");
                WithOrigin::of_file(
                    RawValue::List(texts.into_iter().map(untyped).collect()),
                    origin,
                    &format!("{source_text:?}"),
                )
            }
        }))
    }
}

impl<'de> Visitor<'de> for SettingsVisitor<'_> {
    /// The inner error is an unknown key. It is returned only after the whole file was read, so
    /// that invalid YAML is reported first.
    type Value = Result<(Layer, Vec<IgnoredKey>), ConfigError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, each as `key: value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut ignored, mut unknown) = (Layer::new(), Vec::new(), None);
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let Some(setting) = self.settings.iter().find(|setting| setting.key == key.value) else {
                map.next_value::<IgnoredAny>()?;
                if (self.may_ignore)(&key.value) {
                    ignored.push(self.ignored(&key));
                } else {
                    unknown.get_or_insert_with(|| self.unknown(&key));
                }
                continue;
            };
            // The parser's message names the line, but not the key.
            let value = self.value(&mut map, setting);
            let value = value.map_err(|error| A::Error::custom(format!("{}: {error}", setting.key)))?;
            values.extend(value.map(|value| (setting.key, value)));
        }
        Ok(unknown.map_or(Ok((values, ignored)), Err))
    }
}

/// A list, or one value that stands for a list with one item.
enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

struct OneOrManyVisitor;

impl<'de> Visitor<'de> for OneOrManyVisitor {
    type Value = OneOrMany;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(OneOrMany::Many(items))
    }
}
