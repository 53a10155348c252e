//! Layer of a TOML file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{Key, nearest};
use super::layers::{Given, Layer, Raw, cut};
use super::origin::Origin;

/// The values of the file's text; `name` is what errors call the file. An unknown key is an error, because a misspelt
/// setting that is ignored is a setting lost.
pub(super) fn parse(keys: &[&'static Key], name: &str, text: &str) -> Result<Layer, ConfigError> {
    let origin = |at: usize| Origin::File { name: name.to_owned(), line: line(text, at) };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: origin(error.span().map_or(0, |span| span.start)),
        message: error.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    let mut values = Layer::new();
    for (key, value) in table.get_ref() {
        let spelling = key.get_ref().as_ref();
        let Some(known) = keys.iter().find(|known| known.name == spelling) else {
            return Err(ConfigError::UnknownKey {
                origin: origin(key.span().start),
                key: cut(spelling),
                nearest: nearest(keys, spelling),
            });
        };
        values.insert(known.name, raw(text, value, &origin));
    }
    Ok(values)
}

fn raw(text: &str, value: &Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Given<Raw> {
    let span = value.span();
    let value = match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(digits) => {
            u64::from_str_radix(digits.as_str(), digits.radix()).map_or(Raw::Other, Raw::Number)
        }
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(text, item, origin)).collect()),
        DeValue::Boolean(value) => Raw::Switch(*value),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Raw::Other,
    };
    let written = match value {
        Raw::Other if text.as_bytes().get(span.start) == Some(&b'[') => "a table",
        _ => text.get(span.clone()).unwrap_or_default(),
    };
    Given::of_file(value, origin(span.start), written)
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}
