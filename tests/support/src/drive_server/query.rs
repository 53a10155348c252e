//! Parameters of a request, and the search query `q`.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use super::answer::DriveError;

/// Names and values of a URL's query.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    /// All names and values.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }

    /// The value of a parameter, or an empty text.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == "true"
    }
}

/// One condition of a search query.
pub(super) enum Condition {
    InFolder(String),
    Name(String),
    Type(String),
    TypeContains(String),
    Trashed(bool),
}

/// Parses conditions that are joined by `and`.
pub(super) fn conditions(query: &str) -> Result<Vec<Condition>, DriveError> {
    let quoted = |text: &str| text.strip_prefix('\'')?.strip_suffix('\'').map(str::to_owned);
    let parse = |term: &str| {
        if let Some(folder) = term.strip_suffix(" in parents") {
            return quoted(folder).map(Condition::InFolder);
        }
        match term.split_once(' ')? {
            ("name", value) => quoted(value.strip_prefix("= ")?).map(Condition::Name),
            ("mimeType", value) => match value.strip_prefix("contains ") {
                Some(value) => quoted(value).map(Condition::TypeContains),
                None => quoted(value.strip_prefix("= ")?).map(Condition::Type),
            },
            ("trashed", value) => value.strip_prefix("= ")?.parse().ok().map(Condition::Trashed),
            _ => None,
        }
    };
    let invalid = |term: &str| DriveError::invalid(format!("Invalid Value: {term}"));
    query.split(" and ").map(|term| parse(term).ok_or_else(|| invalid(term))).collect()
}
