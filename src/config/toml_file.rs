//! Reader of a TOML file: converts it to a layer of the configuration.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::layers::{Layer, RawValue, WithOrigin, truncate};
use super::origin::Origin;
use super::setting::{Setting, nearest_key};

/// The values in the text of a file. `name` is the file's name in errors. An unknown key is an
/// error: a misspelt setting must not be ignored.
pub(super) fn parse(settings: &[&'static Setting], name: &str, text: &str) -> Result<Layer, ConfigError> {
    let origin = |at: usize| Origin::File { name: name.to_owned(), line: line(text, at) };
    let table = DeTable::parse(text).map_err(|error| ConfigError::InvalidToml {
        origin: origin(error.span().map_or(0, |span| span.start)),
        message: error.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    let mut values = Layer::new();
    for (key, value) in table.get_ref() {
        let spelling = key.get_ref().as_ref();
        let Some(setting) = settings.iter().find(|setting| setting.key == spelling) else {
            return Err(ConfigError::UnknownKey {
                origin: origin(key.span().start),
                key: truncate(spelling),
                nearest: nearest_key(settings, spelling),
            });
        };
        values.insert(setting.key, raw_value(text, value, &origin));
    }
    Ok(values)
}

/// The value at this place of the file, not yet parsed as a setting.
fn raw_value(text: &str, value: &Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> WithOrigin<RawValue> {
    let span = value.span();
    let value = match value.get_ref() {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(digits) => {
            u64::from_str_radix(digits.as_str(), digits.radix()).map_or(RawValue::Other, RawValue::Number)
        }
        DeValue::Array(items) => RawValue::List(items.iter().map(|item| raw_value(text, item, origin)).collect()),
        DeValue::Boolean(value) => RawValue::Bool(*value),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => RawValue::Other,
    };
    let source_text = match value {
        RawValue::Other if text.as_bytes().get(span.start) == Some(&b'[') => "a table",
        _ => text.get(span.clone()).unwrap_or_default(),
    };
    WithOrigin::of_file(value, origin(span.start), source_text)
}

/// The line of the byte at this offset, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}
