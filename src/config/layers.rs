//! Layered values: command line over environment over file. Knows types and lines, not what a value means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::ConfigError;
use super::keys::Key;
use super::origin::Origin;

/// The longest piece of a value that an error repeats.
const MAX_REPEATED_CHARS: usize = 80;

/// What a path is.
pub(super) const RIGHT_PATH: &str = "a path in quotes";

/// What an error says instead of a secret.
const NOT_SHOWN: &str = "a value that is not shown here";

/// A value and where it was given.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
    /// The value as the user wrote it, for errors.
    written: String,
}

/// A value before its type is asked for.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// From where everything is text: the environment, the command line, YAML. Commas separate the items of a list.
    Untyped(String),
    /// A text that was written as one.
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<Given<Raw>>),
    /// Something that no setting takes, such as a date or a negative number.
    Other,
}

/// The values of one place, by the name of their setting.
pub(super) type Layer = BTreeMap<&'static str, Given<Raw>>;

/// Which values of a setting are checked if several layers have one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Check {
    /// The one that wins.
    Winner,
    /// All of them.
    All,
}

/// The three places where a setting may stand.
pub(super) struct Layers {
    /// From the one that wins down.
    layers: [Layer; 3],
    check: Check,
}

/// The layer of the command line: texts by the name of their setting, with their origin.
pub(super) fn command_line(texts: impl IntoIterator<Item = (&'static str, String, Origin)>) -> Layer {
    texts.into_iter().map(|(name, text, origin)| (name, Given::untyped(text, &origin))).collect()
}

/// The layer of the environment. An empty variable counts as unset: `export API_PORT=` in a script means "the default".
pub(super) fn environment(
    keys: &[&'static Key],
    variable: &dyn Fn(&str) -> Option<String>,
    origin: impl Fn(&'static Key) -> Origin,
) -> Layer {
    let given = |key: &&'static Key| {
        let text = variable(key.variable).filter(|text| !text.is_empty())?;
        Some((key.name, Given::untyped(text, &origin(key))))
    };
    keys.iter().filter_map(given).collect()
}

impl Layers {
    pub(super) fn new(check: Check, command_line: Layer, environment: Layer, file: Layer) -> Self {
        Self { layers: [command_line, environment, file], check }
    }

    /// A setting that is one text.
    pub(super) fn text(&self, key: &Key, right: &str) -> Result<Option<Given<String>>, ConfigError> {
        self.read(key, |given| text(key, given, right))
    }

    /// A setting that is a text with a rule of its own.
    pub(super) fn parsed<T: FromStr>(&self, key: &Key, right: &str) -> Result<Option<Given<T>>, ConfigError> {
        self.parsed_by(key, right, |text| text.parse().ok())
    }

    /// A setting that is a text with the rule of `parse`.
    pub(super) fn parsed_by<T>(
        &self,
        key: &Key,
        right: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Given<T>>, ConfigError> {
        self.read(key, |given| parse(&text(key, given, right)?).ok_or_else(|| given.invalid(key, right)))
    }

    /// A setting that is a path, which is not empty.
    pub(super) fn path(&self, key: &Key, default: &str) -> Result<PathBuf, ConfigError> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let found = self.parsed_by(key, RIGHT_PATH, path)?;
        Ok(found.map_or_else(|| PathBuf::from(default), |given| given.value))
    }

    /// A setting that is a number of at least 1 and at most `most`.
    pub(super) fn number(&self, key: &Key, most: u64, default: u64) -> Result<Given<u64>, ConfigError> {
        let found = self.read(key, |given| {
            let number = match &given.value {
                // Digits only: the standard parser would take a leading `+`.
                Raw::Untyped(text) => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
                Raw::Number(number) => Some(*number),
                Raw::Text(_) | Raw::Switch(_) | Raw::List(_) | Raw::Other => None,
            };
            let number = number.filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| given.invalid(key, format!("a whole number from 1 to {most}")))
        })?;
        let origin = Origin::Default(key.name);
        Ok(found.unwrap_or_else(|| Given { value: default, origin, written: default.to_string() }))
    }

    /// A setting that is yes or no.
    pub(super) fn switch(&self, key: &Key, default: bool) -> Result<bool, ConfigError> {
        let found = self.read(key, |given| match &given.value {
            Raw::Switch(value) => Ok(*value),
            Raw::Untyped(text) if text == "true" => Ok(true),
            Raw::Untyped(text) if text == "false" => Ok(false),
            _ => Err(given.invalid(key, "true or false")),
        })?;
        Ok(found.map_or(default, |given| given.value))
    }

    /// A setting that is a list of texts; where everything is text, they are separated by commas.
    pub(super) fn list(&self, key: &Key, right: &str) -> Result<Option<Given<Vec<Given<String>>>>, ConfigError> {
        self.read(key, |given| items(key, given, right))
    }

    /// A setting that is a list of texts, each with the rule of `parse`.
    pub(super) fn list_by<T>(
        &self,
        key: &Key,
        right: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let item = |item: &Given<String>| parse(&item.value).ok_or_else(|| item.invalid(key, right));
        let found = self.read(key, |given| items(key, given, right)?.iter().map(item).collect())?;
        Ok(found.map(|given| given.value).unwrap_or_default())
    }

    /// The value that wins. Fails at the first wrong one of those that are checked.
    fn read<T>(
        &self,
        key: &Key,
        read: impl Fn(&Given<Raw>) -> Result<T, ConfigError>,
    ) -> Result<Option<Given<T>>, ConfigError> {
        let mut found = None;
        for given in self.layers.iter().filter_map(|layer| layer.get(key.name)) {
            let mut given = given.clone();
            if key.is_secret {
                NOT_SHOWN.clone_into(&mut given.written);
            }
            let value = given.with(read(&given)?);
            found.get_or_insert(value);
            if self.check == Check::Winner {
                break;
            }
        }
        Ok(found)
    }
}

impl<T> Given<T> {
    /// A value of a file; `written` is its text there.
    pub(super) fn of_file(value: T, origin: Origin, written: &str) -> Self {
        Self { value, origin, written: cut(written) }
    }

    /// Another value of the same origin.
    pub(super) fn with<U>(&self, value: U) -> Given<U> {
        Given { value, origin: self.origin.clone(), written: self.written.clone() }
    }

    /// The error that this value is not right.
    pub(super) fn invalid(&self, key: &Key, right: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            origin: self.origin.clone(),
            name: key.name,
            given: self.written.clone(),
            right: right.into(),
        }
    }
}

impl Given<Raw> {
    /// A value from where everything is text.
    pub(super) fn untyped(text: String, origin: &Origin) -> Self {
        let written = cut(&format!("{text:?}"));
        Self { value: Raw::Untyped(text), origin: origin.clone(), written }
    }
}

impl Given<String> {
    /// Reads the text as something with a rule.
    pub(super) fn parse<T: FromStr>(&self, key: &Key, right: &str) -> Result<Given<T>, ConfigError> {
        self.value.parse().map(|value| self.with(value)).map_err(|_| self.invalid(key, right))
    }
}

fn text(key: &Key, given: &Given<Raw>, right: &str) -> Result<String, ConfigError> {
    match &given.value {
        Raw::Untyped(text) | Raw::Text(text) => Ok(text.clone()),
        Raw::Number(_) | Raw::Switch(_) | Raw::List(_) | Raw::Other => Err(given.invalid(key, right)),
    }
}

fn items(key: &Key, given: &Given<Raw>, right: &str) -> Result<Vec<Given<String>>, ConfigError> {
    let of_list = |item: &Given<Raw>| match &item.value {
        Raw::Untyped(texts) => Ok(pieces(texts, &item.origin)),
        _ => Ok(vec![item.with(text(key, item, right)?)]),
    };
    match &given.value {
        Raw::Untyped(texts) => Ok(pieces(texts, &given.origin)),
        Raw::List(items) => Ok(items.iter().map(of_list).collect::<Result<Vec<_>, _>>()?.concat()),
        Raw::Text(_) | Raw::Number(_) | Raw::Switch(_) | Raw::Other => Err(given.invalid(key, right)),
    }
}

fn pieces(texts: &str, origin: &Origin) -> Vec<Given<String>> {
    let texts = texts.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts.map(|text| Given::untyped(text.to_owned(), origin).with(text.to_owned())).collect()
}

/// A text on one line and no longer than an error may repeat.
pub(super) fn cut(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_REPEATED_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
