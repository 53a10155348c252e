//! Where settings stand: the file, the environment and the flags, and which of them wins.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::UserMessageFormatter;
use thiserror::Error;

use crate::text::harmless;

/// The most characters that are repeated of what a parser says.
const ERROR_CHARS: usize = 400;
/// The most characters that are repeated of what was given.
const GIVEN_CHARS: usize = 80;

/// One value of each setting at most, as text, from one place.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// What the place is called in errors, before the key.
    pub place: String,
    /// `(key, value)`; a list is separated by commas.
    pub values: Vec<(&'static str, String)>,
}

/// A setting, and its environment variable.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
    is_list: bool,
}

impl Key {
    const fn one(name: &'static str, variable: &'static str) -> Self {
        Self { name, variable, is_list: false }
    }

    const fn list(name: &'static str, variable: &'static str) -> Self {
        Self { name, variable, is_list: true }
    }
}

pub(super) const KEYS: [Key; 17] = [
    Key::one("name", "P2P_NAME"),
    Key::one("listen_addr", "P2P_LISTEN_ADDR"),
    Key::list("peers", "P2P_PEERS"),
    Key::list("registry", "P2P_REGISTRY"),
    Key::one("lan", "P2P_LAN"),
    Key::list("lan_addresses", "P2P_LAN_ADDRESSES"),
    Key::one("max_connections", "P2P_MAX_CONNECTIONS"),
    Key::one("connect_timeout", "P2P_CONNECT_TIMEOUT"),
    Key::one("heartbeat_interval", "P2P_HEARTBEAT_INTERVAL"),
    Key::one("heartbeat_timeout", "P2P_HEARTBEAT_TIMEOUT"),
    Key::one("message_buffer_size", "P2P_MESSAGE_BUFFER_SIZE"),
    Key::one("dedup_cache_size", "P2P_DEDUP_CACHE_SIZE"),
    Key::one("history_size", "P2P_HISTORY_SIZE"),
    Key::one("dir", "P2P_DIR"),
    Key::one("metrics_addr", "P2P_METRICS_ADDR"),
    Key::one("log_level", "P2P_LOG_LEVEL"),
    Key::one("log_format", "P2P_LOG_FORMAT"),
];

/// The environment variables of a peer.
pub fn variables() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.variable)
}

/// What is wrong with the settings; one line.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is neither YAML nor JSON, has a key that is none, or a list where one value is right.
    #[error("{}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },
    /// A value is wrong.
    #[error("{place}{name} is {given:?}, but must be {right}")]
    Invalid {
        /// Where it stands.
        place: String,
        /// The setting.
        name: &'static str,
        /// The value, cut to a length that is safe to repeat.
        given: String,
        /// What is right.
        right: &'static str,
    },
}

/// What the file says, each value as the text that stands there. YAML is read, and JSON with it, since that is YAML, too.
#[derive(Default)]
struct FileForm(Vec<(&'static str, String)>);

impl<'de> Deserialize<'de> for FileForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = FileForm;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, each as `key: value`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileForm, A::Error> {
        let mut values = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                let name: String = name.chars().take(GIVEN_CHARS).collect();
                let names = KEYS.each_ref().map(|key| key.name).join(", ");
                return Err(A::Error::custom(format!("there is no setting {name:?}; there are {names}")));
            };
            let value = if key.is_list {
                map.next_value::<Option<Items>>().map(|items| items.map(|items| items.0.join(",")))
            } else {
                map.next_value()
            };
            // What the parser says names the line and not the key.
            let value: Option<String> = value.map_err(|error| A::Error::custom(format!("{name}: {error}")))?;
            values.extend(value.map(|value| (key.name, value)));
        }
        Ok(FileForm(values))
    }
}

/// A list, or the only one on it.
struct Items(Vec<String>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListForm)
    }
}

struct ListForm;

impl<'de> Visitor<'de> for ListForm {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Items, E> {
        Ok(Items(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Items(items))
    }
}

impl Layer {
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(key, _)| *key == name)
    }
}

/// The place of the file among the layers; before it are the flags and the environment.
pub(super) const FILE: usize = 2;

/// From the one that wins down.
pub(super) struct Layers(pub(super) Vec<Layer>);

impl Layers {
    /// What wins of what is given. What cannot be read is refused wherever it stands: who wrote it expects it to count.
    pub(super) fn parsed<T>(
        &self,
        name: &'static str,
        right: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let mut found = None;
        for (layer, text) in self.given(name) {
            let value = parse(text.trim()).ok_or_else(|| SettingsError::Invalid {
                place: layer.place.clone(),
                name,
                given: text.chars().take(GIVEN_CHARS).collect(),
                right,
            })?;
            found.get_or_insert(value);
        }
        Ok(found)
    }

    /// Everything that is given for a setting, the one that wins first.
    fn given(&self, name: &str) -> impl Iterator<Item = (&Layer, &str)> {
        self.0.iter().flat_map(move |layer| {
            let values = layer.values.iter().filter(move |(key, _)| *key == name);
            values.map(move |(_, value)| (layer, value.as_str()))
        })
    }

    pub(super) fn list<T>(
        &self,
        name: &'static str,
        right: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SettingsError> {
        let items = |text: &str| -> Option<Vec<T>> {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(&parse).collect()
        };
        Ok(self.parsed(name, right, items)?.unwrap_or_default())
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<(&'static str, String)>, SettingsError> {
    let form: FileForm = if text.trim().is_empty() {
        FileForm::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            // It repeats the file's own words, however long they are.
            message: harmless(&error.without_snippet().render_with_formatter(&UserMessageFormatter), ERROR_CHARS),
        })?
    };
    Ok(form.0)
}
