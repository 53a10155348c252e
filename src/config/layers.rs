//! Layers of setting values: command line over environment over file over defaults.
//!
//! This module knows the type and the origin of a value, but not its meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::ConfigError;
use super::origin::Origin;
use super::setting::Setting;

/// Largest number of characters of a value that an error shows.
const MAX_SHOWN_CHARS: usize = 80;

/// Description of a valid path, for errors.
pub(super) const EXPECTED_PATH: &str = "a path in quotes";

/// Text that an error shows in place of a secret.
const NOT_SHOWN: &str = "a value that is not shown here";

/// Text of a value that looks like a secret.
const MAYBE_SECRET: &str = "a value that is not shown, because it may hold a secret";

/// A value and the place where it was given.
#[derive(Clone, Debug)]
pub(super) struct WithOrigin<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
    /// The value as the user wrote it, for errors.
    source_text: String,
}

/// A value before it is converted to the type of its setting.
#[derive(Clone, Debug)]
pub(super) enum RawValue {
    /// From a source in which every value is text: defaults, environment, command line, YAML.
    /// Commas separate the items of a list.
    Untyped(String),
    /// A text of a typed source.
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<WithOrigin<RawValue>>),
    /// A type that no setting has, such as a date or a negative number.
    Other,
}

/// The values of one source, by the keys of their settings.
pub(super) type Layer = BTreeMap<&'static str, WithOrigin<RawValue>>;

/// Which values of a setting are validated if several layers have one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ValidationScope {
    /// Only the value of the layer with the highest priority.
    Winner,
    /// Every value.
    All,
}

/// The layers of one configuration.
pub(super) struct Layers {
    /// In descending priority.
    layers: [Layer; 4],
    validation: ValidationScope,
}

/// The layer of the command line. Each item is a setting key, its text and its origin.
pub(super) fn command_line(texts: impl IntoIterator<Item = (&'static str, String, Origin)>) -> Layer {
    texts.into_iter().map(|(key, text, origin)| (key, WithOrigin::untyped(text, &origin))).collect()
}

/// The layer of the environment. An empty variable counts as unset: `export API_PORT=` in a script
/// means the default.
pub(super) fn environment(
    settings: &[&'static Setting],
    env: &dyn Fn(&str) -> Option<String>,
    origin: impl Fn(&'static str) -> Origin,
) -> Layer {
    let value = |setting: &&'static Setting| {
        let given = |name| env(name).filter(|text| !text.is_empty()).map(|text| (name, text));
        let (name, text) = setting.env_names().find_map(given)?;
        Some((setting.key, WithOrigin::untyped(text, &origin(name))))
    };
    settings.iter().filter_map(value).collect()
}

/// The layer of the defaults.
fn defaults(settings: &[&'static Setting]) -> Layer {
    let value = |setting: &&'static Setting| {
        let text = setting.default?.to_owned();
        Some((setting.key, WithOrigin::untyped(text, &Origin::Default(setting.key))))
    };
    settings.iter().filter_map(value).collect()
}

impl Layers {
    pub(super) fn new(
        settings: &[&'static Setting],
        validation: ValidationScope,
        command_line: Layer,
        environment: Layer,
        file: Layer,
    ) -> Self {
        Self { layers: [command_line, environment, file, defaults(settings)], validation }
    }

    /// Reads a setting that is one text.
    pub(super) fn text(&self, setting: &Setting, expected: &str) -> Result<Option<WithOrigin<String>>, ConfigError> {
        self.read(setting, |given| text(setting, given, expected))
    }

    /// Reads a setting whose text `T` parses.
    pub(super) fn parsed<T: FromStr>(
        &self,
        setting: &Setting,
        expected: &str,
    ) -> Result<Option<WithOrigin<T>>, ConfigError> {
        self.parsed_by(setting, expected, |text| text.parse().ok())
    }

    /// Reads a setting whose text `parse` converts.
    pub(super) fn parsed_by<T>(
        &self,
        setting: &Setting,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<WithOrigin<T>>, ConfigError> {
        self.read(setting, |given| {
            parse(&text(setting, given, expected)?).ok_or_else(|| given.invalid(setting, expected))
        })
    }

    /// Reads a setting that is a path and has a default. The path must not be empty.
    pub(super) fn path(&self, setting: &Setting) -> Result<PathBuf, ConfigError> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let found = self.parsed_by(setting, EXPECTED_PATH, path)?;
        Ok(with_default(found).value)
    }

    /// Reads a setting that is a number from 1 to `max` and has a default.
    pub(super) fn number(&self, setting: &Setting, max: u64) -> Result<WithOrigin<u64>, ConfigError> {
        Ok(with_default(self.read_number(setting, max)?))
    }

    /// Reads a setting that is a number from 1 to `max`. Its default depends on other settings.
    pub(super) fn number_if_given(&self, setting: &Setting, max: u64) -> Result<Option<u64>, ConfigError> {
        Ok(self.read_number(setting, max)?.map(|given| given.value))
    }

    fn read_number(&self, setting: &Setting, max: u64) -> Result<Option<WithOrigin<u64>>, ConfigError> {
        self.read(setting, |given| {
            let number = match &given.value {
                // Digits only: the standard parser accepts a leading `+`.
                RawValue::Untyped(text) => {
                    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
                }
                RawValue::Number(number) => Some(*number),
                RawValue::Text(_) | RawValue::Bool(_) | RawValue::List(_) | RawValue::Other => None,
            };
            let number = number.filter(|number| (1..=max).contains(number));
            number.ok_or_else(|| given.invalid(setting, format!("a whole number from 1 to {max}")))
        })
    }

    /// Reads a setting that is `true` or `false` and has a default.
    pub(super) fn bool(&self, setting: &Setting) -> Result<bool, ConfigError> {
        let found = self.read(setting, |given| match &given.value {
            RawValue::Bool(value) => Ok(*value),
            RawValue::Untyped(text) if text == "true" => Ok(true),
            RawValue::Untyped(text) if text == "false" => Ok(false),
            _ => Err(given.invalid(setting, "true or false")),
        })?;
        Ok(with_default(found).value)
    }

    /// Reads a setting that is a list of texts. In an untyped source, commas separate them.
    pub(super) fn list(
        &self,
        setting: &Setting,
        expected: &str,
    ) -> Result<Option<WithOrigin<Vec<WithOrigin<String>>>>, ConfigError> {
        self.read(setting, |given| items(setting, given, expected))
    }

    /// Reads a setting that is a list of texts, and converts each with `parse`.
    pub(super) fn list_by<T>(
        &self,
        setting: &Setting,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let item = |item: &WithOrigin<String>| parse(&item.value).ok_or_else(|| item.invalid(setting, expected));
        let found = self.read(setting, |given| items(setting, given, expected)?.iter().map(item).collect())?;
        Ok(found.map(|given| given.value).unwrap_or_default())
    }

    /// The value of the layer with the highest priority.
    ///
    /// # Errors
    /// The first invalid value among those that are validated.
    fn read<T>(
        &self,
        setting: &Setting,
        read: impl Fn(&WithOrigin<RawValue>) -> Result<T, ConfigError>,
    ) -> Result<Option<WithOrigin<T>>, ConfigError> {
        let mut found = None;
        for given in self.layers.iter().filter_map(|layer| layer.get(setting.key)) {
            let mut given = given.clone();
            if setting.is_secret {
                NOT_SHOWN.clone_into(&mut given.source_text);
            }
            let value = given.with(read(&given)?);
            found.get_or_insert(value);
            if self.validation == ValidationScope::Winner {
                break;
            }
        }
        Ok(found)
    }
}

/// The value of a setting that has a default.
pub(super) fn with_default<T>(found: Option<WithOrigin<T>>) -> WithOrigin<T> {
    found.expect("the layer of defaults has a value")
}

impl<T> WithOrigin<T> {
    /// Creates a value from a file. `source_text` is the value as the file writes it.
    pub(super) fn of_file(value: T, origin: Origin, source_text: &str) -> Self {
        Self { value, origin, source_text: shown(source_text) }
    }

    /// Another value with the same origin.
    pub(super) fn with<U>(&self, value: U) -> WithOrigin<U> {
        WithOrigin { value, origin: self.origin.clone(), source_text: self.source_text.clone() }
    }

    /// Creates the error for an invalid value. `expected` describes valid values.
    pub(super) fn invalid(&self, setting: &Setting, expected: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            origin: self.origin.clone(),
            key: setting.key,
            given: self.source_text.clone(),
            expected: expected.into(),
        }
    }
}

impl WithOrigin<RawValue> {
    /// A value of an untyped source.
    pub(super) fn untyped(text: String, origin: &Origin) -> Self {
        let source_text = shown(&format!("{text:?}"));
        Self { value: RawValue::Untyped(text), origin: origin.clone(), source_text }
    }
}

impl WithOrigin<String> {
    /// Parses the text.
    pub(super) fn parse<T: FromStr>(&self, setting: &Setting, expected: &str) -> Result<WithOrigin<T>, ConfigError> {
        self.value.parse().map(|value| self.with(value)).map_err(|_| self.invalid(setting, expected))
    }
}

fn text(setting: &Setting, given: &WithOrigin<RawValue>, expected: &str) -> Result<String, ConfigError> {
    match &given.value {
        RawValue::Untyped(text) | RawValue::Text(text) => Ok(text.clone()),
        RawValue::Number(_) | RawValue::Bool(_) | RawValue::List(_) | RawValue::Other => {
            Err(given.invalid(setting, expected))
        }
    }
}

fn items(
    setting: &Setting,
    given: &WithOrigin<RawValue>,
    expected: &str,
) -> Result<Vec<WithOrigin<String>>, ConfigError> {
    let of_list = |item: &WithOrigin<RawValue>| match &item.value {
        RawValue::Untyped(texts) => Ok(split_at_commas(texts, &item.origin)),
        _ => Ok(vec![item.with(text(setting, item, expected)?)]),
    };
    match &given.value {
        RawValue::Untyped(texts) => Ok(split_at_commas(texts, &given.origin)),
        RawValue::List(items) => Ok(items.iter().map(of_list).collect::<Result<Vec<_>, _>>()?.concat()),
        RawValue::Text(_) | RawValue::Number(_) | RawValue::Bool(_) | RawValue::Other => {
            Err(given.invalid(setting, expected))
        }
    }
}

fn split_at_commas(texts: &str, origin: &Origin) -> Vec<WithOrigin<String>> {
    let texts = texts.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| WithOrigin::untyped(text.to_owned(), origin).with(text.to_owned())).collect()
}

/// The text of a value for an error. A value that looks like a URL with a password, or like a key
/// of a store, is not shown.
fn shown(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let contains_after = |start: &str, end| lower.split_once(start).is_some_and(|(_, rest)| rest.contains(end));
    let is_key = ["sig=", "signature=", "accountkey=", "accesskey"].iter().any(|word| lower.contains(word))
        || lower.trim_end_matches('"').ends_with("==");
    if is_key || contains_after(":", '@') || contains_after("://", '?') {
        return MAYBE_SECRET.to_owned();
    }
    truncate(text)
}

/// The text on one line, cut to [`MAX_SHOWN_CHARS`].
pub(super) fn truncate(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_SHOWN_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
