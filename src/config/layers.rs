//! Finds a setting's value: on the command line, else in the environment, else in the file. Knows types and lines, not
//! what a value means.

use std::collections::BTreeMap;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key};
use super::{ConfigError, Flags, Origin};

/// The longest piece of a value that an error repeats.
const MAX_REPEATED_CHARS: usize = 80;

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
enum Raw {
    /// From the environment or the command line, where everything is text.
    Untyped(String),
    Text(String),
    Number(u64),
    /// True or false in the file.
    Switch(bool),
    List(Vec<Given<Raw>>),
    /// Something that no setting takes, such as a date or a negative number.
    Other,
}

/// The three places where a setting may stand.
pub(super) struct Layers<'a> {
    file: BTreeMap<String, Given<Raw>>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    flags: &'a Flags,
}

impl<'a> Layers<'a> {
    /// Reads the file's text, if there is a file; `name` is what errors call it.
    pub(super) fn new(
        name: &str,
        text: Option<&str>,
        variable: &'a dyn Fn(&str) -> Option<String>,
        flags: &'a Flags,
    ) -> Result<Self, ConfigError> {
        let file = text.map(|text| parse(name, text)).transpose()?.unwrap_or_default();
        Ok(Self { file, variable, flags })
    }

    /// A setting that is one text.
    pub(super) fn text(&self, key: &Key, right: &str) -> Result<Option<Given<String>>, ConfigError> {
        self.find(key).map(|given| text(key, &given, right)).transpose()
    }

    /// A setting that is a text with a rule of its own.
    pub(super) fn parsed<T: FromStr>(&self, key: &Key, right: &str) -> Result<Option<Given<T>>, ConfigError> {
        self.text(key, right)?.map(|given| given.parse(key, right)).transpose()
    }

    /// A setting that is a number of at least 1 and at most `most`.
    pub(super) fn number(&self, key: &Key, most: u64, default: u64) -> Result<Given<u64>, ConfigError> {
        let Some(given) = self.find(key) else {
            return Ok(Given { value: default, origin: Origin::Default(key.name), written: default.to_string() });
        };
        let number = match &given.value {
            // Digits only: the standard parser would take a leading `+`.
            Raw::Untyped(text) => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
            Raw::Number(number) => Some(*number),
            Raw::Text(_) | Raw::Switch(_) | Raw::List(_) | Raw::Other => None,
        };
        match number {
            Some(value) if (1..=most).contains(&value) => Ok(given.with(value)),
            _ => Err(given.invalid(key, format!("a whole number from 1 to {most}"))),
        }
    }

    /// A setting that is yes or no.
    pub(super) fn switch(&self, key: &Key, default: bool) -> Result<bool, ConfigError> {
        let Some(given) = self.find(key) else { return Ok(default) };
        match &given.value {
            Raw::Switch(value) => Ok(*value),
            Raw::Untyped(text) if text == "true" => Ok(true),
            Raw::Untyped(text) if text == "false" => Ok(false),
            _ => Err(given.invalid(key, "true or false")),
        }
    }

    /// A setting that is a list of texts; outside the file they are separated by commas.
    pub(super) fn list(&self, key: &Key, right: &str) -> Result<Option<Given<Vec<Given<String>>>>, ConfigError> {
        let Some(given) = self.find(key) else { return Ok(None) };
        let items: Result<Vec<_>, _> = match &given.value {
            Raw::Untyped(texts) => {
                let texts = texts.split(',').map(str::trim).filter(|text| !text.is_empty());
                texts.map(|text| Ok(Given::untyped(text.to_owned(), &given.origin).with(text.to_owned()))).collect()
            }
            Raw::List(items) => items.iter().map(|item| text(key, item, right)).collect(),
            Raw::Text(_) | Raw::Number(_) | Raw::Switch(_) | Raw::Other => return Err(given.invalid(key, right)),
        };
        Ok(Some(given.with(items?)))
    }

    fn find(&self, key: &Key) -> Option<Given<Raw>> {
        let flag = || {
            let (name, find) = key.flag?;
            Some(Given::untyped(find(self.flags)?.clone(), &Origin::Flag(name)))
        };
        let variable = || {
            // An empty variable counts as unset: `export API_PORT=` in a script means "the default".
            let text = (self.variable)(key.variable).filter(|text| !text.is_empty())?;
            Some(Given::untyped(text, &Origin::Variable(key.variable)))
        };
        let mut found = flag().or_else(variable).or_else(|| self.file.get(key.name).cloned());
        if let Some(given) = found.as_mut().filter(|_| key.is_secret) {
            NOT_SHOWN.clone_into(&mut given.written);
        }
        found
    }
}

impl<T> Given<T> {
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
    fn untyped(text: String, origin: &Origin) -> Self {
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

fn text(key: &Key, given: &Given<Raw>, right: &str) -> Result<Given<String>, ConfigError> {
    match &given.value {
        Raw::Untyped(text) | Raw::Text(text) => Ok(given.with(text.clone())),
        Raw::Number(_) | Raw::Switch(_) | Raw::List(_) | Raw::Other => Err(given.invalid(key, right)),
    }
}

/// The keys of the file; an unknown one is an error, because a misspelt setting that is ignored is a setting lost.
fn parse(name: &str, text: &str) -> Result<BTreeMap<String, Given<Raw>>, ConfigError> {
    let origin = |at: usize| Origin::File { name: name.to_owned(), line: line(text, at) };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: origin(error.span().map_or(0, |span| span.start)),
        message: error.message().lines().collect::<Vec<_>>().join("; "),
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let spelling = key.get_ref().as_ref();
        if !keys::ALL.iter().any(|known| known.name == spelling) {
            return Err(ConfigError::UnknownKey {
                origin: origin(key.span().start),
                key: cut(spelling),
                nearest: keys::nearest(spelling),
            });
        }
        values.insert(spelling.to_owned(), raw(text, value, &origin));
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
        Raw::Other if text.as_bytes().get(span.start) == Some(&b'[') => "a table".to_owned(),
        _ => cut(text.get(span.clone()).unwrap_or_default()),
    };
    Given { value, origin: origin(span.start), written }
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// A text on one line and no longer than an error may repeat.
fn cut(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_REPEATED_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
